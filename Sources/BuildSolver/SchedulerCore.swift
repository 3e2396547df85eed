import OCIModel

/// An edge that some build needs. Only touched under the solver's lock.
final class ActiveEdge {
  let id: Int
  let op: ActiveOp
  var machine: EdgeMachine
  /// Requests it has to answer, and requests of its own, in order.
  var incoming: [RequestID] = []
  var outgoing: [RequestID] = []
  /// The edge that does this one's work since they were merged.
  var owner: ActiveEdge?
  /// Further releases until this edge is really released: one for each edge merged into it.
  var extraReleases = 0
  var queued = false
  /// In the middle of a turn: the cache is being asked. `again`: it was to have another turn meanwhile.
  var busy = false
  var again = false

  init(id: Int, op: ActiveOp, index: Int) {
    (self.id, self.op) = (id, op)
    machine = EdgeMachine(vertex: op.vertex, index: index)
  }
  var vertex: Vertex { op.vertex }
  /// The edge that does the work now.
  var current: ActiveEdge {
    var edge = self
    while let owner = edge.owner { edge = owner }
    return edge
  }
}

/// A request between two edges, from a build to an edge, or from an edge for work.
final class Request {
  var from: ActiveEdge?
  var target: ActiveEdge?
  let wanted: EdgeRequest?
  var cancelled = false
  /// As the asker was last told; it looks at it when its turn comes.
  var status = RequestStatus()
  var told: EdgeState
  /// The asker has not seen `status` yet.
  var fresh = false
  /// The asker has seen that the request is complete.
  var seenComplete = false

  init(from: ActiveEdge?, target: ActiveEdge?, wanted: EdgeRequest?) {
    (self.from, self.target, self.wanted) = (from, target, wanted)
    told = wanted?.current ?? EdgeState()
  }
}

/// Work that takes time, done in a task.
enum EdgeWork: Sendable {
  case cacheMap(index: Int)
  case contentKey(input: Int, CacheMap.Dependency, CachedResult)
  case load(CacheRecord, SecondaryKeys)
  case execute(index: Int, keys: [CacheKey], inputs: [CachedResult], SecondaryKeys)
}

/// What the core wants done outside of it.
enum Effect: Sendable {
  case start(RequestID, ActiveOp, EdgeWork)
  case cancel(RequestID)
  /// The turn of an edge goes on with `SchedulerCore.answered`.
  case ask(edge: Int, ActiveOp, [CacheQuestion])
  /// The turn of an edge goes on with `SchedulerCore.answered(records:)`.
  case askRecords(edge: Int, ActiveOp, [CacheKey])
  case finishBuild(RequestID, Result<CachedResult, any Error>)
  case release(SharedResult)
  case releaseOp(ActiveOp)
}

/// Drives the edges: whose turn it is, who told whom what, which edges are one. It does nothing that takes time; what has to be
/// done is left in `effects` for its owner. No locks and no concurrency here: see `Solver`.
struct SchedulerCore {
  var effects: [Effect] = []
  var ids = RequestIDs()
  var states: [Digest: VertexState] = [:]
  var jobs: [Int: JobState] = [:]
  var index = EdgeIndex()
  private var requests: [RequestID: Request] = [:]
  private var queue: [ActiveEdge] = []
  private var next = 0
  private var turns: [Int: ActiveEdge] = [:]

  /// Nothing is under way.
  var isIdle: Bool { requests.isEmpty && turns.isEmpty && next == queue.count }

  // MARK: builds

  /// Asks for the result of an edge that was loaded; answered with `finishBuild`.
  mutating func startBuild(_ id: RequestID, _ edge: Edge) throws {
    guard let target = activeEdge(edge) else {
      throw SolverError(.inconsistent, "\(edge.vertex.name) is not part of any job")
    }
    request(id, target: target, from: nil, EdgeRequest(desired: .complete, current: EdgeState(), currentKeys: 0))
  }

  mutating func cancel(_ id: RequestID) {
    guard let request = requests[id], !request.cancelled else { return }
    request.cancelled = true
    if let target = request.target { signal(target) } else { effects.append(.cancel(id)) }
  }

  // MARK: the loop

