package import BuildProgress
package import OCIModel

/// A node of a build graph: an operation and its inputs. Immutable, and shared by every edge that reads it.
package final class Vertex: Sendable, CustomStringConvertible {
  /// Digest of the definition up to here, all inputs included. Two vertices with one digest are one vertex.
  package let digest: Digest
  /// What a progress display calls it.
  package let name: String
  /// What the op is made from (`SolverOptions.resolveOp`); the solver does not look inside.
  package let payload: any Sendable
  package let options: VertexOptions
  /// Length of the longest way down to a vertex without inputs. A vertex can only depend on vertices of less height.
  let height: Int
  // Written by init and deinit only: a graph may be deeper than a thread's stack, so it is taken apart in a loop.
  private nonisolated(unsafe) var storedInputs: [Edge]
  package var inputs: [Edge] { storedInputs }

  package init(digest: Digest, name: String, payload: any Sendable, inputs: [Edge] = [], options: VertexOptions = VertexOptions()) {
    (self.digest, self.name, self.payload, self.options) = (digest, name, payload, options)
    storedInputs = inputs
    height = (inputs.map(\.vertex.height).max() ?? -1) + 1
  }

  deinit {
    var rest = storedInputs
    storedInputs = []
    while var last = rest.popLast()?.vertex {
      guard isKnownUniquelyReferenced(&last) else { continue }
      rest += last.storedInputs
      last.storedInputs = []
    }
  }

  package var description: String { name }

  /// The same operation under another digest or with other inputs; itself when nothing changes.
  func replacing(digest: Digest, inputs: [Edge]) -> Vertex {
    if digest == self.digest, inputs.elementsEqual(self.inputs, by: { $0.vertex === $1.vertex }) { return self }
    return Vertex(digest: digest, name: name, payload: payload, inputs: inputs, options: options)
  }

  /// Whether `self` is `other` or reads it, however far down.
  func dependsOn(_ other: Vertex) -> Bool {
    if digest == other.digest { return true }
    var seen: Set<Digest> = [digest]
    var rest: [Vertex] = [self]
    while let vertex = rest.popLast() {
      for input in vertex.inputs where input.vertex.height >= other.height && seen.insert(input.vertex.digest).inserted {
        if input.vertex.digest == other.digest { return true }
        if input.vertex.height > other.height { rest.append(input.vertex) }
      }
    }
    return false
  }
}

/// What does not change the definition of a vertex, and so is not in its digest.
package struct VertexOptions: Sendable {
  /// Execute even if there is a cached result (`--no-cache`). What comes out is still saved.
  package var ignoreCache: Bool
  /// Text without meaning for the solver.
  package var description: [String: String]
  /// Asked besides the solver's own cache (imported caches).
  package var cacheSources: [any CacheManager]
  /// Whether the result may go into an exported cache; nil leaves it to the export's mode.
  package var exportCache: Bool?
  package var progressGroup: ProgressGroup?

  package init(
    ignoreCache: Bool = false, description: [String: String] = [:], cacheSources: [any CacheManager] = [],
    exportCache: Bool? = nil, progressGroup: ProgressGroup? = nil
  ) {
    (self.ignoreCache, self.description, self.cacheSources) = (ignoreCache, description, cacheSources)
    (self.exportCache, self.progressGroup) = (exportCache, progressGroup)
  }
}

/// One output of a vertex: what a build asks for, and what an input is.
package struct Edge: Sendable {
  package var vertex: Vertex
  /// Which of the op's results, from 0.
  package var index: Int
  package init(_ vertex: Vertex, index: Int = 0) { (self.vertex, self.index) = (vertex, index) }
}
