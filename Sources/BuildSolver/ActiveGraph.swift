import OCIModel

/// A vertex that some build needs. Only touched under the solver's lock.
final class VertexState {
  let vertex: Vertex
  let op: ActiveOp
  /// Which jobs want it, by number.
  var jobs: Set<Int> = []
  /// Active vertices whose op asked for it; and what this one's asked for.
  var parents: Set<Digest> = []
  var children: Set<Digest> = []
  var edges: [Int: ActiveEdge] = [:]

  init(vertex: Vertex, op: ActiveOp) { (self.vertex, self.op) = (vertex, op) }
}

/// A job as the scheduler knows it.
struct JobState {
  let job: Job
  var vertices: Set<Digest> = []
  var builds: Set<RequestID> = []
  var closing = false
}

/// For whom a graph is loaded.
enum BuildOwner: Sendable {
  case job(Int)
  /// An active vertex whose op asks.
  case vertex(Digest)
}

// The graph of active vertices: who wants which, and for how long.
extension SchedulerCore {
  /// The edge that does the work for `edge` now; nil when its vertex is not active.
  mutating func activeEdge(_ edge: Edge) -> ActiveEdge? {
    guard let state = states[edge.vertex.digest] else { return nil }
    if let known = state.edges[edge.index] { return known.current }
    let made = ActiveEdge(id: ids.next(), op: state.op, index: edge.index)
    state.edges[edge.index] = made
    return made
  }

  /// Makes a graph active on behalf of a job or of a vertex. Returns the vertex as it is known here: the digest of one that must
  /// execute differs if the same vertex is active and need not.
  mutating func load(_ root: Vertex, for owner: BuildOwner, makeOp: (Vertex, Digest) -> ActiveOp) throws -> Vertex {
    switch owner {
    case .job(let number):
      guard let job = jobs[number], !job.closing else { throw SolverError(.closed, "the job has ended") }
    case .vertex(let digest):
      guard states[digest] != nil else { throw SolverError(.closed, "the vertex that asks for \(root.name) is not active") }
    }
    var loaded: [ObjectIdentifier: Vertex] = [:]
    var rest: [(vertex: Vertex, expanded: Bool)] = [(root, false)]
    while let (vertex, expanded) = rest.popLast() {
      guard loaded[ObjectIdentifier(vertex)] == nil else { continue }
      if !expanded {
        rest.append((vertex, true))
        for input in vertex.inputs.reversed() where loaded[ObjectIdentifier(input.vertex)] == nil { rest.append((input.vertex, false)) }
        continue
      }
      let inputs = vertex.inputs.map { Edge(loaded[ObjectIdentifier($0.vertex)] ?? $0.vertex, index: $0.index) }
      let state = activate(vertex, inputs: inputs, makeOp: makeOp)
      if case .vertex(let parent) = owner, parent == state.vertex.digest {
        throw SolverError(.invalidGraph, "\(vertex.name) asks for a build that needs itself")
      }
      state.op.addCacheSources(vertex.options.cacheSources)
      attach(state, to: owner)
      loaded[ObjectIdentifier(vertex)] = state.vertex
    }
    return loaded[ObjectIdentifier(root)] ?? root
  }

  private mutating func activate(_ vertex: Vertex, inputs: [Edge], makeOp: (Vertex, Digest) -> ActiveOp) -> VertexState {
    // One that must execute serves one that need not; not the other way round.
    let forced = Digest.sha256(of: "\(vertex.digest)-ignorecache")
    if let state = states[forced] { return state }
    var digest = vertex.digest
    if let state = states[digest] {
      if state.vertex.options.ignoreCache || !vertex.options.ignoreCache { return state }
      digest = forced
    }
    let own = vertex.replacing(digest: digest, inputs: inputs)
    let state = VertexState(vertex: own, op: makeOp(own, vertex.digest))
    states[digest] = state
    return state
  }

