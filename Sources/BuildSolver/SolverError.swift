package import OCIModel

/// Why a build did not give its result.
package struct SolverError: Error, CustomStringConvertible, Sendable {
  package enum Code: Sendable {
    /// An op failed; `cause` is its error.
    case vertexFailed
    /// The job already ended, or the solver was shut down.
    case closed
    case unknownJob
    /// The graph cannot be built: an index out of range, an op that cannot be made.
    case invalidGraph
    /// A cache could not be written.
    case cache
    /// The solver's own rules were broken. Never the input's fault.
    case inconsistent
  }
  /// What was being done for the vertex.
  package enum Phase: String, Sendable {
    case cacheKey = "compute its cache key"
    case contentKey = "compute the content key of an input"
    case execute = "execute it"
    case save = "save its result"
  }
  package struct Step: Sendable, Hashable {
    package let digest: Digest
    package let name: String
  }

  package let code: Code
  package let message: String
  package let cause: (any Error)?
  /// The vertex that failed.
  package internal(set) var vertex: Step?
  package internal(set) var phase: Phase?
  /// `contentKey`: of which input.
  package internal(set) var input: Int?
  /// The op's payload and description, for whoever knows what they mean.
  package internal(set) var payload: (any Sendable)?
  package internal(set) var vertexDescription: [String: String] = [:]
  /// From the vertex that the build asked for down to the one that failed, both included.
  package internal(set) var path: [Step] = []

  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    (self.code, self.message, self.cause) = (code, message, cause)
  }

  package var description: String {
    var text = vertex.map { "\($0.name): " } ?? ""
    text += message
    if let cause { text += (message.isEmpty ? "" : ": ") + "\(cause)" }
    return text
  }

  /// An op's error, with where it happened. The innermost failing vertex stays the one named.
  static func wrap(_ error: any Error, vertex: Vertex, digest: Digest, phase: Phase, input: Int? = nil) -> any Error {
    if error is CancellationError { return error }
    let step = Step(digest: digest, name: vertex.name)
    if var inner = error as? SolverError, inner.vertex != nil {
      if inner.path.first != step { inner.path.insert(step, at: 0) }
      return inner
    }
    let own = error as? SolverError
    var outer = SolverError(own?.code ?? .vertexFailed, own?.message ?? "", cause: own == nil ? error : own?.cause)
    (outer.vertex, outer.phase, outer.input, outer.path) = (step, phase, input, [step])
    (outer.payload, outer.vertexDescription) = (vertex.payload, vertex.options.description)
    return outer
  }

  /// `self` with the way to its vertex from the edge that was asked for.
  func reached(from root: Vertex) -> SolverError {
    guard let first = path.first, first.digest != root.digest else { return self }
    var cameFrom: [Digest: Vertex] = [:]
    var queue = [root]
    var next = 0
    while next < queue.count {
      let vertex = queue[next]
      next += 1
      for input in vertex.inputs where input.vertex.digest != root.digest && cameFrom[input.vertex.digest] == nil {
        cameFrom[input.vertex.digest] = vertex
        if input.vertex.digest == first.digest {
          var error = self
          var step: Vertex? = vertex
          while let up = step {
            error.path.insert(Step(digest: up.digest, name: up.name), at: 0)
            step = cameFrom[up.digest]
          }
          return error
        }
        queue.append(input.vertex)
      }
    }
    return self
  }
}
