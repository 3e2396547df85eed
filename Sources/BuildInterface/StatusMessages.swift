package import BuildKitProto
package import BuildProgress
internal import FoundationEssentials
package import OCIModel
package import SwiftProtobuf

// Progress in the form of BuildKit's status stream: what a client of the daemon is sent, and what a build's record keeps.

extension ProgressEvent {
  /// Of what a message's logs hold at most, as with BuildKit; the rest follows in further messages.
  private static let logsPerMessage = 1 << 20

  /// One message, or several where the logs are many.
  package var statusMessages: [Moby_Buildkit_V1_StatusResponse] {
    var out: [Moby_Buildkit_V1_StatusResponse] = []
    var message = Moby_Buildkit_V1_StatusResponse()
    message.vertexes = vertices.map(\.wire)
    message.statuses = statuses.map(\.wire)
    message.warnings = warnings.map(\.wire)
    var size = 0
    for log in logs {
      if size > Self.logsPerMessage {
        out.append(message)
        (message, size) = (Moby_Buildkit_V1_StatusResponse(), 0)
      }
      message.logs.append(log.wire)
      size += log.message.count + 64
    }
    return out + [message]
  }

  /// What cannot be read of a message (a vertex without a digest) is left out.
  package init(_ message: Moby_Buildkit_V1_StatusResponse) {
    self.init(
      vertices: message.vertexes.compactMap(ProgressVertex.init), statuses: message.statuses.compactMap(VertexStatus.init),
      logs: message.logs.compactMap(VertexLog.init), warnings: message.warnings.compactMap(VertexWarning.init))
  }
}

extension Timestamp {
  package var message: Google_Protobuf_Timestamp {
    var out = Google_Protobuf_Timestamp()
    (out.seconds, out.nanos) = (seconds, nanoseconds)
    return out
  }
  package init(_ message: Google_Protobuf_Timestamp) { self.init(seconds: message.seconds, nanoseconds: min(max(message.nanos, 0), 999_999_999)) }
}

extension ProgressVertex {
  fileprivate var wire: Moby_Buildkit_V1_Vertex {
    var out = Moby_Buildkit_V1_Vertex()
    out.digest = digest.description
    out.inputs = inputs.map(\.description)
    (out.name, out.cached, out.error) = (name, cached, error)
    if let started { out.started = started.message }
    if let completed { out.completed = completed.message }
    if let group = progressGroup { (out.progressGroup.id, out.progressGroup.name, out.progressGroup.weak) = (group.id, group.name, group.weak) }
    return out
  }
  fileprivate init?(_ message: Moby_Buildkit_V1_Vertex) {
    guard let digest = Digest(message.digest) else { return nil }
    self.init(
      digest: digest, inputs: message.inputs.compactMap { Digest($0) }, name: message.name, started: message.hasStarted ? Timestamp(message.started) : nil,
      completed: message.hasCompleted ? Timestamp(message.completed) : nil, cached: message.cached, error: message.error,
      progressGroup: message.hasProgressGroup
        ? ProgressGroup(id: message.progressGroup.id, name: message.progressGroup.name, weak: message.progressGroup.weak) : nil)
  }
}

extension VertexStatus {
  fileprivate var wire: Moby_Buildkit_V1_VertexStatus {
    var out = Moby_Buildkit_V1_VertexStatus()
    (out.id, out.vertex, out.name, out.current, out.total) = (id, vertex.description, name, current, total)
    out.timestamp = timestamp.message
    if let started { out.started = started.message }
    if let completed { out.completed = completed.message }
    return out
  }
  fileprivate init?(_ message: Moby_Buildkit_V1_VertexStatus) {
    guard let vertex = Digest(message.vertex) else { return nil }
    self.init(
      id: message.id, vertex: vertex, name: message.name, total: message.total, current: message.current, timestamp: Timestamp(message.timestamp),
      started: message.hasStarted ? Timestamp(message.started) : nil, completed: message.hasCompleted ? Timestamp(message.completed) : nil)
  }
}

extension VertexLog {
  fileprivate var wire: Moby_Buildkit_V1_VertexLog {
    var out = Moby_Buildkit_V1_VertexLog()
    (out.vertex, out.stream, out.timestamp, out.msg) = (vertex.description, Int64(stream), timestamp.message, Data(message))
    return out
  }
  fileprivate init?(_ message: Moby_Buildkit_V1_VertexLog) {
    guard let vertex = Digest(message.vertex) else { return nil }
    self.init(vertex: vertex, timestamp: Timestamp(message.timestamp), stream: Int(clamping: message.stream), message: [UInt8](message.msg))
  }
}

extension VertexWarning {
  fileprivate var wire: Moby_Buildkit_V1_VertexWarning {
    var out = Moby_Buildkit_V1_VertexWarning()
    (out.vertex, out.level, out.url) = (vertex.description, Int64(level), url)
    out.short = Data(short)
    out.detail = detail.map { Data($0) }
    if let source = sourceInfo {
      (out.info.filename, out.info.data, out.info.language) = (source.filename, Data(source.data), source.language)
      if !source.definition.isEmpty, let definition = try? Pb_Definition(serializedBytes: source.definition) { out.info.definition = definition }
    }
    out.ranges = ranges.map { range in
      var out = Pb_Range()
      (out.start.line, out.start.character) = (Int32(clamping: range.start.line), Int32(clamping: range.start.character))
      (out.end.line, out.end.character) = (Int32(clamping: range.end.line), Int32(clamping: range.end.character))
      return out
    }
    return out
  }
  fileprivate init?(_ message: Moby_Buildkit_V1_VertexWarning) {
    guard let vertex = Digest(message.vertex) else { return nil }
    var source: WarningSource?
    if message.hasInfo {
      let definition: [UInt8]? = message.info.hasDefinition ? try? message.info.definition.serializedBytes() : nil
      source = WarningSource(filename: message.info.filename, data: [UInt8](message.info.data), language: message.info.language, definition: definition ?? [])
    }
    self.init(
      vertex: vertex, level: Int(clamping: message.level), short: [UInt8](message.short), detail: message.detail.map { [UInt8]($0) }, url: message.url,
      sourceInfo: source,
      ranges: message.ranges.map { range in
        WarningRange(
          start: .init(line: Int(range.start.line), character: Int(range.start.character)), end: .init(line: Int(range.end.line), character: Int(range.end.character)))
      })
  }
}
