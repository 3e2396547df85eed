import Synchronization

/// Something that goes wrong on purpose, for requests of a kind.
package struct TestFault: Sendable {
  package enum Action: Sendable {
    /// Answered with this instead.
    case status(Int, headers: [(String, String)] = [], body: String = "")
    /// Answered with this as soon as the request's head is there, while its body is still being sent; then the connection is closed.
    case early(Int, headers: [(String, String)] = [], body: String = "")
    /// The connection is reset before anything is answered; the request has no effect.
    case reset
    /// The connection is closed in order before anything is answered; the request has no effect.
    case close
    /// The connection is reset after this many bytes of the request's body, which an upload session keeps.
    case resetDuringBody(after: Int)
    /// The request has its effect, then the connection is reset without an answer.
    case loseAnswer
    /// The answer's body ends with a reset after this many bytes.
    case truncate(after: Int)
    /// One byte of the answer's body is changed.
    case corrupt
    /// The answer's Content-Length says this instead.
    case claim(length: Int)
    /// The answer has so many bytes too many, and no Content-Length that would tell.
    case surplus(Int)
    /// Nothing is answered for so long.
    case stall(milliseconds: Int64)
    /// The answer's body comes in pieces of so many bytes, with a pause after each.
    case drip(bytes: Int, everyMilliseconds: Int64)
    /// Fields of the answer are left out, or said otherwise.
    case fields(without: [String] = [], with: [(String, String)] = [])
    /// The token that the request carries is forgotten first, so that it is answered 401.
    case expireToken
    /// The upload session that the request names is forgotten first.
    case forgetUpload
    /// Sent elsewhere (307): an origin, to which path and query are added.
    case redirect(origin: String)
  }
  package var method: String?
  package var path: String
  /// Matching requests that are spared first, and how many are struck then.
  package var skip: Int
  package var times: Int
  package var action: Action

  /// Strikes requests whose path contains `path`, and whose method is `method` if there is one.
  package init(_ method: String?, _ path: String, skip: Int = 0, times: Int = 1, _ action: Action) {
    self.method = method
    self.path = path
    self.skip = skip
    self.times = times
    self.action = action
  }

  func matches(_ request: TestRequest) -> Bool { request.path.contains(path) && (method == nil || method == request.method) }
}

/// Holds requests back until as many have come as were expected, then lets all of them go: whoever sends them one after another never gets there.
package final class TestGate: Sendable {
  struct State: Sendable {
    var waiting: [@Sendable () -> Void] = []
    var arrived = 0
    var isOpen = false
    var ranOut = false
  }
  let state = Mutex(State())
  let method: String?
  let path: String
  let count: Int

  init(_ method: String?, _ path: String, count: Int) { (self.method, self.path, self.count) = (method, path, count) }

  /// How many requests came to it.
  package var arrived: Int { state.withLock { $0.arrived } }
  /// Whether as many came as were expected, while the first ones waited.
  package var wasReached: Bool { state.withLock { $0.isOpen && !$0.ranOut } }
  /// Lets everything go, and all that comes later.
  package func open() { release { $0.isOpen = true } }
  func runOut() { release { if !$0.isOpen { ($0.isOpen, $0.ranOut) = (true, true) } } }

  private func release(_ change: (inout State) -> Void) {
    let waiting = state.withLock { state in
      change(&state)
      defer { if state.isOpen { state.waiting = [] } }
      return state.isOpen ? state.waiting : []
    }
    for go in waiting { go() }
  }

  /// False when the request need not wait; else `go` is called when it may be answered.
  func hold(_ request: TestRequest, _ go: @escaping @Sendable () -> Void) -> Bool {
    guard request.path.contains(path), method == nil || method == request.method else { return false }
    let waits = state.withLock { state in
      state.arrived += 1
      guard !state.isOpen else { return false }
      if state.arrived >= count { state.isOpen = true }
      if !state.isOpen { state.waiting.append(go) }
      return !state.isOpen
    }
    // The one that was awaited lets the others go, too.
    if !waits { release { _ in } }
    return waits
  }
}

extension TestRegistry {
  /// Requests of this kind are held back until `count` of them have come, for at most so many seconds.
  package func gate(_ method: String?, _ path: String, until count: Int, patience seconds: Int64 = 60) -> TestGate {
    let gate = TestGate(method, path, count: count)
    state.withLock { $0.gates.append(gate) }
    schedule(afterSeconds: seconds) { [weak gate] in gate?.runOut() }
    return gate
  }
  /// From the request after the next `count` on, every connection is reset before its request has an effect, until `restore`. With `losesLast` the `count`th has its
  /// effect, and no answer.
  package func cut(after count: Int, losesLast: Bool = false) { state.withLock { ($0.remaining, $0.losesLast) = (count, losesLast) } }
  package func restore() { state.withLock { ($0.remaining, $0.losesLast) = (nil, false) } }
  /// Whether a request came after the cut.
  package var wasCut: Bool { state.withLock { $0.remaining == 0 } }
  /// Requests that came so far.
  package var arrivals: Int { state.withLock { $0.arrivals } }
  /// Repositories with all their content are gone.
  package func forgetRepositories() { state.withLock { $0.repositories = [:] } }
  /// A session as a client left it; its location's path.
  package func leaveUpload(_ id: String, to repository: String, _ bytes: [UInt8]) -> String {
    state.withLock { $0.uploads[id] = .init(repository: repository, bytes: bytes) }
    return "http://\(host)/v2/\(repository)/blobs/uploads/\(id)"
  }
  /// Called for each request when it is there in whole, before it has an effect, on the registry's thread.
  package func onRequest(_ body: (@Sendable (TestRequest) -> Void)?) { state.withLock { $0.observer = body } }
  /// Takes uploads that another registry sends here (`uploadsTo`), and lets that one know what came.
  package func acceptUploads(for other: TestRegistry) {
    set { $0.authentication = .none }
    state.withLock { $0.uploadOwner = other }
  }
  /// The longest chain of requests of which each came only after the one before was answered: how many round trips had to be waited for.
  package static func depth(_ requests: [TestRequest]) -> Int {
    let sorted = requests.filter { $0.answered > 0 }.sorted { $0.arrived < $1.arrived }
    var ended: [(at: UInt64, depth: Int)] = []
    for request in sorted {
      let below = ended.filter { $0.at <= request.arrived }.map(\.depth).max() ?? 0
      ended.append((request.answered, below + 1))
    }
    return ended.map(\.depth).max() ?? 0
  }
}
