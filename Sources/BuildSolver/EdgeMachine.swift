import OCIModel

/// One output of one active vertex, on its way from nothing to a result: a pure state machine after BuildKit's `edge`.
///
/// A turn has three steps. `absorb` takes what happened and may have questions for the cache; `learn` takes the answers, the
/// second time the records of the keys that matched; `decide` answers who waits and says what is needed next.
/// Nothing here waits, locks or reads a clock.
struct EdgeMachine: Sendable {
  let vertex: Vertex
  let index: Int
  let ignoreCache: Bool
  var inputs: [Dependency]

  private(set) var state = EdgeState()
  private(set) var error: (any Error)?
  /// Set when what the edge could be merged by changed; the scheduler looks, and resets it.
  var keysDidChange = false
  let secondary = SecondaryKeys()

  var cacheMap: CacheMap?
  var cacheMapDone = false
  var cacheMapDigests: [CacheDigest] = []
  var cacheMapRequest: RequestID?
  var executeRequest: RequestID?
  /// The record being loaded, when it is no execution.
  var loading: CacheRecord?
  var records: [String: CacheRecord] = [:]
  /// Tried and not to be tried again.
  private var triedRecords: Set<String> = []
  /// Keys that all inputs lead to, already taken up.
  private var matched: Set<String> = []
  /// Which input a request asks for.
  var inputRequests: [RequestID: Int] = [:]

  var noCacheMatchPossible = false
  private(set) var allInputsFast = false
  private(set) var allInputsSlow = false
  private(set) var allInputsComplete = false

  /// Of the turn under way.
  private var turn = Turn()
  private struct Turn: Sendable {
    var changed = false
    var questions: [CacheQuestion] = []
    var touched: Set<Int> = []
    /// Keys whose records were asked for.
    var candidates: [CacheKey] = []
  }

  /// What the edge knows of one input.
  struct Dependency: Sendable {
    var state = EdgeState()
    var request: RequestID?
    /// What was asked for with `request`.
    var requested = EdgeStatus.initial
    var requestOpen = false
    /// The keys of this edge that the input's keys lead to, by id.
    var matches: [String: CacheKey] = [:]
    var contentRequest: RequestID?
    var contentDone = false
    var contentFoundKey = false
    var contentKey: CacheKey?
  }

  init(vertex: Vertex, index: Int) {
    (self.vertex, self.index, ignoreCache) = (vertex, index, vertex.options.ignoreCache)
    inputs = Array(repeating: Dependency(), count: vertex.inputs.count)
  }

  /// Final: error or result.
  var isComplete: Bool { error != nil || state.result != nil }
  mutating func fail(_ error: any Error) { if self.error == nil { self.error = error } }

  func computesContent(_ input: Int) -> Bool { cacheMap?.dependency(input).computeDigest != nil }
  func preprocesses(_ input: Int) -> Bool { cacheMap?.dependency(input).preprocess != nil }
  func selected(_ input: Int, _ keys: some Sequence<ExportableCacheKey>) -> [CacheKeyWithSelector] {
    let selector = cacheMap?.dependency(input).selector
    return keys.map { CacheKeyWithSelector($0, selector: selector) }
  }

  // MARK: step 1, what happened

  mutating func absorb(_ updates: [RequestUpdate]) -> [CacheQuestion] {
    turn = Turn()
    for update in updates {
      if let input = inputRequests[update.id] {
        absorb(input: input, update)
      } else if update.status.completed {
        if update.id == cacheMapRequest {
          absorbCacheMap(update.status)
        } else if update.id == executeRequest {
          absorbResult(update.status)
        } else if let input = inputs.firstIndex(where: { $0.contentRequest == update.id }) {
          absorbContentKey(input, update.status)
        } else {
          continue
        }
        turn.changed = true
      }
    }
    return turn.questions
  }

  private mutating func absorbCacheMap(_ status: RequestStatus) {
    cacheMapRequest = nil
    guard status.error == nil, case .cacheMap(let answer) = status.value else {
      if let error = status.error, !status.cancelled { fail(error) }
      return
    }
    cacheMap = answer.map
    cacheMapDone = answer.done
    state.cacheMaps += 1
    if inputs.isEmpty {
      cacheMapDigests.append(answer.map.digest)
      if !ignoreCache { turn.questions.append(CacheQuestion(purpose: .root, digest: answer.map.digest, output: index)) }
      state.status = .cacheSlow
    }
    if allInputsHaveKeys(matching: false) { keysDidChange = true }
    for input in inputs.indices {
      probe(input, selected(input, inputs[input].state.keys))
      turn.touched.insert(input)
    }
  }

