internal import BuildExecutor
internal import HostOS

/// A step with a limit of time.
enum StepDeadline {
  /// nil: it was killed for having taken too long.
  static func run(
    _ spec: ProcessSpec, root: MountPlan, locks: [HostOS.Descriptor], seconds: Double??, _ executor: any StepExecutor,
    output: @escaping @Sendable (StepOutput) -> Void
  ) async throws -> StepExit? {
    guard let seconds = seconds ?? nil else { return try await executor.run(spec, root: root, locks: locks, output: output) }
    return try await withThrowingTaskGroup(of: StepExit?.self) { group in
      group.addTask {
        do { return try await executor.run(spec, root: root, locks: locks, output: output) } catch is CancellationError { return nil }
      }
      group.addTask {
        try? await Task.sleep(for: .seconds(seconds))
        return nil
      }
      let first = try await group.next() ?? nil
      group.cancelAll()
      // The step, killed, is waited for: its files are not to be touched before it is gone.
      let second = try await group.next() ?? nil
      try Task.checkCancellation()
      return first ?? second
    }
  }
}