  /// The work behind a request ended. False: no one waits for it any more, and what it made is the caller's.
  mutating func complete(_ id: RequestID, _ outcome: Result<RequestStatus.Value, any Error>) -> Bool {
    guard let request = requests[id], let from = request.from else { return false }
    switch outcome {
    case .success(let value): request.status.value = value
    case .failure(let error):
      request.status.error = error
      request.status.cancelled = request.cancelled && error is CancellationError
    }
    request.status.completed = true
    request.fresh = true
    signal(from)
    return true
  }

  mutating func signal(_ edge: ActiveEdge) {
    guard !edge.queued else { return }
    edge.queued = true
    queue.append(edge)
  }

  /// Gives turns until no edge has anything to do.
  mutating func drain() {
    while next < queue.count {
      let edge = queue[next]
      next += 1
      if next > 256, next * 2 > queue.count {
        queue.removeFirst(next)
        next = 0
      }
      edge.queued = false
      if edge.busy {
        edge.again = true
      } else if edge.owner == nil {
        turn(edge)
      }
    }
    queue.removeAll(keepingCapacity: true)
    next = 0
  }

  private mutating func turn(_ edge: ActiveEdge) {
    var updates: [RequestUpdate] = []
    for id in edge.outgoing {
      guard let request = requests[id], request.fresh else { continue }
      request.fresh = false
      request.seenComplete = request.status.completed
      updates.append(RequestUpdate(id: id, status: request.status))
    }
    edge.busy = true
    let questions = edge.machine.absorb(updates)
    if questions.isEmpty { return answered(edge, []) }
    turns[edge.id] = edge
    effects.append(.ask(edge: edge.id, edge.op, questions))
  }

  mutating func answered(_ id: Int, _ answers: [[CacheKey]]) {
    if let edge = turns.removeValue(forKey: id) { answered(edge, answers) }
  }
  private mutating func answered(_ edge: ActiveEdge, _ answers: [[CacheKey]]) {
    guard edge.owner == nil else { return endTurn(edge) }
    let keys = edge.machine.learn(answers)
    if keys.isEmpty { return answered(edge, records: []) }
    turns[edge.id] = edge
    effects.append(.askRecords(edge: edge.id, edge.op, keys))
  }
  mutating func answered(_ id: Int, records: [[CacheRecord]?]) {
    if let edge = turns.removeValue(forKey: id) { answered(edge, records: records) }
  }
  private mutating func answered(_ edge: ActiveEdge, records: [[CacheRecord]?]) {
    guard edge.owner == nil else { return endTurn(edge) }
    edge.machine.learn(records: records)
    decide(edge)
    endTurn(edge)
  }

  private mutating func endTurn(_ edge: ActiveEdge) {
    edge.busy = false
    if edge.again { signal(edge) }
    edge.again = false
  }

  private mutating func decide(_ edge: ActiveEdge) {
    let incoming = edge.incoming.compactMap { id -> IncomingRequest? in
      guard let request = requests[id], let wanted = request.wanted, !request.status.completed else { return nil }
      return IncomingRequest(id: id, request: wanted, cancelled: request.cancelled, told: request.told)
    }
    let outgoing = edge.outgoing.filter { requests[$0].map { !$0.seenComplete } ?? false }
    let actions = edge.machine.decide(EdgeMachine.Surroundings(incoming: incoming, outgoing: outgoing), ids: &ids)
    for action in actions { perform(action, of: edge) }
    for id in edge.outgoing where requests[id]?.seenComplete == true { requests[id] = nil }
    edge.outgoing.removeAll { requests[$0] == nil }
    edge.incoming.removeAll { requests[$0]?.status.completed ?? true }
    mergeIfEqual(edge)
    check(edge)
  }

  private mutating func perform(_ action: EdgeAction, of edge: ActiveEdge) {
    switch action {
    case .requestInput(let id, let input, let wanted):
      if let target = activeEdge(edge.vertex.inputs[input]) {
        request(id, target: target, from: edge, wanted)
      } else {
        let request = work(id, of: edge)
        request.status.error = SolverError(.inconsistent, "input \(input) of \(edge.vertex.name) is not part of any job")
        (request.status.completed, request.fresh) = (true, true)
        signal(edge)
      }
    case .requestCacheMap(let id, let index): start(id, .cacheMap(index: index), of: edge)
    case .requestContentKey(let id, let input, let dependency, let result):
      start(id, .contentKey(input: input, dependency, result), of: edge)
    case .load(let id, let record): start(id, .load(record, edge.machine.secondary), of: edge)
    case .execute(let id, let keys, let inputs):
      start(id, .execute(index: edge.machine.index, keys: keys, inputs: inputs, edge.machine.secondary), of: edge)
    case .wake(let id):
      let request = work(id, of: edge)
      (request.status.completed, request.fresh) = (true, true)
      signal(edge)
    case .cancel(let id): cancel(id)
    case .finish(let id, let error): answer(id, from: edge, error: error, completed: true)
    case .update(let id): answer(id, from: edge, error: nil, completed: false)
    }
  }

