package import BuildInterface
package import BuildKitProto
internal import BuildProgress
internal import OCIModel
internal import Synchronization
internal import SwiftProtobuf

/// All that a build said, in the form BuildKit keeps it (`application/vnd.buildkit.status.v0`): status messages, each behind its length in four bytes, least first.
final class StatusLog: Sendable {
  static let mediaType = "application/vnd.buildkit.status.v0"
  /// What one step's output takes at most, as with BuildKit.
  static let stepLimit = 2 << 20
  /// All of it, so that a build's memory and its record have an end. Vertices and warnings are kept beyond it.
  static let limit = 16 << 20

  struct Figures: Equatable {
    var cached = 0, completed = 0, total = 0, warnings = 0
  }

  /// A vertex as far as the figures and the trace go.
  struct Step {
    var digest: Digest
    var name = ""
    var isCached = false
    var started: Timestamp?
    var completed: Timestamp?
    var error = ""
  }

  private struct State {
    var pending = ProgressEvent()
    /// Where the last word on a part of a vertex's work is in `pending`.
    var places: [String: Int] = [:]
    var pendingBytes = 0
    var encoded: [UInt8] = []
    var output: [Digest: Int] = [:]
    var steps: [Digest: Step] = [:]
    var warnings = 0
  }
  private let state = Mutex(State())

  func append(_ event: ProgressEvent) {
    state.withLock { state in
      for vertex in event.vertices {
        var step = state.steps[vertex.digest] ?? Step(digest: vertex.digest)
        (step.name, step.error) = (vertex.name, vertex.error)
        if vertex.cached { step.isCached = true }
        step.started = step.started ?? vertex.started
        step.completed = vertex.completed ?? step.completed
        state.steps[vertex.digest] = step
        state.pending.vertices.append(vertex)
      }
      for status in event.statuses { Self.append(status, &state) }
      for log in event.logs { Self.append(log, &state) }
      state.warnings += event.warnings.count
      state.pending.warnings += event.warnings
      if state.pendingBytes > 64 << 10 || state.pending.vertices.count + state.pending.statuses.count + state.pending.warnings.count > 128 { Self.flush(&state) }
    }
  }

  /// Of a measure that grows only the last word is kept.
  private static func append(_ status: VertexStatus, _ state: inout State) {
    if state.encoded.count > limit { return }
    let key = "\(status.vertex) \(status.id)"
    if let place = state.places[key], state.pending.statuses[place].completed == nil {
      state.pending.statuses[place] = status
    } else {
      state.places[key] = state.pending.statuses.count
      state.pending.statuses.append(status)
    }
  }

  private static func append(_ log: VertexLog, _ state: inout State) {
    let seen = state.output[log.vertex] ?? 0
    if seen > stepLimit || state.encoded.count > limit { return }
    state.output[log.vertex] = seen + log.message.count
    var log = log
    if seen + log.message.count > stepLimit || state.encoded.count + state.pendingBytes + log.message.count > limit {
      log.message = Array(log.message.prefix(max(0, stepLimit - seen))) + Array("\n[output clipped, log limit 2MiB reached]\n".utf8)
      state.output[log.vertex] = stepLimit + 1
    }
    state.pendingBytes += log.message.count
    state.pending.logs.append(log)
  }

  private static func flush(_ state: inout State) {
    if state.pending.isEmpty { return }
    for message in state.pending.statusMessages {
      guard let bytes: [UInt8] = try? message.serializedBytes() else { continue }
      withUnsafeBytes(of: UInt32(bytes.count).littleEndian) { state.encoded += $0 }
      state.encoded += bytes
    }
    (state.pending, state.pendingBytes) = (ProgressEvent(), 0)
    state.places.removeAll(keepingCapacity: true)
  }

  var figures: Figures {
    state.withLock { state in
      Figures(
        cached: state.steps.values.count { $0.isCached }, completed: state.steps.values.count { $0.completed != nil }, total: state.steps.count, warnings: state.warnings)
    }
  }

  var steps: [Step] { state.withLock { Array($0.steps.values) } }

  /// What was said so far.
  var bytes: [UInt8] {
    state.withLock { state in
      Self.flush(&state)
      return state.encoded
    }
  }

  /// The messages of a log, until it ends; what is cut short of one is left out.
  static func messages(_ bytes: [UInt8]) throws -> [Moby_Buildkit_V1_StatusResponse] {
    var out: [Moby_Buildkit_V1_StatusResponse] = [], rest = bytes[...]
    while rest.count >= 4 {
      let size = rest.prefix(4).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
      rest = rest.dropFirst(4)
      guard rest.count >= size else { break }
      out.append(try Moby_Buildkit_V1_StatusResponse(serializedBytes: Array(rest.prefix(size))))
      rest = rest.dropFirst(size)
    }
    return out
  }
}
