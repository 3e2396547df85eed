internal import BuildKitAPI
internal import BuildKitProto
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix

/// How often a client is asked whether it lives, and when it is given up: BuildKit's numbers.
package struct HealthSchedule: Sendable, Hashable {
  package var interval = Duration.seconds(5)
  package var timeout = Duration.seconds(15)
  /// So many failures, one after the other, end the session.
  package var failures = 2

  package init() {}

  /// Of a header's milliseconds, at least a second; anything else changes nothing.
  init(custom: String) {
    guard let milliseconds = Int(custom), milliseconds > 0, milliseconds < 86_400_000 else { return }
    interval = max(.milliseconds(milliseconds), .seconds(1))
    timeout = interval
    failures = 1
  }

  /// Asks until the client has failed too often, and throws that. A check may take long on a busy line, so that the next one has half as much again.
  func watch(_ client: GRPCClient<HTTP2ClientTransport.WrappedChannel>) async throws {
    let health = Grpc_Health_V1_Health.Client(wrapping: client)
    let clock = ContinuousClock()
    var failed = 0
    var last = Duration.zero
    while true {
      try await Task.sleep(for: interval)
      let began = clock.now
      var options = CallOptions.defaults
      options.timeout = max(timeout, last * 3 / 2)
      do {
        _ = try await health.check(Grpc_Health_V1_HealthCheckRequest(), options: options)
        failed = 0
      } catch {
        try Task.checkCancellation()
        failed += 1
        if failed >= failures { throw SessionError(.ended, "the client does not answer any more", cause: error) }
      }
      last = clock.now - began
    }
  }
}
