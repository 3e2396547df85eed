package import BuildKitProto
internal import FoundationEssentials
package import BuildProgress
internal import OCIModel
internal import SwiftProtobuf

/// The status stream's values on the wire.
package enum StatusMessages {
  /// One message, or several where what steps wrote is long: a client takes 16 MiB at once.
  package static func responses(_ event: ProgressEvent) -> [Moby_Buildkit_V1_StatusResponse] {
    var out: [Moby_Buildkit_V1_StatusResponse] = []
    var message = Moby_Buildkit_V1_StatusResponse()
    message.vertexes = event.vertices.map(vertex)
    message.statuses = event.statuses.map(status)
    message.warnings = event.warnings.map(warning)
    var size = 0
    for log in event.logs {
      if size > 0, size + log.message.count > 1 << 20 {
        out.append(message)
        message = .init()
        size = 0
      }
      size += log.message.count
      message.logs.append(self.log(log))
    }
    out.append(message)
    return out
  }

  package static func vertex(_ vertex: ProgressVertex) -> Moby_Buildkit_V1_Vertex {
    var out = Moby_Buildkit_V1_Vertex()
    out.digest = "\(vertex.digest)"
    out.inputs = vertex.inputs.map { "\($0)" }
    out.name = vertex.name
    out.cached = vertex.cached
    if let started = vertex.started { out.started = time(started) }
    if let completed = vertex.completed { out.completed = time(completed) }
    out.error = vertex.error
    if let group = vertex.progressGroup {
      out.progressGroup.id = group.id
      out.progressGroup.name = group.name
      out.progressGroup.weak = group.weak
    }
    return out
  }

  package static func status(_ status: VertexStatus) -> Moby_Buildkit_V1_VertexStatus {
    var out = Moby_Buildkit_V1_VertexStatus()
    out.id = status.id
    out.vertex = "\(status.vertex)"
    out.name = status.name
    out.current = status.current
    out.total = status.total
    out.timestamp = time(status.timestamp)
    if let started = status.started { out.started = time(started) }
    if let completed = status.completed { out.completed = time(completed) }
    return out
  }

  package static func log(_ log: VertexLog) -> Moby_Buildkit_V1_VertexLog {
    var out = Moby_Buildkit_V1_VertexLog()
    out.vertex = "\(log.vertex)"
    out.timestamp = time(log.timestamp)
    out.stream = Int64(log.stream)
    out.msg = .init(log.message)
    return out
  }

  package static func warning(_ warning: VertexWarning) -> Moby_Buildkit_V1_VertexWarning {
    var out = Moby_Buildkit_V1_VertexWarning()
    out.vertex = "\(warning.vertex)"
    out.level = Int64(warning.level)
    out.short = .init(warning.short)
    out.detail = warning.detail.map { .init($0) }
    out.url = warning.url
    if let source = warning.sourceInfo {
      out.info.filename = source.filename
      out.info.data = .init(source.data)
      out.info.language = source.language
      if !source.definition.isEmpty, let definition = try? Pb_Definition(serializedBytes: source.definition) { out.info.definition = definition }
    }
    out.ranges = warning.ranges.map { range in
      var one = Pb_Range()
      one.start.line = Int32(clamping: range.start.line)
      one.start.character = Int32(clamping: range.start.character)
      one.end.line = Int32(clamping: range.end.line)
      one.end.character = Int32(clamping: range.end.character)
      return one
    }
    return out
  }

  static func time(_ time: Timestamp) -> Google_Protobuf_Timestamp {
    var out = Google_Protobuf_Timestamp()
    out.seconds = time.seconds
    out.nanos = time.nanoseconds
    return out
  }
}
