internal import BuildInterface

/// Docker's longer spellings of our verbs, buildx's name before its own, and docker's options before the verb: `alias docker=manifold` holds for what this program does.
enum Spellings {
  /// Two words that are one verb; nil: docker's, and not ours (yet), refused by name.
  static let groups: [String: [String: String?]] = [
    "image": [
      "build": "build", "history": "history", "load": "load", "ls": "images", "list": "images", "pull": "pull", "push": "push", "rm": "rmi", "remove": "rmi", "rmi": "rmi",
      "save": "save", "tag": "tag", "import": nil,
    ],
    "container": [
      "run": "run", "attach": nil, "commit": nil, "cp": nil, "create": nil, "diff": nil, "exec": nil, "export": nil, "inspect": nil, "kill": nil, "logs": nil, "ls": nil,
      "list": nil, "ps": nil, "pause": nil, "port": nil, "prune": nil, "rename": nil, "restart": nil, "rm": nil, "start": nil, "stats": nil, "stop": nil, "top": nil,
      "unpause": nil, "update": nil, "wait": nil,
    ],
    "builder": ["build": "build", "prune": "prune"],
    "system": ["df": "df", "info": "info", "prune": nil, "events": nil, "dial-stdio": nil],
  ]

  /// Verbs that our commands of these names have themselves.
  private static let own: [String: Set<String>] = ["image": ["inspect", "prune"]]

  /// buildx's own verbs. Those that are not here yet are refused by their names, as docker's verbs are that buildx has not.
  static let buildx: [String: String?] = [
    "build": "build", "b": "build", "f": nil, "bake": nil, "create": nil, "dap": nil, "debug": nil, "dial-stdio": nil, "du": "du", "history": nil, "imagetools": "imagetools",
    "inspect": nil, "install": nil, "ls": nil, "policy": nil, "prune": "prune", "rm": nil, "stop": nil, "uninstall": nil, "use": nil, "version": "version",
  ]

  /// Options that docker has before the verb and that change nothing here, and those with a value.
  private static let ignored: Set<String> = ["-l", "--log-level"]
  /// Docker's options that choose which engine works: there is one here.
  private static let refused: Set<String> = ["-H", "--host", "-c", "--context", "--tls", "--tlscacert", "--tlscert", "--tlskey", "--tlsverify", "--builder"]
  /// Ours that take a value.
  private static let valued: Set<String> = ["--root", "--insecure-registry", "--config"]

  /// The command line with one word for the verb. What stands before the verb stays there, but for what docker has there and means nothing here.
  static func verbs(_ arguments: [String]) throws -> [String] {
    var (front, rest) = try split(arguments)
    var isBuildx = false
    if rest.first == "buildx" {
      isBuildx = true
      let (more, behind) = try split(Array(rest.dropFirst()))
      (front, rest) = (front + more, behind)
      guard let verb = rest.first else { return front + ["--help"] }
      // Of docker's verbs buildx has only its own.
      switch buildx[verb] {
      case .some(.some(let ours)): rest[0] = ours
      case .some(.none): throw BuildError.notYet("manifold buildx \(verb)")
      case .none where verb == "help": break
      case .none: throw BuildError.usage("there is no command \"buildx \(verb)\"", suggestion: "buildx's commands here are \(buildx.compactMap { $0.value == nil ? nil : $0.key }.sorted().joined(separator: ", ")).")
      }
    }
    guard !isBuildx, let group = rest.first, let members = groups[group] else { return front + rest }
    let (more, behind) = rest.count > 1 && ["--help", "-h"].contains(rest[1]) ? ([], Array(rest.dropFirst())) : try split(Array(rest.dropFirst()))
    func words() -> String { (members.compactMap { $0.value == nil ? nil : $0.key } + (own[group] ?? [])).sorted().joined(separator: ", ") }
    guard let second = behind.first else {
      if own[group] != nil { return [group, "--help"] }
      throw BuildError.usage("\(group) needs a verb: \(words())")
    }
    switch members[second] {
    case .some(.some(let verb)): return front + more + [verb] + behind.dropFirst()
    case .some(.none): throw BuildError.notYet("manifold \(group) \(second)")
    case .none:
      if own[group]?.contains(second) == true { return front + more + [group] + behind }
      if own[group] != nil, ["help", "--help", "-h"].contains(second) { return [group, "--help"] }
      throw BuildError.usage("there is no command \"\(group) \(second)\"", suggestion: "Those of \(group) are \(words()).")
    }
  }

  /// What stands before the first word that is no option.
  private static func split(_ arguments: [String]) throws -> (front: [String], rest: [String]) {
    var front: [String] = []
    var i = 0
    while i < arguments.count, arguments[i].hasPrefix("-"), arguments[i] != "-", arguments[i] != "--" {
      let word = arguments[i]
      let name = String(word.prefix { $0 != "=" })
      let hasValue = name.count < word.count
      if refused.contains(name) { throw BuildError.notYet(name, suggestion: "The engine is in this program: leave \(name) away.") }
      i += 1
      if ignored.contains(name) {
        if !hasValue, i < arguments.count { i += 1 }
      } else if name == "-D" {
        front.append("--debug")
      } else {
        front.append(word)
        if valued.contains(name), !hasValue, i < arguments.count {
          front.append(arguments[i])
          i += 1
        }
      }
    }
    return (front, Array(arguments[i...]))
  }
}