  private mutating func start(_ id: RequestID, _ task: EdgeWork, of edge: ActiveEdge) {
    _ = work(id, of: edge)
    effects.append(.start(id, edge.op, task))
  }
  private mutating func work(_ id: RequestID, of edge: ActiveEdge) -> Request {
    let request = Request(from: edge, target: nil, wanted: nil)
    requests[id] = request
    edge.outgoing.append(id)
    return request
  }
  private mutating func request(_ id: RequestID, target: ActiveEdge, from: ActiveEdge?, _ wanted: EdgeRequest) {
    requests[id] = Request(from: from, target: target, wanted: wanted)
    target.incoming.append(id)
    from?.outgoing.append(id)
    signal(target)
  }

  private mutating func answer(_ id: RequestID, from edge: ActiveEdge, error: (any Error)?, completed: Bool) {
    guard let request = requests[id] else { return }
    let state = edge.machine.state
    request.told = state
    request.status = RequestStatus(
      value: .edge(state), completed: completed, error: error, cancelled: request.cancelled && error is CancellationError)
    request.fresh = true
    if let asker = request.from {
      signal(asker)
    } else if completed {
      requests[id] = nil
      if let error {
        effects.append(.finishBuild(id, .failure(error)))
      } else if let result = state.result {
        effects.append(.finishBuild(id, .success(result.handle())))
      } else {
        effects.append(.finishBuild(id, .failure(SolverError(.inconsistent, "\(edge.vertex.name) ended without a result"))))
      }
    }
  }

  /// What `EdgeMachine.decide` promises. If it ever breaks its promise, the edge fails instead of hanging.
  private mutating func check(_ edge: ActiveEdge) {
    guard edge.owner == nil, !edge.queued, !edge.again, edge.incoming.isEmpty != edge.outgoing.isEmpty else { return }
    let broken = edge.incoming.isEmpty ? "work goes on that no one asked for" : "a request is open and nothing is done for it"
    edge.machine.fail(SolverError(.inconsistent, "the scheduler broke its rules at \(edge.vertex.name): \(broken)"))
    for id in edge.outgoing { cancel(id) }
    signal(edge)
  }

  // MARK: merging

  private mutating func mergeIfEqual(_ edge: ActiveEdge) {
    guard edge.machine.keysDidChange else { return }
    edge.machine.keysDidChange = false
    guard let key = edge.machine.indexKey(), let other = index.loadOrStore(key, edge),
      !edge.vertex.dependsOn(other.vertex), !other.vertex.dependsOn(edge.vertex)
    else { return }
    // If edges of the other vertex already went to this one, this one stays.
    let (target, source) = isOwned(other, by: edge) ? (edge, other) : (other, edge)
    // What began is never taken over; and who must execute does not take the result of one who need not.
    guard source.machine.executeRequest == nil, !source.machine.isComplete,
      target.machine.ignoreCache || !source.machine.ignoreCache
    else { return }
    for id in source.incoming { requests[id]?.target = target }
    target.incoming += source.incoming
    for id in source.outgoing {
      requests[id]?.from = target
      cancel(id)
    }
    target.outgoing += source.outgoing
    (source.incoming, source.outgoing) = ([], [])
    signal(target)
    target.machine.secondary.add(source.machine.inputKeys())
    giveOver(source, to: target)
  }

  /// Whether an edge of `edge`'s vertex was merged into one of `owner`'s, be it by way of others.
  private func isOwned(_ edge: ActiveEdge, by owner: ActiveEdge) -> Bool {
    var seen: Set<Digest> = []
    var rest = [edge.vertex.digest]
    while let digest = rest.popLast() {
      for sibling in states[digest]?.edges.values ?? [:].values {
        guard let next = sibling.owner?.vertex.digest else { continue }
        if next == owner.vertex.digest { return true }
        if seen.insert(next).inserted { rest.append(next) }
      }
    }
    return false
  }
}
