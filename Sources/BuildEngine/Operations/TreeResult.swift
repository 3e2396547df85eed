internal import BuildSnapshots
internal import BuildSolver
internal import OCIModel

/// What ops of this engine yield: a tree of files, as the solver counts it.
final class TreeResult: SolverResult {
  enum Tree: Sendable {
    /// No files: `FROM scratch`.
    case scratch
    /// A counted reference of ours: released with the result.
    case snapshot(ImmutableRef)
    /// A directory of the client, read in place.
    case local(LocalSource)
  }
  let tree: Tree
  let id: String

  init(_ tree: Tree) {
    self.tree = tree
    switch tree {
    case .scratch: id = TreeResult.scratchID
    case .snapshot(let ref): id = ref.id
    case .local(let source): id = TreeResult.localPrefix + source.id
    }
  }

  static let scratchID = "scratch"
  /// Results by these ids are never found again by another build.
  static let localPrefix = "local:"

  func release() async {
    if case .snapshot(let ref) = tree { await ref.release() }
  }
  func clone() -> any SolverResult {
    if case .snapshot(let ref) = tree { return TreeResult(.snapshot(ref.clone())) }
    return TreeResult(tree)
  }

  /// The tree behind any result of this engine, the solver's own handles included.
  static func of(_ result: any SolverResult) throws -> TreeResult {
    if let tree = result as? TreeResult { return tree }
    if let cached = result as? CachedResult, let tree = cached.base as? TreeResult { return tree }
    throw InvalidDefinition("a result is not a tree of files: \(type(of: result))")
  }

  /// The tree as a snapshot: nil for scratch; a client's directory is copied into one first. Lent: valid while the result is.
  func snapshot(_ refs: RefStore) async throws -> ImmutableRef? {
    switch tree {
    case .scratch: nil
    case .snapshot(let ref): ref
    case .local(let source): try await source.materialized(in: refs)
    }
  }
}
