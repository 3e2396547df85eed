import Synchronization

/// What an op yields and the next one reads. Counted: who has one releases it once.
package protocol SolverResult: Sendable {
  /// Names the value, so that a cache finds it again.
  var id: String { get }
  func release() async
  /// A further reference to the same value.
  func clone() -> any SolverResult
}

/// A build's answer: a result together with the keys it is cached by. Counted like any result; `base` is lent.
package final class CachedResult: SolverResult {
  /// What the op returned.
  package let base: any SolverResult
  package let cacheKeys: [ExportableCacheKey]
  private let shared: SharedResult
  private let released = Atomic(false)

  fileprivate init(_ shared: SharedResult) {
    (self.shared, base, cacheKeys) = (shared, shared.base, shared.cacheKeys)
  }
  package var id: String { base.id }
  package func clone() -> any SolverResult { shared.handle() }
  /// A second release of one handle does nothing.
  package func release() async {
    if !released.exchange(true, ordering: .acquiringAndReleasing) { await shared.release() }
  }
}

/// Counts the handles of one result; the last to go releases it.
final class SharedResult: Sendable {
  let base: any SolverResult
  let cacheKeys: [ExportableCacheKey]
  /// What is released at the end: `base`, or the handle it came wrapped in.
  private let owned: any SolverResult
  private let count = Atomic(1)

  /// Takes over the caller's reference to `result`.
  init(_ result: any SolverResult, cacheKeys: [ExportableCacheKey] = []) {
    owned = result
    // An op that asked for another build may return that build's handle as its own result.
    base = (result as? CachedResult)?.base ?? result
    self.cacheKeys = cacheKeys
  }
  func handle() -> CachedResult {
    count.add(1, ordering: .relaxed)
    return CachedResult(self)
  }
  func release() async {
    if count.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { await owned.release() }
  }
}
