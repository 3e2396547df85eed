/// Gives one node of the syntax tree its meaning.
struct InstructionBuilder {
  enum Built { case stage(Stage), instruction(Instruction) }

  static let keywords = [
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL",
    "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
  ]

  let node: InstructionNode
  var keyword: String { node.keyword.asciiUppercased }
  var origin: InstructionOrigin {
    var origin = InstructionOrigin(keyword: node.keyword, code: node.original.trimmedSpace, range: node.range, comments: node.comments)
    origin.layout = node.layout
    origin.codeStart = node.originalStart + node.original.unicodeScalars.prefix { $0.isSpace }.count
    return origin
  }

  /// Builds the stage or instruction; errors are placed at the node.
  static func build(_ node: InstructionNode) throws(DockerfileError) -> Built {
    let builder = InstructionBuilder(node: node)
    do {
      return try builder.build()
    } catch {
      throw error.located(at: builder.origin)
    }
  }

  private func build() throws(DockerfileError) -> Built {
    switch keyword {
    case "FROM": .stage(try from())
    case "ADD": .instruction(.add(try add()))
    case "ARG": .instruction(.arg(try arg()))
    case "CMD": .instruction(.cmd(try command()))
    case "COPY": .instruction(.copy(try copy()))
    case "ENTRYPOINT": .instruction(.entrypoint(try command()))
    case "ENV": .instruction(.env(EnvInstruction(origin: origin, variables: try pairs())))
    case "EXPOSE": .instruction(.expose(try expose()))
    case "HEALTHCHECK": .instruction(.healthcheck(try healthcheck()))
    case "LABEL": .instruction(.label(LabelInstruction(origin: origin, labels: try pairs())))
    case "MAINTAINER": .instruction(.maintainer(MaintainerInstruction(origin: origin, name: try single("a name"))))
    case "ONBUILD": .instruction(.onbuild(try onbuild()))
    case "RUN": .instruction(.run(try run()))
    case "SHELL": .instruction(.shell(try shell()))
    case "STOPSIGNAL": .instruction(.stopsignal(StopsignalInstruction(origin: origin, signal: try single("a signal", checkingFlags: false))))
    case "USER": .instruction(.user(UserInstruction(origin: origin, user: try single("a user"))))
    case "VOLUME": .instruction(.volume(try volume()))
    case "WORKDIR": .instruction(.workdir(WorkdirInstruction(origin: origin, path: try single("a path"))))
    default:
      throw DockerfileError(
        .unknownInstruction, node.keyword.isEmpty ? "an instruction is expected here" : "unknown instruction: \(node.keyword)",
        focus: node.keywordRange, suggestion: Suggestion.nearest(to: node.keyword, among: InstructionBuilder.keywords, ignoringCase: true))
    }
  }

  func flags(_ kinds: [(name: String, kind: FlagSet.Kind)] = []) throws(DockerfileError) -> FlagSet {
    var flags = FlagSet(kinds)
    try flags.parse(node)
    return flags
  }

  func requireArguments(_ wanted: String) throws(DockerfileError) {
    if node.arguments.isEmpty { throw DockerfileError(.badArguments, "\(keyword) needs \(wanted)") }
  }

  /// The one argument of a simple instruction. STOPSIGNAL does not look at its flags: neither does BuildKit.
  private func single(_ wanted: String, checkingFlags: Bool = true) throws(DockerfileError) -> String {
    try requireArguments(wanted)
    if checkingFlags { _ = try flags() }
    return node.arguments[0]
  }

  private func pairs() throws(DockerfileError) -> [KeyValue] {
    _ = try flags()
    try requireArguments("at least one name=value")
    var result: [KeyValue] = []
    for start in stride(from: 0, to: node.arguments.count - 2, by: 3) {
      let (key, value) = (node.arguments[start], node.arguments[start + 1])
      if key.isEmpty { throw DockerfileError(.badArguments, "a name is missing before \(("=" + value).quoted) in \(keyword)", focus: node.range(ofArgument: start + 2)) }
      result.append(KeyValue(key: key, value: value, isLegacy: node.arguments[start + 2].isEmpty))
    }
    return result
  }

  /// The rest of a comment line that begins with `name` and a space.
  private func documentation(of name: String) -> String? {
    for comment in node.comments {
      guard let (first, rest) = comment.cut(at: " "), first == name else { continue }
      return rest
    }
    return nil
  }

