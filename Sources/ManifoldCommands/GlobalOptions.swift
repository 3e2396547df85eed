internal import ArgumentParser

/// Options that every verb takes, before or after its name.
struct GlobalOptions: ParsableArguments {
  @Option(
    name: .long, parsing: .unconditional,
    help: ArgumentHelp(
      "Where images, layers and the build cache are kept.",
      discussion: "MANIFOLD_ROOT sets it too. Default: /var/lib/manifold for root, else the XDG data folder.", valueName: "dir"))
  var root: String?

  @Flag(name: .long, help: "Tell what goes on inside.")
  var debug = false

  @Option(
    name: .customLong("insecure-registry"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Talk to this registry without verified TLS, or in plain HTTP. May be repeated. Loopback registries need it not.", valueName: "host[:port]"))
  var insecureRegistries: [String] = []

  @Option(
    name: .customLong("config"), parsing: .unconditional,
    help: ArgumentHelp(
      "A buildkitd.toml whose [registry] sections hold: mirrors, plain HTTP, authorities, client certificates.",
      discussion: "MANIFOLD_CONFIG names one too. Default: manifold/buildkitd.toml in the XDG configuration folder, else in /etc.", valueName: "file"))
  var config: String?

  func settings(_ facts: CommandFacts, jobs: Int? = nil) -> EngineSettings {
    EngineSettings(root: root.map(facts.absolute), insecureRegistries: Set(insecureRegistries), config: config.map(facts.absolute), jobs: jobs, debug: debug)
  }
}

/// Forms of a command line that the peers' parser takes and ours does not, put into those that it does.
enum CommandLineForms {
  static func normalised(_ arguments: [String]) throws -> [String] { try apart(plainFlags(dockersDebug(moved(behindVerb: Spellings.verbs(arguments))))) }

  /// `-flinux/arm64=FILE` and `-otype=oci` as two words: the parser would take what stands before the `=` for a name.
  private static func apart(_ arguments: [String]) -> [String] {
    guard arguments.first == "build" else { return arguments }
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    return arguments[..<end].flatMap { word in
      let isJoined = ["-f", "-o", "-t"].contains(where: word.hasPrefix) && word.count > 2 && word.dropFirst(2).first != "=" && word.contains("=")
      return isJoined ? [String(word.prefix(2)), String(word.dropFirst(2))] : [word]
    } + arguments[end...]
  }

  /// `build -D`, which docker has for `--debug`.
  private static func dockersDebug(_ arguments: [String]) -> [String] {
    arguments.first == "build" ? arguments.map { $0 == "-D" ? "--debug" : $0 } : arguments
  }

  /// `manifold --root X build …` as `manifold build --root X …`: the parser knows options of the verb only behind it.
  static func moved(behindVerb arguments: [String]) -> [String] {
    var globals: [String] = []
    var i = 0
    while i < arguments.count {
      let argument = arguments[i]
      if argument == "--debug" || argument.hasPrefix("--debug=") || argument.hasPrefix("--root=") || argument.hasPrefix("--insecure-registry=") || argument.hasPrefix("--config=") {
        globals.append(argument)
        i += 1
      } else if argument == "--root" || argument == "--insecure-registry" || argument == "--config", i + 1 < arguments.count {
        globals += [argument, arguments[i + 1]]
        i += 2
      } else {
        break
      }
    }
    guard !globals.isEmpty, i < arguments.count, !arguments[i].hasPrefix("-") else { return arguments }
    var rest = Array(arguments[i...])
    // `imagetools inspect`: options belong to the inner verb.
    let verbs = ["image", "imagetools", "manifest", "store", "debug"].contains(rest[0]) && rest.count > 1 && !rest[1].hasPrefix("-") ? 2 : 1
    rest.insert(contentsOf: globals, at: verbs)
    return rest
  }

  private static let flags: Set<String> = [
    "push", "load", "no-cache", "pull", "quiet", "debug", "rm", "force-rm", "compress", "squash", "check", "strict-checks", "debug-on-error", "interactive", "tty", "raw", "dot", "no-trunc", "digests",
    "verbose", "force", "all", "repair", "amend", "insecure", "oci", "purge", "strict", "append", "dry-run", "deep", "shallow", "json", "files", "prefer-index", "compat", "password-stdin", "all-platforms", "all-tags", "tree", "human", "no-prune", "disable-content-trust",
  ]

  /// Flags that are on unless they are turned off.
  private static let negatives = ["--prefer-index": "--no-prefer-index", "--human": "--no-human"]

  /// `--push=true` as `--push`; `--push=false` as nothing. What follows `run`'s image is its command's and is left alone, as all is behind `--`.
  private static func plainFlags(_ arguments: [String]) throws -> [String] {
    var out: [String] = []
    var isRun = false
    for (i, argument) in arguments.enumerated() {
      if argument == "--" || (isRun && !argument.hasPrefix("-")) { return out + arguments[i...] }
      if i == 0 { isRun = argument == "run" }
      guard argument.hasPrefix("--"), let equals = argument.firstIndex(of: "="),
        flags.contains(String(argument[argument.index(argument.startIndex, offsetBy: 2)..<equals]))
      else {
        out.append(argument)
        continue
      }
      let name = String(argument[..<equals])
      let word = String(argument[argument.index(after: equals)...])
      guard let isSet = TruthWord.parse(word) else { throw ValidationError("\(name) is on or off: \"\(word)\" is neither true nor false") }
      out.removeAll { $0 == name }
      if isSet { out.append(name) } else if let off = negatives[name] { out.append(off) }
    }
    return out
  }
}
