/// A request that failed and is sent again after a pause.
public struct RegistryRetry: Hashable, Sendable, CustomStringConvertible {
  /// `host[:port]` of whoever failed: the registry, its token server, or where it had sent us.
  public var host: String
  /// The method and address of the request, without its query.
  public var request: String
  /// What the registry said, or what happened to the connection.
  public var reason: String
  /// The pause before the try that follows.
  public var wait: Duration
  /// The number of the try that follows, counted from 1.
  public var attempt: Int
  /// All tries there are, the first one among them.
  public var maximumAttempts: Int

  /// Says nothing to anyone by itself; see `observing`.
  public init(host: String, request: String, reason: String, wait: Duration, attempt: Int, maximumAttempts: Int) {
    self.host = host
    self.request = request
    self.reason = reason
    self.wait = wait
    self.attempt = attempt
    self.maximumAttempts = maximumAttempts
  }

  /// `localhost:5000: 429 Too Many Requests (TOOMANYREQUESTS: slow down) [PUT http://…]: trying again in 3 s (try 2 of 6)`
  public var description: String { "\(host): \(reason) [\(request)]: trying again in \(RegistryRetry.seconds(wait)) (try \(attempt) of \(maximumAttempts))" }

  /// Whom this task's retries are told to, as `observing` has it.
  public static var observer: (@Sendable (RegistryRetry) -> Void)? { current?.tell }

  /// Runs `body`, and tells `observer` of every retry in it and in its children; outside of this the configuration's `onRetry` is told. `observer` is called from any
  /// task and must return quickly.
  @inline(never)
  public static func observing<T>(_ observer: @escaping @Sendable (RegistryRetry) -> Void, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> T) async rethrows -> T {
    try await $current.withValue(Observer(tell: observer), operation: body, isolation: isolation)
  }

  /// A type of its own: a task-local function makes the optimiser of Swift 6.3 leave its type out, and the program crash where the value is set.
  private struct Observer: Sendable { let tell: @Sendable (RegistryRetry) -> Void }
  @TaskLocal private static var current: Observer?

  static func seconds(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    if seconds >= 10 { return "\(seconds + (attoseconds > 0 ? 1 : 0)) s" }
    // Rounded up, so that no wait is told as none.
    let tenths = seconds * 10 + (attoseconds + 99_999_999_999_999_999) / 100_000_000_000_000_000
    return tenths % 10 == 0 ? "\(tenths / 10) s" : "\(tenths / 10).\(tenths % 10) s"
  }
}

/// A half-sent blob, as another process may go on with it.
public struct RememberedUpload: Hashable, Sendable {
  /// The upload session's address, as the registry gave it last. It may hold a signature: keep it from others' eyes.
  public var location: String
  /// Bytes that the registry is known to hold.
  public var offset: Int64
  /// As the registry's last answer told both.
  public init(location: String, offset: Int64) {
    self.location = location
    self.offset = offset
  }
}

/// Remembers half-sent blobs beyond the life of a process, and lets one process at a time send a blob to a repository. What it forgets costs work and nothing else:
/// its functions do not throw but for cancellation.
public protocol UploadMemory: Sendable {
  /// Runs `body` while nobody else in reach of this memory sends the blob there.
  func alone<T: Sendable>(repository: String, digest: String, _ body: () async throws -> T) async throws -> T
  func recall(repository: String, digest: String) async -> RememberedUpload?
  func remember(_ upload: RememberedUpload, repository: String, digest: String) async
  func forget(repository: String, digest: String) async
}
