internal import BuildExecutor
package import BuildInterface
internal import HostOS
internal import Synchronization

/// A step that failed, with its mounts as it left them.
struct FailedStep: Sendable {
  let spec: ProcessSpec
  let root: MountPlan
  var mounts: ExecMounts
}

/// The failed steps that builds asked to keep: the first of each.
final class FailedSteps: Sendable {
  private let steps = Mutex<[String: FailedStep]>([:])

  /// false when the build has one already: the step is the caller's to give back.
  func keep(_ step: FailedStep, of build: String) -> Bool {
    steps.withLock { steps in
      guard steps[build] == nil else { return false }
      steps[build] = step
      return true
    }
  }
  func take(_ build: String) -> FailedStep? { steps.withLock { $0.removeValue(forKey: build) } }

  func releaseAll() async {
    let all = steps.withLock { steps in
      defer { steps = [:] }
      return Array(steps.values)
    }
    for var step in all { await step.mounts.release() }
  }
}

extension Engine {
  /// As `FailedStepShell` says. Throws `BuildError`.
  package func openShell(inFailedStepOf ref: String, terminal: Bool, _ streams: Terminal) async throws -> Int32? {
    guard var step = services.failedSteps.take(ref) else { return nil }
    var spec = step.spec
    // The step's own shell (SHELL), interactive.
    let isShellForm = spec.arguments.count == 3 && spec.arguments[1] == "-c"
    spec.arguments = [isShellForm ? spec.arguments[0] : "/bin/sh"]
    if terminal, !spec.environment.contains(where: { $0.hasPrefix("TERM=") }) { spec.environment.append("TERM=xterm") }
    let result: Result<StepExit, any Error>
    do {
      result = .success(
        try await services.executor.run(
          spec, root: step.root, locks: [],
          streams: .attached(input: streams.input, output: streams.output, error: streams.error, terminal: terminal, signals: streams.signals)))
    } catch { result = .failure(error) }
    await step.mounts.release()
    do { return try result.get().code } catch { throw ErrorTranslation.buildError(error) }
  }
}
