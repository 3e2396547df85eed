internal import BuildInterface
internal import BuildKitProto
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

extension Converter {
  func dispatchRun(_ stage: StageState, _ run: RunInstruction, _ command: StageState.Command, _ checks: CheckScope) throws {
    // It can read any file of its root.
    stage.readPaths.paths.insert("/")
    let environment = stage.state.environment
    let words = StateWords(environment)
    var raw = WordLexer(escape: lexer.escape)
    // Mounts' options are expanded like all words; the text that is shown keeps quotes and unset variables.
    let mounts = try run.resolvedMounts { word in
      let expansion = try lexer.expand(word, environment: words)
      checks.checkUndefined(expansion.unmatched, in: stage, at: run.origin, escape: lexer.escape)
      return expansion.text
    }
    (raw.keepsQuotes, raw.keepsUnset) = (true, true)

    let script = try script(run, in: stage)
    var exec = ExecOptions(script.arguments)
    exec.mounts += script.mounts
    exec.proxy = proxy
    try add(mounts, of: run, to: &exec, stage, command)
    switch run.network {
    case .default: break
    case .none: exec.network = Pb_NetMode.none
    case .host: exec.network = .host
    }
    if run.security == .insecure { exec.security = .insecure }
    exec.devices = run.devices.map { device in
      var out = Pb_CDIDevice()
      (out.name, out.optional) = (device.name, !device.required)
      return out
    }
    exec.ulimits = options.ulimits
    exec.extraHosts = options.extraHosts
    if options.shmSize > 0 { exec.mounts.append(ExecMount("/dev/shm", source: graph.scratch, kind: .tmpfs(size: options.shmSize))) }
    if !options.cgroupParent.isEmpty { exec.cgroupParent = options.cgroupParent }

    let masked = MaskedWords(base: words, masked: Set(mounts.compactMap(\.environmentVariable)))
    let text = StepText.uppercasingInstruction(StepText.expanding(run.origin.code + script.summary, raw, masked))
    let name = stage.nextStepName(
      text, platform: stage.state.platform, environment: environment, isOnbuild: command.isOnbuild, showsPlatform: options.isMultiPlatform)
    var vertex = VertexOptions(
      name: name, description: ["com.docker.dockerfile.v1.command": run.origin.code], ignoreCache: stage.ignoresCache, location: location(of: run.origin))
    vertex.linuxResources = options.resources
    stage.state = try stage.state.run(exec, options: vertex).root
    stage.commit("RUN " + Converter.historyLine(script.arguments, stage.arguments, environment), layer: true, isStep: true, epoch: epoch)
  }

  private struct Script {
    var arguments: [String]
    var mounts: [ExecMount] = []
    /// Shown after the instruction: the beginning of a heredoc.
    var summary = ""
  }

  /// What is executed: the words as they are, a heredoc as the shell's script, or one with `#!` as a file.
  private func script(_ run: RunInstruction, in stage: StageState) throws -> Script {
    guard let first = run.command.heredocs.first else { return Script(arguments: arguments(run.command, of: stage)) }
    guard run.command.arguments.count == 1, run.command.prependsShell else {
      throw failure("a heredoc needs the shell form of RUN", at: run.origin.range)
    }
    let line = run.command.arguments[0]
    guard Converter.isHeredocAlone(line) else {
      // Part of a longer command: the shell gets the documents as they are written.
      let text = run.command.heredocs.reduce(into: line) { $0 += "\n" + $1.content + $1.name }
      return Script(arguments: shell(of: stage) + [text])
    }
    let summary = " (" + StepText.summary(ofHeredoc: first.content) + ")"
    guard first.text.hasPrefix("#!"), stage.image.platform.os != "windows" else { return Script(arguments: shell(of: stage) + [first.text], summary: summary) }
    let file = try graph.scratch.file(
      [.makeFile(first.name, mode: 0o755, data: Array(first.text.utf8))], options: VertexOptions(name: "[internal] preparing inline document", platform: stage.platform))
    let mount = ExecMount("/dev/pipes/", source: file, selector: "/", readOnly: true)
    return Script(arguments: shell(of: stage) + [SlashPath.join("/dev/pipes/", first.name)], mounts: [mount], summary: summary)
  }

  /// Whether a line is nothing but `<<NAME`.
  private static func isHeredocAlone(_ line: String) -> Bool {
    let rest = line.utf8.drop { $0 >= 0x30 && $0 <= 0x39 }
    guard rest.starts(with: "<<".utf8) else { return false }
    var word = rest.dropFirst(2)
    if word.first == UInt8(ascii: "-") { word = word.dropFirst() }
    guard !word.contains(UInt8(ascii: "<")), !word.contains(UInt8(ascii: "\n")) else { return false }
    var lexer = WordLexer(escape: "\\")
    lexer.keepsUnset = true
    return (try? lexer.words(in: String(Substring(word)), environment: [String: String]()))?.count == 1
  }

  /// `|2 A=1 B=2 /bin/sh -c …`: the build arguments in effect, then the words.
  private static func historyLine(_ arguments: [String], _ declared: [ArgInstruction.Argument], _ environment: Environment) -> String {
    var names: [String] = [], values: [String: String] = [:]
    for argument in declared {
      if values.updateValue(environment[argument.key] ?? argument.value ?? "", forKey: argument.key) == nil { names.append(argument.key) }
    }
    let shown = names.map { $0 + "=" + (values[$0] ?? "") }
    return ((shown.isEmpty ? [] : ["|\(shown.count)"] + shown) + arguments).joined(separator: " ")
  }

  /// Proxy settings among the build arguments. They reach every RUN, and neither the image nor the cache.
  private var proxy: Pb_ProxyEnv? {
    var proxy = Pb_ProxyEnv(), isSet = false
    for (name, value) in buildArguments.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
      switch name.lowercased() {
      case "http_proxy": (proxy.httpProxy, isSet) = (value, true)
      case "https_proxy": (proxy.httpsProxy, isSet) = (value, true)
      case "ftp_proxy": (proxy.ftpProxy, isSet) = (value, true)
      case "no_proxy": (proxy.noProxy, isSet) = (value, true)
      case "all_proxy": (proxy.allProxy, isSet) = (value, true)
      default: break
      }
    }
    return isSet ? proxy : nil
  }
}
