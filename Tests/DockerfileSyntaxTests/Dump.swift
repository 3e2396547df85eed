import DockerfileSyntax

/// Writes everything that was understood of a Dockerfile as text, for comparison.
struct Dump {
  private(set) var text = ""

  init(_ bytes: [UInt8]) {
    let source = String(decoding: bytes, as: UTF8.self)
    if let syntax = ParserDirective.detectSyntax(in: source) {
      line("syntax \(quote(syntax.reference)) \(quote(syntax.commandLine)) @\(syntax.line)")
    }
    if let check = ParserDirective.find("check", in: source) { line("check \(quote(check.value)) @\(check.range.start.line)") }
    do {
      let tree = try SyntaxTree.parse(bytes: bytes)
      line("escape \(quote(String(Character(tree.escape))))")
      for warning in tree.warnings {
        line("warning \(warning.code == .emptyContinuationLine ? "empty continuation" : "\(warning.code)") @\(warning.range.start.line)")
      }
      for node in tree.nodes { write(node, indent: "", isChild: false) }
      do { write(try Dockerfile(tree)) } catch { fail("error in instructions", error, source) }
    } catch {
      fail("error in tree", error, source)
    }
  }

  private mutating func line(_ text: String) { self.text += text + "\n" }

  private mutating func fail(_ what: String, _ error: DockerfileError, _ source: String) {
    line("\(what): \(error) [\(error.code)]")
    if let focus = error.focus { line("error at \(focus.start.line):\(focus.start.column)-\(focus.end.line):\(focus.end.column)") }
    if let excerpt = error.excerpt(source: source) {
      for part in excerpt.split(separator: "\n", omittingEmptySubsequences: false).dropLast() { line("error | \(part)") }
    }
  }

  private mutating func write(_ node: InstructionNode, indent: String, isChild: Bool) {
    let place = isChild ? "" : " @\(node.range.lines.lowerBound)-\(node.range.lines.upperBound)"
    line("\(indent)\(quote(node.keyword))\(place)\(node.isJSON ? " json" : "")")
    if !node.flags.isEmpty { line("\(indent)  flags \(quote(node.flags))") }
    if let child = node.children.first {
      write(child, indent: indent + "  ", isChild: true)
    } else if !node.arguments.isEmpty {
      line("\(indent)  args \(quote(node.arguments))")
    }
    for heredoc in node.heredocs {
      let marks = (heredoc.expands ? " expand" : "") + (heredoc.chomps ? " chomp" : "")
      line("\(indent)  heredoc \(quote(heredoc.name)) fd=\(heredoc.fileDescriptor)\(marks) \(quote(heredoc.content))")
    }
    if !node.comments.isEmpty { line("\(indent)  comments \(quote(node.comments))") }
    line("\(indent)  original \(quote(node.original))")
  }

  private mutating func write(_ file: Dockerfile) {
    for argument in file.globalArguments {
      line("global @\(place(argument.origin))")
      write(argument, indent: "  ")
    }
    for stage in file.stages {
      line("stage @\(place(stage.origin)) \(quote(stage.baseName))\(option("name", stage.name))\(option("platform", stage.platform))\(option("doc", stage.documentation))")
      line("    code \(quote(stage.origin.code))")
      for instruction in stage.instructions {
        line("    \(instruction.name) @\(place(instruction.origin))")
        write(instruction)
      }
    }
  }

  private func place(_ origin: InstructionOrigin) -> String { "\(origin.range.lines.lowerBound)-\(origin.range.lines.upperBound)" }

  private mutating func write(_ argument: ArgInstruction, indent: String) {
    for it in argument.arguments {
      line(indent + quote(it.key) + (it.value.map { " = " + quote($0) } ?? "") + (it.documentation.map { $0.isEmpty ? "" : " doc " + quote($0) } ?? ""))
    }
  }

  private mutating func write(_ command: CommandLine) {
    line("      command \(quote(command.arguments)) shell=\(command.prependsShell) files=\(command.heredocs.count)")
  }

  private mutating func write(_ sources: FileSources) {
    line("      paths \(quote(sources.paths)) to \(quote(sources.destination))")
    for file in sources.contents { line("      content \(quote(file.path)) expand=\(file.expands) \(quote(file.data))") }
  }

  private mutating func write(_ pairs: [KeyValue]) {
    for pair in pairs { line("      \(quote(pair.key)) = \(quote(pair.value))\(pair.isLegacy ? " legacy" : "")") }
  }

  private mutating func write(_ instruction: Instruction) {
    switch instruction {
    case .add(let it):
      write(it.sources)
      line("      add\(option("chown", it.owner))\(option("chmod", it.mode)) link=\(it.link) exclude=\(quote(it.excludes))\(option("keep-git-dir", it.keepGitDirectory))\(option("checksum", it.checksum))\(option("unpack", it.unpack))")
    case .copy(let it):
      write(it.sources)
      line("      copy\(option("from", it.from))\(option("chown", it.owner))\(option("chmod", it.mode)) link=\(it.link) parents=\(it.parents) exclude=\(quote(it.excludes))")
    case .arg(let it): write(it, indent: "      ")
    case .cmd(let it), .entrypoint(let it): write(it.command)
    case .env(let it): write(it.variables)
    case .label(let it): write(it.labels)
    case .expose(let it): line("      \(quote(it.ports))")
    case .healthcheck(let it):
      line("      test \(quote(it.test)) interval=\(it.interval) timeout=\(it.timeout) start-period=\(it.startPeriod) start-interval=\(it.startInterval) retries=\(it.retries)")
    case .maintainer(let it): line("      \(quote(it.name))")
    case .onbuild(let it): line("      \(quote(it.expression))")
    case .run(let it): write(it)
    case .shell(let it): line("      \(quote(it.shell))")
    case .stopsignal(let it): line("      \(quote(it.signal))")
    case .user(let it): line("      \(quote(it.user))")
    case .volume(let it): line("      \(quote(it.volumes))")
    case .workdir(let it): line("      \(quote(it.path))")
    }
  }

  private mutating func write(_ run: RunInstruction) {
    write(run.command)
    line("      run network=\(run.network) security=\(run.security) flags=\(quote(run.flagsUsed.sorted()))")
    for device in run.devices { line("      device \(quote(device.name)) required=\(device.required)") }
    do {
      for it in try run.resolvedMounts(expanding: { $0 }) {
        var text = "      mount \(it.kind)\(option("from", it.from))\(option("source", it.source))\(option("target", it.target)) ro=\(it.readOnly) size=\(it.sizeLimit)"
        text += "\(option("id", it.id))\(option("sharing", it.sharing?.rawValue)) required=\(it.required)"
        if let name = it.environmentVariable { text += " env=\(quote(name))" }
        if let mode = it.mode { text += " mode=\(String(mode, radix: 8))" }
        if let uid = it.uid { text += " uid=\(uid)" }
        if let gid = it.gid { text += " gid=\(gid)" }
        line(text)
      }
    } catch {
      line("      mounts error: \(error)")
    }
  }
}

func quote(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\\": result += "\\\\"
    case "\"": result += "\\\""
    case "\n": result += "\\n"
    case "\t": result += "\\t"
    case "\r": result += "\\r"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}

func quote(_ texts: some Sequence<String>) -> String { "[" + texts.map { quote($0) }.joined(separator: ", ") + "]" }

private func option(_ name: String, _ value: String?) -> String { value.map { $0.isEmpty ? "" : " \(name)=\(quote($0))" } ?? "" }

private func option(_ name: String, _ value: Bool?) -> String { value.map { " \(name)=\($0)" } ?? "" }
