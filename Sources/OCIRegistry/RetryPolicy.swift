#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// When and how long to wait before a failed request is sent again. Pure: time and chance are given to it.
///
/// The budget, with the defaults: a request is sent up to 6 times. Broken connections, timeouts and 5xx wait 0.15 s, doubling, 5 s in all at most; 429 without
/// `Retry-After` waits 1.2 s, doubling up to 10 s, about half a minute in all; `Retry-After` (seconds or a date) is waited out up to 90 s each time. A longer one is
/// not begun: the error names it. Beyond single requests: a download is taken up again as long as each connection brings something, 64 times at most; an upload goes on
/// within its session as long as the registry takes something, in at most 8 sessions. A refused connection is final unless the registry answered before.
public struct RetryPolicy: Sendable, Hashable {
  /// All tries of one request, the first included; at least 1.
  public var maximumAttempts: Int
  /// The wait before the second try; it doubles each time.
  public var baseDelay: Duration
  public var maximumDelay: Duration
  /// A `Retry-After` longer than this is not waited for: the error names it instead.
  public var maximumRetryAfter: Duration

  public init(
    maximumAttempts: Int = 6, baseDelay: Duration = .milliseconds(150), maximumDelay: Duration = .seconds(10), maximumRetryAfter: Duration = .seconds(90)
  ) {
    self.maximumAttempts = maximumAttempts
    self.baseDelay = baseDelay
    self.maximumDelay = maximumDelay
    self.maximumRetryAfter = maximumRetryAfter
  }

  /// One try, no waiting.
  public static let never = RetryPolicy(maximumAttempts: 1)

  package enum Failure: Hashable, Sendable {
    /// A response with this status; the wait its `Retry-After` asks for.
    case status(Int, retryAfter: Duration?)
    /// The connection broke or fell silent.
    case connection
    /// Trying again cannot help: refused, unknown host, bad certificate.
    case permanent
  }
  package enum Decision: Hashable, Sendable {
    case retry(after: Duration)
    case giveUp
  }

  /// What to do after try number `attempt` (from 1) failed. `random` is in 0..<1: the wait is half fixed, half chance,
  /// so that many clients of a struggling registry spread out without any of them coming back at once.
  package func decision(afterAttempt attempt: Int, _ failure: Failure, random: Double) -> Decision {
    guard attempt < maximumAttempts else { return .giveUp }
    switch failure {
    case .permanent: return .giveUp
    case .connection: return .retry(after: backoff(attempt, random))
    case .status(let status, let retryAfter):
      guard RetryPolicy.isTransient(status) else { return .giveUp }
      // Whoever says "too many" needs more than the moment that a broken connection does.
      guard let retryAfter else { return .retry(after: backoff(status == 429 ? attempt + 3 : attempt, random)) }
      guard retryAfter <= maximumRetryAfter else { return .giveUp }
      return .retry(after: retryAfter + baseDelay * random)
    }
  }

  /// Statuses that a later try may not get: timeouts, rate limits, overload and upstream trouble.
  package static func isTransient(_ status: Int) -> Bool {
    switch status {
    case 408, 425, 429, 500, 502, 503, 504, 520...524, 529: true
    default: false
    }
  }

  private func backoff(_ attempt: Int, _ random: Double) -> Duration {
    let doubled = baseDelay * (1 << min(attempt - 1, 20))
    let full = min(doubled, maximumDelay)
    return full / 2 + full / 2 * min(max(random, 0), 1)
  }
}

/// The world outside the pure parts: the time, waiting and chance.
package struct RegistryClock: Sendable {
  /// Seconds since the epoch.
  package var now: @Sendable () -> Int64
  package var sleep: @Sendable (Duration) async throws -> Void
  /// In 0..<1.
  package var random: @Sendable () -> Double

  package init(now: @escaping @Sendable () -> Int64, sleep: @escaping @Sendable (Duration) async throws -> Void, random: @escaping @Sendable () -> Double) {
    self.now = now
    self.sleep = sleep
    self.random = random
  }
}

extension RegistryClock {
  package static let system = RegistryClock(now: { Int64(time(nil)) }, sleep: { try await Task.sleep(for: $0) }, random: { Double.random(in: 0..<1) })
}