  private func from() throws(DockerfileError) -> Stage {
    var name: String?
    switch node.arguments.count {
    case 1: break
    case 3 where node.arguments[1].asciiLowercased == "as":
      let lowered = node.arguments[2].lowercased()
      let isValid = lowered.utf8.enumerated().allSatisfy { index, byte in
        switch byte {
        case 0x61...0x7A: true
        case 0x30...0x39, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): index > 0
        default: false
        }
      }
      guard isValid, !lowered.isEmpty else {
        throw DockerfileError(.stage, "\(node.arguments[2].quoted) cannot name a stage: a name begins with a letter and goes on with letters, digits, - _ .", focus: node.range(ofArgument: 2))
      }
      name = lowered
    default: throw wrongFrom()
    }
    let flags = try flags([("platform", .string)])
    return Stage(
      baseName: node.arguments[0], name: name, platform: flags.string("platform"), documentation: name.flatMap { documentation(of: $0) },
      instructions: [], origin: origin)
  }

  /// What FROM's words look like that are no `image [AS name]`.
  private func wrongFrom() -> DockerfileError {
    let form = "FROM takes an image or a stage, and a name if wanted: FROM image [AS name]"
    let words = node.arguments
    if words.isEmpty { return DockerfileError(.badArguments, "FROM names no image; write FROM image, or FROM scratch for an empty one") }
    if words.count == 2, words[1].asciiLowercased == "as" {
      return DockerfileError(.badArguments, "a name is missing after \(words[1])", focus: node.range(ofArgument: 1))
    }
    // The first word that is there too much.
    let extra = words.count == 2 ? 1 : words.count == 3 && words[1].asciiLowercased != "as" ? 1 : min(3, words.count - 1)
    if let comment = words.indices.dropFirst().first(where: { words[$0].hasPrefix("#") }) {
      return DockerfileError(.badArguments, form, focus: node.range(ofArgumentsFrom: comment)).advising("a comment stands on a line of its own")
    }
    if let flag = words.dropFirst().first(where: { $0.hasPrefix("--") }), let index = words.firstIndex(of: flag) {
      return DockerfileError(.badArguments, form, focus: node.range(ofArgument: index)).advising("flags stand before the image: FROM \(flag) \(words[0])")
    }
    if words.count == 2 {
      return DockerfileError(.badArguments, form, focus: node.range(ofArgument: 1)).advising("a stage's name follows AS: FROM \(words[0]) AS \(words[1])")
    }
    if words.count == 3 {
      let near = Suggestion.nearest(to: words[1], among: ["AS"], ignoringCase: true)
      return DockerfileError(.badArguments, "\(words[1].quoted) stands where AS is expected; \(form)", focus: node.range(ofArgument: 1), suggestion: near)
    }
    return DockerfileError(.badArguments, form, focus: node.range(ofArgumentsFrom: extra))
  }

  private func arg() throws(DockerfileError) -> ArgInstruction {
    // Flags are not looked at: neither does BuildKit.
    try requireArguments("at least one name")
    var arguments: [ArgInstruction.Argument] = []
    for (index, word) in node.arguments.enumerated() {
      let (key, value) = word.cut(at: "=").map { ($0.0, Optional($0.1)) } ?? (word, nil)
      if key.isEmpty { throw DockerfileError(.badArguments, "a name is missing before \(word.quoted) in ARG", focus: node.range(ofArgument: index)) }
      arguments.append(ArgInstruction.Argument(key: key, value: value, documentation: documentation(of: key)))
    }
    return ArgInstruction(origin: origin, arguments: arguments)
  }

  private func onbuild() throws(DockerfileError) -> OnbuildInstruction {
    try requireArguments("an instruction")
    _ = try flags()
    let held = node.arguments[0].trimmedSpace.asciiUppercased
    if held == "ONBUILD" { throw DockerfileError(.badArguments, "ONBUILD cannot hold another ONBUILD", focus: node.range(ofArgument: 0)) }
    if held == "FROM" || held == "MAINTAINER" { throw DockerfileError(.badArguments, "ONBUILD cannot hold \(held)", focus: node.range(ofArgument: 0)) }
    var text = Array(node.original.unicodeScalars)[...]
    text = text.drop { $0.isPatternSpace }.dropFirst(keyword.unicodeScalars.count).drop { $0.isPatternSpace }
    let expression = node.heredocs.reduce(text.text) { $0 + "\n" + $1.content + $1.name }
    return OnbuildInstruction(origin: origin, expression: expression)
  }

  private func expose() throws(DockerfileError) -> ExposeInstruction {
    try requireArguments("at least one port")
    _ = try flags()
    let ports = node.arguments.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    return ExposeInstruction(origin: origin, ports: ports)
  }

  private func volume() throws(DockerfileError) -> VolumeInstruction {
    try requireArguments("at least one path")
    _ = try flags()
    let volumes = node.arguments.map(\.trimmedSpace)
    if let index = volumes.firstIndex(of: "") { throw DockerfileError(.badArguments, "a path of VOLUME is empty", focus: node.range(ofArgument: index)) }
    return VolumeInstruction(origin: origin, volumes: volumes)
  }

  private func shell() throws(DockerfileError) -> ShellInstruction {
    _ = try flags()
    try requireArguments("at least one word: SHELL [\"program\", \"argument\"]")
    guard node.isJSON else {
      let hint = node.arguments[0].unicodeScalars.contains("\\") && node.arguments[0].hasPrefix("[") ? "; a backslash inside JSON is written twice" : ""
      throw DockerfileError(.badArguments, "SHELL takes a JSON array: SHELL [\"program\", \"argument\"]\(hint)", focus: node.range(ofArgument: 0))
    }
    return ShellInstruction(origin: origin, shell: node.arguments)
  }
}
