internal import BuildInterface
internal import BuildProgress
internal import BuildSolver
internal import OCIModel
internal import Synchronization

/// Watches one build on its way to its client, and keeps what the store's history is to remember of it.
final class BuildRecorder: ProgressSink {
  private struct Seen {
    var isCached = false
    var started: Timestamp?
    var completed: Timestamp?
    var error: String?
  }
  private struct State {
    var vertices: [Digest: Seen] = [:]
    var content: [Digest: [Int: Digest]] = [:]
    var steps: [BuildRecord.Step] = []
  }
  private let state = Mutex(State())
  private let next: any ProgressSink
  private let history: BuildHistory
  private let began = wallClock()

  /// What clients of the daemon read afterwards; nil for a build that leaves nothing behind.
  let draft: RecordDraft?

  init(next: any ProgressSink, history: BuildHistory, draft: RecordDraft? = nil) { (self.next, self.history, self.draft) = (next, history, draft) }

  func emit(_ event: ProgressEvent) {
    next.emit(event)
    draft?.log.append(event)
    guard !event.vertices.isEmpty else { return }
    state.withLock { state in
      for vertex in event.vertices {
        var seen = state.vertices[vertex.digest] ?? Seen()
        if vertex.cached { seen.isCached = true }
        seen.started = vertex.started ?? seen.started
        seen.completed = vertex.completed
        seen.error = vertex.error.isEmpty ? nil : vertex.error
        state.vertices[vertex.digest] = seen
      }
    }
  }

  /// The graph that is built, from the edges of its targets. Vertices that no person wrote (contexts, definitions) are not steps but inputs of steps.
  func graph(_ edges: [Edge]) {
    var steps: [BuildRecord.Step] = []
    var seen = Set<Digest>()
    // Depth first without recursion, inputs before those that read them.
    var stack: [(vertex: Vertex, next: Int)] = []
    for edge in edges where seen.insert(edge.vertex.digest).inserted {
      stack.append((edge.vertex, 0))
      while let (vertex, next) = stack.last {
        if next < vertex.inputs.count {
          stack[stack.count - 1].next += 1
          let input = vertex.inputs[next].vertex
          if seen.insert(input.digest).inserted { stack.append((input, 0)) }
          continue
        }
        stack.removeLast()
        guard let payload = vertex.payload as? OpPayload else { continue }
        steps.append(
          BuildRecord.Step(
            digest: vertex.digest, name: vertex.name, platform: payload.platform.description, isForced: vertex.options.ignoreCache,
            inputs: vertex.inputs.map { .init(step: $0.vertex.digest) }, facts: StepFacts(payload)))
      }
    }
    state.withLock { $0.steps = steps }
  }

  /// The content key by which a step's input was looked up.
  func content(_ key: Digest, of vertex: Digest, input: Int) { state.withLock { $0.content[vertex, default: [:]][input] = key } }

  /// Writes the record. A store that cannot take it (a full disk) does not fail the build for it.
  func finish(_ request: SolveRequest, context: String, outcome: BuildRecord.Outcome, error: String = "") async {
    let steps = state.withLock { state in
      state.steps.map { step in
        var step = step
        let seen = state.vertices[step.digest]
        step.outcome =
          switch seen {
          case nil: .waiting
          case let seen?:
            if let error = seen.error { error.hasSuffix(ProgressVertex.cancelledError) ? .cancelled : .failed } else if seen.isCached { .cached } else if seen.completed != nil {
              .executed
            } else { seen.started == nil ? .waiting : .cancelled }
          }
        if let started = seen?.started, let completed = seen?.completed { step.duration = completed.nanosecondsSinceEpoch - started.nanosecondsSinceEpoch }
        for (i, key) in state.content[step.digest] ?? [:] where i < step.inputs.count { step.inputs[i].content = key }
        return step
      }
    }
    // Nothing was built that could be told about: a Dockerfile that does not parse.
    if steps.isEmpty { return }
    let attributes = request.frontendAttributes
    let record = BuildRecord(
      ref: request.ref, context: context, dockerfile: attributes["filename"] ?? "Dockerfile", target: attributes["target"] ?? "",
      started: began.nanosecondsSinceEpoch, completed: wallClock().nanosecondsSinceEpoch, outcome: outcome, error: error, steps: steps)
    try? await history.save(record)
  }
}