  private mutating func absorbResult(_ status: RequestStatus) {
    let wasLoading = loading
    (executeRequest, loading) = (nil, nil)
    guard status.error == nil, case .result(let result) = status.value else {
      if let record = wasLoading {
        // Cancelled is not failed: the record may be asked for again.
        if !status.cancelled {
          triedRecords.insert(record.id)
          records[record.id] = nil
        }
      } else if let error = status.error, !status.cancelled {
        fail(error)
      }
      return
    }
    state.result = result
    state.status = .complete
    // Who asks only now that the edge is complete finds its keys here too. Not after a forced execution: what reads it must
    // not match old records through it. After loading the key is there already.
    if wasLoading == nil, !ignoreCache { state.keys += result.cacheKeys }
  }

  private mutating func absorb(input: Int, _ update: RequestUpdate) {
    // An earlier request for this input, taken back since.
    guard inputs[input].request == update.id else {
      if update.status.completed { inputRequests[update.id] = nil }
      return
    }
    let status = update.status
    if status.completed {
      inputs[input].requestOpen = false
      inputRequests[update.id] = nil
      if let error = status.error, !status.cancelled { fail(error) }
    }
    guard case .edge(let new) = status.value else { return }
    let old = inputs[input].state
    // By identity, not by count: after a merge another edge answers, with keys of its own.
    let fresh = new.keys.indices.filter { $0 >= old.keys.count || new.keys[$0].key !== old.keys[$0].key }.map { new.keys[$0] }
    if !fresh.isEmpty {
      probe(input, selected(input, fresh))
      turn.touched.insert(input)
      turn.changed = true
    }
    if old.status != .complete, new.status == .complete { keysDidChange = true }
    inputs[input].state = new
    if cacheMap != nil, !fresh.isEmpty, allInputsHaveKeys(matching: false) { keysDidChange = true }
    if new.status != old.status, cacheMap != nil {
      turn.touched.insert(input)
      turn.changed = true
    }
  }

  private mutating func absorbContentKey(_ input: Int, _ status: RequestStatus) {
    guard status.error == nil, case .contentKey(let digest) = status.value else {
      inputs[input].contentRequest = nil
      if let error = status.error, !status.cancelled { fail(error) }
      return
    }
    guard !inputs[input].contentDone else { return }
    if let digest, computesContent(input) {
      let key = CacheKey(digest: CacheDigest(digest), output: -1)
      inputs[input].contentKey = key
      let byContent = CacheKeyWithSelector(key)
      ask(input, .probe(content: true), [byContent])
      // What is found by the definition's keys from now on is what has this content.
      let byDefinition = selected(input, inputs[input].state.result?.cacheKeys ?? [])
      ask(input, .connect, byDefinition + [byContent])
    }
    inputs[input].contentDone = true
    keysDidChange = true
    turn.touched.insert(input)
  }

  private mutating func probe(_ input: Int, _ keys: [CacheKeyWithSelector]) {
    if !keys.isEmpty { ask(input, .probe(content: false), keys) }
  }
  private mutating func ask(_ input: Int, _ purpose: CacheQuestion.Purpose, _ keys: [CacheKeyWithSelector]) {
    guard let cacheMap else { return }
    if case .probe = purpose, ignoreCache { return }
    turn.questions.append(CacheQuestion(purpose: purpose, keys: keys, input: input, digest: cacheMap.digest, output: index))
  }

  // MARK: step 2, what the cache knows

  /// Answers the questions, in their order. Returns the keys whose records are wanted.
  mutating func learn(_ answers: [[CacheKey]]) -> [CacheKey] {
    for (question, keys) in zip(turn.questions, answers) {
      switch question.purpose {
      case .root: turn.candidates += keys.map { $0.with(vertex: vertex.digest) }
      case .connect: break
      case .probe(let content):
        let input = question.input
        var found = false
        for key in keys where inputs[input].matches[key.id] == nil {
          inputs[input].matches[key.id] = key.with(vertex: vertex.digest)
          found = true
        }
        if content { inputs[input].contentFoundKey = found }
      }
    }
    for input in turn.touched { checkMatchPossible(input) }
    if turn.changed { turn.candidates += newMatches() }
    return turn.candidates
  }

  /// The records of the keys that `learn` returned, in their order; nil for a key whose records could not be read.
  mutating func learn(records answers: [[CacheRecord]?]) {
    for (key, found) in zip(turn.candidates, answers) {
      guard let found else { continue }
      for record in found where !triedRecords.contains(record.id) { records[record.id] = record }
      state.keys.append(ExportableCacheKey(
        key, export: CacheExport(records: found, exported: vertex.options.exportCache, secondary: secondary)))
    }
    if turn.changed { recalculate() }
    turn = Turn()
  }

  /// Whether no result can be found by this input's keys any more.
  private mutating func checkMatchPossible(_ input: Int) {
    let dependency = inputs[input]
    guard !noCacheMatchPossible, cacheMap != nil, dependency.matches.isEmpty else { return }
    noCacheMatchPossible = computesContent(input)
      ? dependency.contentDone && !dependency.contentFoundKey : dependency.state.status >= .cacheSlow
  }