  private mutating func attach(_ state: VertexState, to owner: BuildOwner) {
    switch owner {
    case .job(let number):
      join(state, jobs: [number])
    case .vertex(let parent):
      guard let parentState = states[parent] else { return }
      if state.parents.insert(parent).inserted {
        parentState.children.insert(state.vertex.digest)
        state.op.addCacheSources(parentState.op.cacheSources)
      }
      for number in jobNumbers(of: parent) { listen(state, number) }
    }
  }

  /// The vertex is wanted by these jobs too, and they hear of it and of what its op asked for.
  @discardableResult
  private mutating func join(_ state: VertexState, jobs numbers: Set<Int>) -> Bool {
    var added = false
    for number in numbers {
      guard state.jobs.insert(number).inserted else { continue }
      added = true
      jobs[number]?.vertices.insert(state.vertex.digest)
      listen(state, number)
      var seen: Set<Digest> = [state.vertex.digest]
      var rest = Array(state.children)
      while let digest = rest.popLast() {
        guard seen.insert(digest).inserted, let child = states[digest] else { continue }
        listen(child, number)
        rest += child.children
      }
    }
    return added
  }
  private func listen(_ state: VertexState, _ number: Int) {
    if let job = jobs[number] { state.op.progress.join(job.job.progress) }
  }

  /// All jobs that want a vertex, those of the vertices that asked for it included.
  func jobNumbers(of digest: Digest) -> Set<Int> {
    var found: Set<Int> = []
    var seen: Set<Digest> = [digest]
    var rest = [digest]
    while let digest = rest.popLast() {
      guard let state = states[digest] else { continue }
      found.formUnion(state.jobs)
      rest += state.parents.filter { seen.insert($0).inserted }
    }
    return found
  }

  /// `source` was merged away: its vertex lives on by `target`'s.
  mutating func giveOver(_ source: ActiveEdge, to target: ActiveEdge) {
    target.extraReleases += source.extraReleases + 1
    source.owner = target
    index.release(source)
    guard let from = states[source.vertex.digest], let to = states[target.vertex.digest], from !== to else { return }
    // The jobs of the one now need the other, and all that it is made from. Where nothing is new, nothing is below either.
    var rest = [to]
    while let state = rest.popLast() {
      var added = join(state, jobs: from.jobs)
      for parent in from.parents where parent != state.vertex.digest && !state.parents.contains(parent) {
        guard let parentState = states[parent], !state.vertex.dependsOn(parentState.vertex) else { continue }
        state.parents.insert(parent)
        parentState.children.insert(state.vertex.digest)
        added = true
      }
      guard added else { continue }
      for input in state.vertex.inputs {
        guard let next = states[input.vertex.digest] else { continue }
        rest.append(next)
        if let merged = next.edges[input.index]?.owner?.current.vertex.digest, let owner = states[merged] { rest.append(owner) }
      }
    }
    from.op.context.moveCleanups(to: to.op.context)
    from.op.progress.merge(into: to.op.progress)
  }

  /// The job ended: what no one else wants is released.
  mutating func discard(_ number: Int) {
    guard let job = jobs.removeValue(forKey: number) else { return }
    for digest in job.vertices {
      guard let state = states[digest] else { continue }
      state.jobs.remove(number)
      state.op.progress.leave(job.job.progress)
      releaseIfUnused(digest)
    }
  }

  private mutating func releaseIfUnused(_ digest: Digest) {
    var rest = [digest]
    while let digest = rest.popLast() {
      guard let state = states[digest], state.jobs.isEmpty, state.parents.isEmpty else { continue }
      states[digest] = nil
      for child in state.children {
        states[child]?.parents.remove(digest)
        rest.append(child)
      }
      for edge in state.edges.values { release(edge.current) }
      effects.append(.releaseOp(state.op))
    }
  }

  private mutating func release(_ edge: ActiveEdge) {
    guard edge.extraReleases == 0 else {
      edge.extraReleases -= 1
      return
    }
    index.release(edge)
    if let result = edge.machine.state.result { effects.append(.release(result)) }
  }
}
