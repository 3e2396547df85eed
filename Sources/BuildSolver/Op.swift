package import OCIModel

/// How one vertex computes. Made once per active vertex by `SolverOptions.resolveOp`, and shared by all builds that need it.
/// Every call is made in a task that is cancelled when the last build that wants its answer gives up; it must then stop promptly.
package protocol Op: Sendable {
  /// What the result depends on. `index` counts from 0; asked for again, with the next index, until `done`. Only an op without
  /// inputs may have several (each is a further key that the same result is found by, as the digest behind a tag).
  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer

  /// Computes all results. The inputs are the unwrapped results of the vertex's inputs, lent for the length of the call:
  /// clone one to keep or to return it.
  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult]

  /// Waits for what limits execution. The default takes one of the solver's job slots; an op that uses no CPU of its own,
  /// or that only asks for other vertices, returns nil.
  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease?
}

extension Op {
  package func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { try await slots.acquire() }
}

package struct CacheMapAnswer: Sendable {
  package var map: CacheMap
  /// No further cache maps.
  package var done: Bool
  package init(_ map: CacheMap, done: Bool = true) { (self.map, self.done) = (map, done) }
}

/// How the result of an op is found again: the op's own digest, and what of each input matters.
package struct CacheMap: Sendable {
  /// Of the operation without its inputs (a manifest's digest, a commit, the normalised op).
  package var digest: CacheDigest
  /// One for each input of the vertex. May be shorter: the rest are plain.
  package var dependencies: [Dependency]
  /// Handed to whoever loads a result of this vertex or of one above it (`CacheContext.options`): where lazy content is
  /// had from, say. Never part of a key.
  package var options: [String: any Sendable]

  /// Content key of an input, computed from its result ("slow" key). Nil: this input has none after all.
  package typealias ComputeDigest = @Sendable (any SolverResult, OpContext) async throws -> Digest?
  /// Run on an input's result before the op may execute.
  package typealias Preprocess = @Sendable (any SolverResult, OpContext) async throws -> Void

  package struct Dependency: Sendable {
    /// Which part of the input is read; part of the definition key, not of the content key.
    package var selector: Digest?
    package var computeDigest: ComputeDigest?
    package var preprocess: Preprocess?
    package init(selector: Digest? = nil, computeDigest: ComputeDigest? = nil, preprocess: Preprocess? = nil) {
      (self.selector, self.computeDigest, self.preprocess) = (selector, computeDigest, preprocess)
    }
  }

  package init(digest: CacheDigest, dependencies: [Dependency] = [], options: [String: any Sendable] = [:]) {
    (self.digest, self.dependencies, self.options) = (digest, dependencies, options)
  }

  func dependency(_ input: Int) -> Dependency { input < dependencies.count ? dependencies[input] : Dependency() }
}

/// The digest of a cache map: a digest, or one that must never be found again by another build (`random:`), such as
/// that of files only one session has.
package struct CacheDigest: Hashable, Sendable, Comparable, CustomStringConvertible {
  package let description: String
  package init(_ digest: Digest) { description = digest.description }
  package init(random digest: Digest) { description = "random:" + digest.hex }
  /// As read from a stored record, which wrote `description`.
  package init(stored text: String) { description = text }
  package var isRandom: Bool { description.hasPrefix("random:") }
  package static func < (a: CacheDigest, b: CacheDigest) -> Bool { a.description < b.description }
}
