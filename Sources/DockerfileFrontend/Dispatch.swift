internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

extension Converter {
  /// Runs the instructions of all stages that `target` needs, in the order of the file. Returns the paths of the build context that are read.
  func dispatchStages(for target: StageState) throws -> Set<String> {
    let reachable = Set(target.reachable.map(ObjectIdentifier.init))
    var contextPaths: Set<String> = []
    for stage in table.stages where looksAtAllStages || (reachable.contains(ObjectIdentifier(stage)) && !stage.isDispatched) {
      stage.inherit()
      stage.isDispatched = true
      if stage.platform == nil { stage.platform = targetPlatform }
      try prepare(stage)
      for command in stage.commands {
        let origin = command.instruction.origin
        try located(at: origin) { try dispatch(command, in: stage) }
      }
      contextPaths.formUnion(stage.contextPaths)
    }
    return contextPaths
  }

  /// What the steps of a stage find before its first instruction: the image's environment, directory and user.
  private func prepare(_ stage: StageState) throws {
    // Windows knows its own.
    if !stage.paths.isWindows, !stage.image.config.env.contains(where: { Converter.splitVariable($0).name == "PATH" }) {
      stage.image.config.env.append("PATH=" + Converter.defaultPath)
    }
    for entry in stage.image.config.env {
      let (name, value) = Converter.splitVariable(entry)
      stage.state.environment[name] = value
    }
    if !options.hostname.isEmpty { stage.state.hostname = options.hostname }
    if !stage.image.config.workingDir.isEmpty { try changeDirectory(stage, to: stage.image.config.workingDir) }
    if !stage.image.config.user.isEmpty { stage.state.user = stage.image.config.user }
    stage.state.network = options.network
  }

  static func splitVariable(_ entry: String) -> (name: String, value: String) {
    guard let equals = entry.utf8.firstIndex(of: UInt8(ascii: "=")) else { return (entry, "") }
    return (String(entry[..<equals]), String(entry[entry.utf8.index(after: equals)...]))
  }

  private func expanded(_ instruction: Instruction, in stage: StageState, _ checks: CheckScope) throws -> Instruction {
    var instruction = instruction
    let words = StateWords(stage.state.environment), origin = instruction.origin
    func text(_ word: String, by lexer: WordLexer) throws -> String {
      let expansion = try lexer.expand(word, environment: words)
      checks.checkUndefined(expansion.unmatched, in: stage, at: origin, escape: lexer.escape)
      return expansion.text
    }
    // A build argument may take the place of an ARG's default, so that is expanded only when it is used.
    if case .arg = instruction { return instruction }
    try instruction.expand { try text($0, by: lexer) }
    var contents = WordLexer(escape: "\\")
    contents.ignoresQuotes = true
    try instruction.expandContents { try text($0, by: contents) }
    return instruction
  }

  private func dispatch(_ command: StageState.Command, in stage: StageState) throws {
    let checks = checks.merging(comments: command.instruction.origin.comments)
    switch try expanded(command.instruction, in: stage, checks) {
    case .add(let add): try dispatchAdd(stage, add, command, checks)
    case .copy(let copy): try dispatchCopy(stage, copy, command, checks)
    case .run(let run): try dispatchRun(stage, run, command, checks)
    case .workdir(let workdir): try dispatchWorkdir(stage, workdir, command, checks)
    case .arg(let arg): try dispatchArg(stage, arg, checks)
    case .env(let env): dispatchEnv(stage, env, checks)
    case .label(let label): dispatchLabel(stage, label, checks)
    case .expose(let expose): try dispatchExpose(stage, expose, checks)
    case .user(let user): dispatchUser(stage, user)
    case .volume(let volume): try dispatchVolume(stage, volume)
    case .stopsignal(let stopsignal): try dispatchStopsignal(stage, stopsignal)
    case .cmd(let cmd): dispatchCmd(stage, cmd, checks)
    case .entrypoint(let entrypoint): dispatchEntrypoint(stage, entrypoint, checks)
    case .healthcheck(let healthcheck): dispatchHealthcheck(stage, healthcheck, checks)
    case .shell(let shell):
      stage.image.config.shell = shell.shell
      stage.commit("SHELL " + GoText.list(shell.shell), layer: false, epoch: epoch)
    case .maintainer(let maintainer):
      stage.image.author = maintainer.name
      stage.commit("MAINTAINER " + maintainer.name, layer: false, epoch: epoch)
    case .onbuild(let onbuild): stage.image.config.onBuild.append(onbuild.expression)
    }
  }
}

// MARK: - Directories

extension Converter {
  private func changeDirectory(_ stage: StageState, to path: String) throws {
    let directory = try stage.paths.joined(stage.image.config.workingDir, path)
    stage.image.config.workingDir = stage.paths.native(directory)
    stage.state.directory = stage.paths.slashed(directory)
  }

  private func dispatchWorkdir(_ stage: StageState, _ workdir: WorkdirInstruction, _ command: StageState.Command, _ checks: CheckScope) throws {
    checks.checkWorkdir(workdir, in: stage)
    try changeDirectory(stage, to: workdir.path)
    let directory = stage.state.directory
    guard directory != "/" else {
      stage.commit("WORKDIR " + directory, layer: false, epoch: epoch)
      return
    }
    let environment = stage.state.environment
    let name = StepText.uppercasingInstruction(StepText.expanding(workdir.origin.code, lexer, StateWords(environment)))
    let user = stage.image.config.user
    stage.state = try stage.state.file(
      [.makeDirectory(directory, mode: 0o755, parents: true, owner: user.isEmpty ? nil : FileOwner(parsing: user), created: epoch)],
      options: VertexOptions(
        name: stage.nextStepName(
          name, platform: stage.platform ?? targetPlatform, environment: environment, isOnbuild: command.isOnbuild, showsPlatform: options.isMultiPlatform),
        platform: stage.platform, location: location(of: workdir.origin)))
    stage.commit("WORKDIR " + directory, layer: true, epoch: epoch)
  }
}
