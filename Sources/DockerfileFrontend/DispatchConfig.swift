internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel

/// Instructions that change the image's config and no file.
extension Converter {
  func dispatchEnv(_ stage: StageState, _ env: EnvInstruction, _ checks: CheckScope) {
    for variable in env.variables {
      checks.checkForm(variable, at: env.origin)
      checks.checkSecret(variable.key, in: "ENV", at: env.origin)
      stage.state.environment[variable.key] = variable.value
      stage.setImageVariable(variable.key, variable.value)
    }
    stage.commit(env.variables.reduce(into: "ENV") { $0 += " \($1.key)=\($1.value)" }, layer: false, epoch: epoch)
  }

  func dispatchLabel(_ stage: StageState, _ label: LabelInstruction, _ checks: CheckScope) {
    for pair in label.labels {
      checks.checkForm(pair, at: label.origin)
      stage.image.config.labels[pair.key] = pair.value
    }
    stage.commit(label.labels.reduce(into: "LABEL") { $0 += " \($1.key)=\($1.value)" }, layer: false, epoch: epoch)
  }

  func dispatchExpose(_ stage: StageState, _ expose: ExposeInstruction, _ checks: CheckScope) throws {
    let words = StateWords(stage.state.environment)
    var ports: [String] = []
    for written in expose.ports {
      for word in try lexer.words(in: written, environment: words) {
        checks.checkPort(word, at: expose.origin)
        do { ports += try Ports.parse(word) } catch { throw failure(error.message, at: expose.origin.range, word: expose.origin.range(of: written, word), suggestion: "a port is a number up to 65535 or a range as 8000-8010, with /tcp, /udp or /sctp behind it if wanted") }
      }
    }
    stage.image.config.exposedPorts.formUnion(ports)
    stage.commit("EXPOSE " + GoText.list(ports), layer: false, epoch: epoch)
  }

  func dispatchUser(_ stage: StageState, _ user: UserInstruction) {
    stage.state.user = user.user
    stage.image.config.user = user.user
    stage.commit("USER " + user.user, layer: false, epoch: epoch)
  }

  func dispatchVolume(_ stage: StageState, _ volume: VolumeInstruction) throws {
    let paths = volume.volumes
    guard !paths.contains("") else { throw failure("VOLUME specified can not be an empty string", at: volume.origin.range) }
    stage.image.config.volumes.formUnion(paths)
    stage.commit("VOLUME " + GoText.list(paths), layer: false, epoch: epoch)
  }

  func dispatchStopsignal(_ stage: StageState, _ stopsignal: StopsignalInstruction) throws {
    let signal = stopsignal.signal
    guard Signals.isSignal(signal) else {
      throw failure("invalid signal: \(signal)", at: stopsignal.origin.range, word: stopsignal.origin.range(of: signal), suggestion: Signals.nearest(to: signal).map { "did you mean \($0)?" } ?? "give a number or a name as SIGTERM")
    }
    stage.image.config.stopSignal = signal
    stage.commit("STOPSIGNAL " + signal, layer: false, epoch: epoch)
  }

  /// The words of a command, with the stage's shell before those of the shell form.
  func arguments(_ command: CommandLine, of stage: StageState) -> [String] {
    command.prependsShell ? shell(of: stage) + [command.arguments.joined(separator: " ")] : command.arguments
  }
  func shell(of stage: StageState) -> [String] {
    if !stage.image.config.shell.isEmpty { return stage.image.config.shell }
    return stage.image.platform.os == "windows" ? ["cmd", "/S", "/C"] : ["/bin/sh", "-c"]
  }

  func dispatchCmd(_ stage: StageState, _ cmd: CommandInstruction, _ checks: CheckScope) {
    checks.checkOnlyOne(cmd.origin, in: stage)
    checks.checkShellForm(cmd, in: stage)
    let arguments = arguments(cmd.command, of: stage)
    stage.hasCommand = true
    stage.image.config.cmd = arguments
    stage.image.config.argsEscaped = true
    stage.commit("CMD " + GoText.quoted(arguments), layer: false, epoch: epoch)
  }

  /// A new entrypoint drops an inherited CMD, which was meant for the old one.
  func dispatchEntrypoint(_ stage: StageState, _ entrypoint: CommandInstruction, _ checks: CheckScope) {
    checks.checkOnlyOne(entrypoint.origin, in: stage)
    checks.checkShellForm(entrypoint, in: stage)
    let arguments = arguments(entrypoint.command, of: stage)
    stage.image.config.entrypoint = arguments
    if !stage.hasCommand { stage.image.config.cmd = nil }
    stage.commit("ENTRYPOINT " + GoText.quoted(arguments), layer: false, epoch: epoch)
  }

  func dispatchHealthcheck(_ stage: StageState, _ check: HealthcheckInstruction, _ checks: CheckScope) {
    checks.checkOnlyOne(check.origin, in: stage)
    stage.image.config.healthcheck = .init(
      test: check.test, interval: check.interval, timeout: check.timeout, startPeriod: check.startPeriod, startInterval: check.startInterval,
      retries: Int64(check.retries))
    let durations = [("Interval", check.interval), ("Timeout", check.timeout), ("StartPeriod", check.startPeriod), ("StartInterval", check.startInterval)]
    let fields = ["Test:" + GoText.list(check.test)] + durations.map { "\($0.0):\(GoText.duration($0.1))" } + ["Retries:\(check.retries)"]
    stage.commit("HEALTHCHECK {" + fields.joined(separator: " ") + "}", layer: false, epoch: epoch)
  }
}
