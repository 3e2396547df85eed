package import OCIModel

// The values of BuildKit's status stream (api/services/control, client/graph.go), field for field: what the engine
// tells a door, what the daemon puts on the wire and what a renderer draws.

/// One vertex as known at one moment. Sent again, whole, whenever something about it changes.
package struct ProgressVertex: Sendable, Hashable {
  package var digest: Digest
  package var inputs: [Digest]
  package var name: String
  /// When it (last) began; nil while it waits.
  package var started: Timestamp?
  /// When it ended, whether well or with `error`.
  package var completed: Timestamp?
  package var cached: Bool
  /// Empty when there is none. An error that ends in "context canceled" says that the step was cancelled, as for the peers.
  package var error: String
  package var progressGroup: ProgressGroup?

  package init(
    digest: Digest, inputs: [Digest] = [], name: String, started: Timestamp? = nil, completed: Timestamp? = nil,
    cached: Bool = false, error: String = "", progressGroup: ProgressGroup? = nil
  ) {
    (self.digest, self.inputs, self.name) = (digest, inputs, name)
    (self.started, self.completed, self.cached) = (started, completed, cached)
    (self.error, self.progressGroup) = (error, progressGroup)
  }

  /// What the peers end the error of a cancelled step with, and so how all of them tell it from a failure.
  package static let cancelledError = "context canceled"
  package var isCancelled: Bool { error.hasSuffix(Self.cancelledError) }
}

/// Several vertices shown as one.
package struct ProgressGroup: Sendable, Hashable {
  package var id: String
  package var name: String
  /// A group whose started members are all weak is not shown.
  package var weak: Bool

  package init(id: String, name: String, weak: Bool = false) {
    (self.id, self.name, self.weak) = (id, name, weak)
  }
}

/// A part of a vertex's work with a measure: a layer downloaded, a file sent, an extraction.
package struct VertexStatus: Sendable, Hashable {
  package var id: String
  package var vertex: Digest
  package var name: String
  /// In bytes as a rule; 0 when not known.
  package var total: Int64
  package var current: Int64
  package var timestamp: Timestamp
  package var started: Timestamp?
  package var completed: Timestamp?

  package init(
    id: String, vertex: Digest, name: String = "", total: Int64 = 0, current: Int64 = 0, timestamp: Timestamp,
    started: Timestamp? = nil, completed: Timestamp? = nil
  ) {
    (self.id, self.vertex, self.name, self.total, self.current) = (id, vertex, name, total, current)
    (self.timestamp, self.started, self.completed) = (timestamp, started, completed)
  }
}

/// Bytes a step wrote. Not a line: a line may come in several, and one may hold several.
package struct VertexLog: Sendable, Hashable {
  package var vertex: Digest
  package var timestamp: Timestamp
  /// 1 standard output, 2 standard error.
  package var stream: Int
  package var message: [UInt8]

  package init(vertex: Digest, timestamp: Timestamp, stream: Int, message: [UInt8]) {
    (self.vertex, self.timestamp, self.stream, self.message) = (vertex, timestamp, stream, message)
  }
}

/// What a frontend or the solver thinks the author should know.
package struct VertexWarning: Sendable, Hashable {
  package var vertex: Digest
  package var level: Int
  package var short: [UInt8]
  package var detail: [[UInt8]]
  package var url: String
  package var sourceInfo: WarningSource?
  package var ranges: [WarningRange]

  package init(
    vertex: Digest, level: Int = 1, short: [UInt8], detail: [[UInt8]] = [], url: String = "",
    sourceInfo: WarningSource? = nil, ranges: [WarningRange] = []
  ) {
    (self.vertex, self.level, self.short, self.detail) = (vertex, level, short, detail)
    (self.url, self.sourceInfo, self.ranges) = (url, sourceInfo, ranges)
  }

  package init(
    vertex: Digest, level: Int = 1, short: String, detail: [String] = [], url: String = "",
    sourceInfo: WarningSource? = nil, ranges: [WarningRange] = []
  ) {
    self.init(
      vertex: vertex, level: level, short: Array(short.utf8), detail: detail.map { Array($0.utf8) }, url: url,
      sourceInfo: sourceInfo, ranges: ranges)
  }
}

/// The file a warning is about (pb.SourceInfo).
package struct WarningSource: Sendable, Hashable {
  package var filename: String
  package var data: [UInt8]
  package var language: String
  /// The encoded pb.Definition the source was read by; empty when there is none.
  package var definition: [UInt8]

  package init(filename: String, data: [UInt8], language: String = "", definition: [UInt8] = []) {
    (self.filename, self.data, self.language, self.definition) = (filename, data, language, definition)
  }
}

/// Where in its source (pb.Range): lines count from 1.
package struct WarningRange: Sendable, Hashable {
  package struct Position: Sendable, Hashable {
    package var line: Int
    package var character: Int
    package init(line: Int, character: Int = 0) { (self.line, self.character) = (line, character) }
  }
  package var start: Position
  package var end: Position
  package init(start: Position, end: Position) { (self.start, self.end) = (start, end) }
}

/// One message of the stream (SolveStatus).
package struct ProgressEvent: Sendable, Hashable {
  package var vertices: [ProgressVertex]
  package var statuses: [VertexStatus]
  package var logs: [VertexLog]
  package var warnings: [VertexWarning]

  package init(
    vertices: [ProgressVertex] = [], statuses: [VertexStatus] = [], logs: [VertexLog] = [], warnings: [VertexWarning] = []
  ) {
    (self.vertices, self.statuses, self.logs, self.warnings) = (vertices, statuses, logs, warnings)
  }

  package var isEmpty: Bool { vertices.isEmpty && statuses.isEmpty && logs.isEmpty && warnings.isEmpty }
}
