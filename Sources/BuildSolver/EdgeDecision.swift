// Step 3 of a turn: whom to answer, and what to ask for next.

extension EdgeMachine {
  /// What a turn found around the edge.
  struct Surroundings: Sendable {
    /// Requests this edge has to answer, in order of arrival.
    var incoming: [IncomingRequest]
    /// Requests of this edge that are not known to be complete.
    var outgoing: [RequestID]
  }

  /// Two rules keep edges from waiting for each other forever, and from working for no one:
  /// as long as a request to this edge is open there is a request from it, and the other way round.
  mutating func decide(_ around: Surroundings, ids: inout RequestIDs) -> [EdgeAction] {
    var actions: [EdgeAction] = []
    guard let desired = respond(around, &actions) else { return actions }

    var asked = false
    // An op with several cache maps is asked for the next one only while nothing was found by those before.
    if cacheMapRequest == nil, !cacheMapDone, cacheMap == nil || records.isEmpty {
      let id = ids.next()
      cacheMapRequest = id
      actions.append(.requestCacheMap(id, index: state.cacheMaps))
      asked = true
    }
    guard executeRequest == nil else { return actions }
    if desired == .complete, executeIfPossible(&actions, &ids) { return actions }
    let added = requestInputs(desired, force: false, &actions, &ids)
    if !added, !asked, around.outgoing.isEmpty {
      // No rule says what to wait for: compute the inputs rather than stand still.
      _ = requestInputs(desired, force: true, &actions, &ids)
    }
    return actions
  }

  /// Answers the requests that can be answered. Nil: nothing more is to be done this turn.
  private func respond(_ around: Surroundings, _ actions: inout [EdgeAction]) -> EdgeStatus? {
    let active = !around.outgoing.isEmpty
    var allCanComplete = true, allCancelled = true
    var desired = state.status
    if !isComplete {
      for incoming in around.incoming where !incoming.cancelled {
        allCancelled = false
        let request = incoming.request
        guard desired < request.desired else { continue }
        desired = request.desired
        if active || request.desired == .complete || request.currentKeys == state.keys.count { allCanComplete = false }
      }
    }
    // What is under way can still bring the first key.
    if !allCancelled, state.status < .complete, state.keys.isEmpty, active { allCanComplete = false }

    if allCanComplete {
      var toFinish = around.incoming[...]
      if active {
        actions += around.outgoing.map { .cancel($0) }
        // One stays open until what was cancelled has ended.
        let open = around.incoming.firstIndex { !$0.cancelled } ?? around.incoming.startIndex
        for (i, incoming) in around.incoming.enumerated() where i != open { finish(incoming, &actions) }
        toFinish = []
      }
      for incoming in toFinish { finish(incoming, &actions) }
      return nil
    }
    for incoming in around.incoming {
      if incoming.cancelled || !active && state.status >= incoming.request.desired {
        finish(incoming, &actions)
      } else if !incoming.told.isSame(as: state) {
        actions.append(.update(incoming.id))
      }
    }
    return desired
  }

  private func finish(_ incoming: IncomingRequest, _ actions: inout [EdgeAction]) {
    actions.append(.finish(incoming.id, error ?? (incoming.cancelled ? CancellationError() : nil)))
  }

  /// Loads a record if there is one, executes if all inputs are there; true when either begins, or when a last look for an
  /// equal edge must come first.
  private mutating func executeIfPossible(_ actions: inout [EdgeAction], _ ids: inout RequestIDs) -> Bool {
    let record = CacheRecord.best(of: records.values)
    guard record != nil || allInputsComplete else { return false }
    let id = ids.next()
    if keysDidChange {
      actions.append(.wake(id))
      return true
    }
    executeRequest = id
    loading = record
    if let record {
      actions.append(.load(id, record))
      for (id, _) in inputRequests { actions.append(.cancel(id)) }
    } else {
      actions.append(.execute(id, keys: commitKeys(), inputs: inputs.compactMap { $0.state.result?.handle() }))
    }
    return true
  }

  /// Asks inputs for as much as may matter now. True when anything new was asked for.
  private mutating func requestInputs(
    _ desired: EdgeStatus, force: Bool, _ actions: inout [EdgeAction], _ ids: inout RequestIDs
  ) -> Bool {
    var added = false
    let phase = Phase(self)
    for input in inputs.indices {
      let wanted = force ? .complete : desiredStatus(of: input, desired, phase)
      let dependency = inputs[input]
      if dependency.state.status < wanted, !(dependency.requestOpen && dependency.requested == wanted) {
        if let old = dependency.request, dependency.requestOpen { actions.append(.cancel(old)) }
        let id = ids.next()
        actions.append(.requestInput(
          id, input: input,
          EdgeRequest(desired: wanted, current: dependency.state, currentKeys: dependency.state.keys.count)))
        inputRequests[id] = input
        (inputs[input].request, inputs[input].requested, inputs[input].requestOpen) = (id, wanted, true)
        added = true
      }
      if requestContentKey(input, &actions, &ids) { added = true }
    }
    return added
  }

  private mutating func requestContentKey(_ input: Int, _ actions: inout [EdgeAction], _ ids: inout RequestIDs) -> Bool {
    guard let map = cacheMap, inputs[input].contentRequest == nil, let result = inputs[input].state.result,
      computesContent(input) || preprocesses(input)
    else { return false }
    let id = ids.next()
    inputs[input].contentRequest = id
    actions.append(.requestContentKey(id, input: input, map.dependency(input), result.handle()))
    return true
  }

  /// How far an input has to come, for this edge to come to `desired`. Definition keys of all inputs first; then those without a
  /// match; the content of an input only when it can decide.
  private func desiredStatus(of input: Int, _ desired: EdgeStatus, _ phase: Phase) -> EdgeStatus {
    if noCacheMatchPossible { return .complete }
    let dependency = inputs[input]
    let status = dependency.state.status
    let unmatched = dependency.matches.isEmpty
    switch status {
    case .initial:
      return desired > status ? .cacheFast : status
    case .cacheFast:
      guard desired > status, cacheMap != nil, unmatched || !phase.definitions,
        allInputsFast && state.keys.isEmpty || unmatched || phase.allMatch
      else { return status }
      return .cacheSlow
    case .cacheSlow:
      guard cacheMap != nil else { return status }
      let decides = unmatched || !phase.contents || dependency.contentDone || !computesContent(input)
      if desired == .complete {
        let due = unmatched || allInputsSlow || !phase.definitions && computesContent(input)
        return due && records.isEmpty && decides ? .complete : status
      }
      return desired == .cacheSlow && computesContent(input) && decides ? .complete : status
    case .complete:
      return status
    }
  }

  /// Where the edge as a whole stands. An input that matches already waits for those that do not but still may.
  private struct Phase {
    /// Some input without a match may still get one by its definition.
    var definitions: Bool
    /// Some input without a match may still get one by its content.
    var contents: Bool
    var allMatch: Bool

    init(_ edge: EdgeMachine) {
      (definitions, contents, allMatch) = (edge.cacheMap == nil, false, edge.allInputsHaveKeys(matching: true))
      for (input, dependency) in edge.inputs.enumerated() where dependency.matches.isEmpty {
        let status = dependency.state.status
        let contentOpen = edge.computesContent(input) && !dependency.contentDone
        if contentOpen || !edge.computesContent(input) && status < .complete { definitions = true }
        if contentOpen || status < .cacheSlow { contents = true }
      }
    }
  }
}
