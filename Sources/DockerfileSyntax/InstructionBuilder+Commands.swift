extension InstructionBuilder {
  /// The arguments as a command: the words of the JSON form, or one string.
  private func commandWords(_ arguments: [String]) -> [String] {
    arguments.isEmpty || node.isJSON ? arguments : [arguments.joined(separator: " ")]
  }

  private var commandLine: CommandLine {
    CommandLine(arguments: commandWords(node.arguments), prependsShell: !node.isJSON, heredocs: node.heredocs)
  }

  func command() throws(DockerfileError) -> CommandInstruction {
    _ = try flags()
    return CommandInstruction(origin: origin, command: commandLine)
  }

  func run() throws(DockerfileError) -> RunInstruction {
    let flags = try flags([("mount", .strings), ("network", .string), ("security", .string), ("device", .strings)])
    var mounts: [RunMountOption] = []
    for text in flags.strings("mount") { mounts.append(try RunMountOption(text)) }
    var devices: [RunDevice] = []
    for text in flags.strings("device") { devices.append(try RunDevice(text)) }
    return RunInstruction(
      origin: origin, command: commandLine, mounts: mounts, network: try choice(flags, "network", else: .default),
      security: try choice(flags, "security", else: .sandbox), devices: devices, flagsUsed: flags.used)
  }

  private func choice<T: RawRepresentable & CaseIterable>(_ flags: FlagSet, _ name: String, else standard: T) throws(DockerfileError) -> T
  where T.RawValue == String {
    guard let value = flags.strings(name).first else { return standard }
    if let choice = T(rawValue: value) { return choice }
    let known = T.allCases.map(\.rawValue)
    let message = "--\(name)=\(value) of RUN is not known; known are \(known.joined(separator: ", "))"
    throw DockerfileError(.badFlag, message, focus: focus(of: name), suggestion: Suggestion.nearest(to: value, among: known))
  }

  /// Where a flag's value stands.
  private func focus(of flag: String) -> SourceRange? {
    node.flags.firstIndex { $0.hasPrefix("--\(flag)=") }.flatMap { node.range(ofFlag: $0, part: .value) }
  }

  func healthcheck() throws(DockerfileError) -> HealthcheckInstruction {
    try requireArguments("CMD and a command, or NONE")
    let kind = node.arguments[0].asciiUppercased
    let rest = Array(node.arguments.dropFirst())
    var check = HealthcheckInstruction(origin: origin, test: ["NONE"], interval: 0, timeout: 0, startPeriod: 0, startInterval: 0, retries: 0)
    if kind == "NONE" {
      guard rest.isEmpty else { throw DockerfileError(.badArguments, "HEALTHCHECK NONE takes nothing after it", focus: node.range(ofArgumentsFrom: 1)) }
      return check
    }
    let flags = try flags([
      ("interval", .string), ("timeout", .string), ("start-period", .string), ("start-interval", .string), ("retries", .string),
    ])
    guard kind == "CMD" else {
      let near = Suggestion.nearest(to: node.arguments[0], among: ["CMD", "NONE"], ignoringCase: true)
      throw DockerfileError(.badArguments, "HEALTHCHECK is followed by CMD or NONE, not \(node.arguments[0])", focus: node.range(ofArgument: 0), suggestion: near)
        .advising("the command follows CMD: HEALTHCHECK CMD \(node.arguments[0]) …")
    }
    let words = commandWords(rest)
    if words.isEmpty { throw DockerfileError(.badArguments, "a command is missing after HEALTHCHECK CMD") }
    check.test = [node.isJSON ? "CMD" : "CMD-SHELL"] + words
    check.interval = try duration(flags, "interval")
    check.timeout = try duration(flags, "timeout")
    check.startPeriod = try duration(flags, "start-period")
    check.startInterval = try duration(flags, "start-interval")
    if let text = flags.string("retries") {
      guard let retries = Int32(text), retries >= 0 else {
        throw DockerfileError(.badFlag, "--retries=\(text) of HEALTHCHECK is not valid: it takes a number from 0 on", focus: focus(of: "retries"))
      }
      check.retries = Int(retries)
    }
    return check
  }

  private func duration(_ flags: FlagSet, _ name: String) throws(DockerfileError) -> Int64 {
    guard let text = flags.string(name) else { return 0 }
    guard let value = GoValues.duration(text) else {
      throw DockerfileError(.badFlag, "--\(name)=\(text) of HEALTHCHECK is no duration; write 30s, 1m30s or 500ms", focus: focus(of: name))
    }
    guard value == 0 || value >= 1_000_000 else {
      throw DockerfileError(.badFlag, "--\(name)=\(text) of HEALTHCHECK is shorter than 1ms", focus: focus(of: name))
    }
    return value
  }

  func add() throws(DockerfileError) -> AddInstruction {
    try requireDestination()
    let flags = try flags([
      ("chown", .string), ("chmod", .string), ("link", .bool), ("keep-git-dir", .bool), ("checksum", .string), ("unpack", .bool), ("exclude", .strings),
    ])
    return AddInstruction(
      origin: origin, sources: try sources(), owner: flags.string("chown"), mode: flags.string("chmod"), link: flags.bool("link") ?? false,
      excludes: flags.strings("exclude"), keepGitDirectory: flags.bool("keep-git-dir"), checksum: flags.string("checksum"),
      unpack: flags.bool("unpack"))
  }

  func copy() throws(DockerfileError) -> CopyInstruction {
    try requireDestination()
    let flags = try flags([
      ("chown", .string), ("from", .string), ("chmod", .string), ("link", .bool), ("exclude", .strings), ("parents", .bool),
    ])
    return CopyInstruction(
      origin: origin, sources: try sources(), from: flags.string("from"), owner: flags.string("chown"), mode: flags.string("chmod"),
      link: flags.bool("link") ?? false, parents: flags.bool("parents") ?? false, excludes: flags.strings("exclude"))
  }

  private func requireDestination() throws(DockerfileError) {
    guard node.arguments.count < 2 else { return }
    let given = node.arguments.first.map { "; only \($0.quoted) is given, so there is nowhere to put it" } ?? ""
    throw DockerfileError(.badArguments, "\(keyword) needs at least one source and a destination\(given)", focus: node.range(ofArgument: 0))
  }

  private func sources() throws(DockerfileError) -> FileSources {
    let destination = node.arguments[node.arguments.count - 1]
    if (try? Heredoc.opening(destination)) ?? nil != nil {
      throw DockerfileError(.heredoc, "the heredoc \(destination) stands where \(keyword) has its destination; add a path after it", focus: node.range(ofArgument: node.arguments.count - 1))
    }
    var sources = FileSources(paths: [], contents: [], destination: destination)
    for word in node.arguments.dropLast() {
      guard let opening = (try? Heredoc.opening(word)) ?? nil else {
        sources.paths.append(word)
        continue
      }
      // Of two heredocs with one name the later counts, as they would overwrite one another.
      var heredoc = opening
      heredoc.content = node.heredocs.last { $0.name == opening.name }?.content ?? ""
      sources.contents.append(InlineFile(path: heredoc.name, data: heredoc.text, expands: heredoc.expands))
    }
    return sources
  }
}
