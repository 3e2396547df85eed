internal import BuildExecutor
internal import BuildInterface
internal import BuildKitProto
internal import HostOS

/// Devices that steps ask for (`RUN --device`).
extension ExecOperation {
  static func devices(_ op: Pb_ExecOp) -> [DeviceRequest] { op.cdiDevices.map { DeviceRequest($0.name, isOptional: $0.optional) } }

  /// Why a step cannot have its devices: they are not here, or whoever asked for the build did not allow them (`device`, or `device=NAME`). Nil when it can.
  static func refusal(devices op: Pb_ExecOp, allowed: Set<String>, _ executor: any StepExecutor) async throws -> BuildError? {
    if op.cdiDevices.isEmpty { return nil }
    let specs = try await Blocking.run { executor.devices() }
    do {
      let found = try specs.find(devices(op))
      if allowed.contains("device") { return nil }
      var granted: Set<String> = []
      for text in allowed where text.hasPrefix("device=") {
        let fields = text.dropFirst("device=".count).split(separator: ",", omittingEmptySubsequences: false)
        // An alias changes which device a step gets, though its cache key names another.
        if fields.count > 1 { return BuildError(.unimplemented, .usage, "--allow \(text): an alias of a device is not supported", suggestion: "name the device itself: --allow device=\(fields[0])") }
        granted.formUnion(try specs.find([DeviceRequest(String(fields.first ?? ""))]).map(\.name))
      }
      let forbidden = found.filter { !$0.isAutoAllowed && !granted.contains($0.name) }.map(\.name)
      if forbidden.isEmpty { return nil }
      let what = forbidden.count == 1 ? "device \(forbidden[0]) is" : "devices \(forbidden.joined(separator: ", ")) are"
      return BuildError(
        .permissionDenied, .usage, "\(what) requested by the build but not allowed", suggestion: "if you trust this Dockerfile, add --allow device=\(forbidden[0]) to the command")
    } catch let error as ExecutorError { return BuildError(.failedPrecondition, .build, "\(error)") }
  }
}