  /// Keys that all inputs lead to, and that were not there before.
  private mutating func newMatches() -> [CacheKey] {
    guard let first = inputs.first, cacheMap != nil else { return [] }
    let new = first.matches.keys.filter { id in !matched.contains(id) && inputs.dropFirst().allSatisfy { $0.matches[id] != nil } }
    guard !new.isEmpty else { return [] }
    matched.formUnion(new)
    let dependencies = inputs.indices.map { keysSoFar($0) }
    return new.sorted().compactMap { first.matches[$0]?.with(vertex: vertex.digest, dependencies: dependencies) }
  }

  /// All keys an input is known by.
  private func keysSoFar(_ input: Int) -> [CacheKeyWithSelector] {
    let dependency = inputs[input]
    guard let result = dependency.state.result else { return selected(input, dependency.state.keys) }
    return selected(input, result.cacheKeys) + (dependency.contentKey.map { [CacheKeyWithSelector($0)] } ?? [])
  }

  /// Where the edge stands now, from where its inputs stand.
  private mutating func recalculate() {
    guard cacheMap != nil else { return }
    var fast = true, slow = true, noneOpen = true, complete = true
    var low = EdgeStatus.initial, high = EdgeStatus.cacheSlow
    for input in inputs.indices {
      let dependency = inputs[input]
      let status = dependency.state.status
      let unfinished = status == .cacheSlow || status == .complete && !dependency.contentDone
      let contentMissing = computesContent(input) && unfinished
      let workMissing = (computesContent(input) || preprocesses(input)) && unfinished
      if status > low, dependency.matches.isEmpty, !workMissing { low = min(status, .cacheSlow) }
      high = min(high, contentMissing ? .cacheFast : status)
      if workMissing || status < .complete { complete = false }
      if status < .cacheFast { fast = false }
      if contentMissing || status < .cacheSlow { slow = false }
      if status < .cacheSlow, dependency.matches.isEmpty { noneOpen = false }
    }
    state.status = max(state.status, low, high)
    if !cacheMapDone, state.keys.isEmpty { state.status = .initial }
    allInputsFast = cacheMapDone && fast
    allInputsSlow = cacheMapDone && slow
    allInputsComplete = cacheMapDone && complete
    if cacheMapDone, noneOpen, !records.isEmpty, state.status == .cacheFast, !moreMatchesPossible() { state.status = .cacheSlow }
  }

  /// Whether the inputs that are done share keys that did not match yet.
  private func moreMatchesPossible() -> Bool {
    var open: Set<String> = []
    for input in inputs.indices {
      let dependency = inputs[input]
      let status = dependency.state.status
      if computesContent(input), status == .cacheSlow || status == .complete && !dependency.contentDone { continue }
      let own = Set(dependency.matches.keys.filter { !matched.contains($0) })
      open = open.isEmpty ? own : open.intersection(own)
      if open.isEmpty { return false }
    }
    return true
  }

  // MARK: keys

  func allInputsHaveKeys(matching: Bool) -> Bool {
    cacheMap != nil && inputs.allSatisfy {
      !(matching ? $0.matches.isEmpty : $0.state.keys.isEmpty) || $0.contentKey != nil || $0.state.result != nil
    }
  }

  /// The key by which an equal edge is found; nil while an input has none.
  func indexKey() -> CacheKey? {
    guard let cacheMap else { return nil }
    var dependencies: [[CacheKeyWithSelector]] = []
    for input in inputs.indices {
      let dependency = inputs[input]
      if dependency.state.keys.isEmpty, dependency.state.result == nil { return nil }
      var keys = selected(input, dependency.state.keys)
      if let result = dependency.state.result {
        keys += selected(input, result.cacheKeys)
        if let key = dependency.contentKey { keys.append(CacheKeyWithSelector(key)) }
      }
      dependencies.append(keys)
    }
    return CacheKey(digest: cacheMap.digest, vertex: vertex.digest, output: index, dependencies: dependencies)
  }

  /// The keys a result computed now is saved by.
  func commitKeys() -> [CacheKey] {
    guard let cacheMap, !inputs.isEmpty else {
      return cacheMapDigests.map { CacheKey(digest: $0, vertex: vertex.digest, output: index) }
    }
    return [CacheKey(
      digest: cacheMap.digest, vertex: vertex.digest, output: index, dependencies: inputs.indices.map { keysSoFar($0) })]
  }

  /// This edge was merged away: by what its inputs were known.
  func inputKeys() -> [(input: Int, key: CacheKeyWithSelector)] {
    inputs.indices.flatMap { input in
      let dependency = inputs[input]
      return (selected(input, dependency.state.keys) + (dependency.contentKey.map { [CacheKeyWithSelector($0)] } ?? [])
        + selected(input, dependency.state.result?.cacheKeys ?? [])).map { (input, $0) }
    }
  }
}
