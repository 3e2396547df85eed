internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import HostOS
internal import OCIModel

/// One build from an opened engine to the files written about it.
struct BuildRun: Sendable {
  var plan: BuildPlan
  var facts: CommandFacts

  func run(_ composition: Composition) async throws {
    let response = try await response(composition)
    if let call = plan.call { try answer(call, response) }
  }

  /// What the engine answers, when what is asked for besides has been written.
  func response(_ composition: Composition) async throws -> SolveResponse {
    try await composition.withEngine(plan.settings) { engine in
      for warning in plan.warnings { Terminal.error("WARNING: \(TerminalText.singleLine(warning))\n") }
      // A file of an earlier build must not pass for this one's.
      if let path = plan.imageIDFile { try await removeIfPresent(path) }
      let inputs = BuildInputs(plan: plan)
      let outcome: Outcome
      do {
        outcome = try await KeyAgent.during(plan.sshKeys, environment: facts.environment) { sockets in
          var inputs = inputs
          defer { inputs.remove() }
          try await inputs.bring()
          inputs.lend(sockets)
          return try await solve(engine, &inputs)
        }
      } catch {
        guard plan.request.keepsFailedStep, !Task.isCancelled, try await openShell(engine, error) else { throw error }
        // It was shown before the shell.
        throw ExitCode(ManifoldExit.of((error as? ShownError)?.error ?? error))
      }
      try await finish(outcome)
      return outcome.response
    }
  }

  private struct Outcome: Sendable {
    var response: SolveResponse
    var warnings: [VertexWarning]
  }

  private func answer(_ call: CallSpec, _ response: SolveResponse) throws {
    if let forecast = response.forecast {
      if call.isJSON { return Terminal.output(ForecastJSON(forecast).value.encodedString(.indented("  ")) + "\n") }
      let width = facts.environment["COLUMNS"].flatMap { Int($0) } ?? 100
      return Terminal.output(ForecastText(forecast, directories: plan.client.directories, width: width).text)
    }
    let answer = try CallAnswer(call: call, documents: response.answer, fileName: plan.shownDockerfile).rendered()
    Terminal.output(answer.output)
    if let error = answer.error { Terminal.error("ERROR: \(TerminalText.multiLine(error))\n") }
    if answer.status != 0 { throw ExitCode(answer.status) }
  }

  private func solve(_ engine: any EmbeddedEngine, _ inputs: inout BuildInputs) async throws -> Outcome {
    let display = ProgressDisplay(mode: plan.progress, description: "building with the embedded engine", environment: facts.environment)
    let showsOutput = ![.quiet, .none, .rawjson].contains(plan.progress)
    let observer = BuildObserver(next: display, keepsOutput: !showsOutput)
    do {
      if showsOutput { for note in engine.notes { display.message("note: " + TerminalText.singleLine(note)) } }
      if showsOutput, plan.call == nil, !plan.platforms.isEmpty {
        let support = await engine.platformSupport(for: plan.platforms)
        if !support.isEmpty { display.message(PlatformReport.text(support)) }
      }
      try await inputs.download(by: engine, progress: observer)
      let plan = inputs.plan
      let response = try await DockerLoads.during(plan, plan.client, facts, progress: observer, say: { if showsOutput { display.message($0) } }) { request, client in
        try await engine.solve(request, client: engine.client(client), progress: observer)
      }
      await display.finish()
      showWarnings(observer, showsOutput)
      return Outcome(response: response, warnings: observer.warnings)
    } catch {
      await display.finish()
      showWarnings(observer, showsOutput)
      guard let vertex = (error as? BuildError)?.vertex, !showsOutput else { throw error }
      throw ShownError(error: error, output: observer.lastOutput(of: vertex.digest))
    }
  }

  /// A shell in the step that failed, with the error shown before it. false when there is none to open one in.
  private func openShell(_ engine: any EmbeddedEngine, _ error: any Error) async throws -> Bool {
    let shown = error as? ShownError
    guard let failure = (shown?.error ?? error) as? BuildError, let step = failure.vertex, failure.exitCode != nil else { return false }
    Terminal.error(ErrorText.of(failure, output: shown?.output ?? []))
    let platform = step.platform.map { " (\($0))" } ?? ""
    Terminal.error("\nThis is a shell in \(TerminalText.singleLine(step.name))\(platform), as it failed. Exit it to end the build.\n")
    _ = try await engine.openShell(inFailedStepOf: plan.request.ref, terminal: plan.hasTerminal)
    return true
  }

  private func showWarnings(_ observer: BuildObserver, _ shows: Bool) {
    guard shows else { return }
    let colour = facts.standardErrorIsTerminal ? ProgressColours(environment: facts.environment).warning : ""
    Terminal.error(BuildObserver.summary(observer.warnings, details: plan.settings.debug, colour: colour))
  }

  /// Prints and writes what is asked for about a build that went well.
  private func finish(_ outcome: Outcome) async throws {
    let response = outcome.response
    let id = response.exporterResponse["containerimage.config.digest"] ?? response.exporterResponse["containerimage.digest"] ?? ""
    if plan.printsImageID, plan.call == nil, !id.isEmpty { Terminal.output(id + "\n") }
    if let path = plan.imageIDFile { try await write(Array(id.utf8), to: path) }
    guard let path = plan.metadataFile else { return }
    var answers = response.exporterResponse
    // As buildx names a build: builder, node, build.
    if plan.call == nil { answers["buildx.build.ref"] = "embedded/embedded/\(plan.request.ref)" }
    let warnings = plan.call == nil && MetadataFile.holdsWarnings(facts.environment) ? outcome.warnings : []
    for (name, document) in response.answer { answers[name] = String(decoding: document, as: UTF8.self) }
    try await write(MetadataFile.bytes(answers, provenance: response.provenance, mode: .init(environment: facts.environment), warnings: warnings), to: path)
  }

  private func removeIfPresent(_ path: String) async throws {
    do { try await Blocking.run { if Files.exists(path) { try Files.removeTree(path) } } } catch let error as HostError {
      throw BuildError.usage("cannot replace \(path): \(error)")
    }
  }
  private func write(_ bytes: [UInt8], to path: String) async throws {
    do { try await Blocking.run { try Files.writeAtomically(bytes, to: path, durable: false) } } catch let error as HostError {
      throw BuildError(.permissionDenied, .usage, "the build is done, but \(path) cannot be written: \(error)")
    }
  }
}

/// Says before the first step how each platform's steps will run.
enum PlatformReport {
  static func text(_ support: [PlatformSupport]) -> String {
    let width = support.map { $0.platform.fullDescription.count }.max() ?? 0
    return support.map { one in
      let name = one.platform.fullDescription
      let how: String =
        switch one.kind {
        case .native: "native"
        case .emulated(let program): "emulated by \(program)"
        case .impossible(let reason): "steps cannot run here: \(reason)"
        }
      return "platform \(name)\(String(repeating: " ", count: width - name.count))  \(how)"
    }.joined(separator: "\n")
  }
}
