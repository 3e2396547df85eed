internal import BuildInterface
internal import BuildKitProto
internal import OCIModel

/// A build as a trace of OpenTelemetry: one span for the whole, and one beneath it for each vertex that did something. In the form that BuildKit keeps in records: Go's JSON of
/// span stubs, one after the other.
struct BuildTrace {
  static let mediaType = "application/vnd.buildkit.otlp.json.v0"

  struct Span {
    var name: String
    var started: Timestamp
    var completed: Timestamp
    var error = ""
    var attributes: [(String, String)] = []
  }
  private let id: String
  private let root: Span
  private let spans: [Span]

  init(_ record: BuildRecords.Record, _ steps: [StatusLog.Step]) {
    id = Digest.sha256(of: "trace of \(record.ref)").hex
    root = Span(
      name: "moby.buildkit.v1.Control/Solve", started: Timestamp(record.createdAt), completed: Timestamp(record.completedAt), error: record.error.message,
      attributes: [("ref", record.ref), ("frontend", record.frontend)])
    spans = steps.compactMap { step in
      guard let started = step.started, let completed = step.completed else { return nil }
      return Span(name: step.name, started: started, completed: completed, error: step.error, attributes: [("vertex", step.digest.description), ("cached", "\(step.isCached)")])
    }.sorted { ($0.started, $0.name) < ($1.started, $1.name) }
  }

  var encoded: [UInt8] {
    let ids = (0...spans.count).map { String(Digest.sha256(of: "\(id) \($0)").hex.prefix(16)) }
    return stub(root, ids[0], parent: nil, children: spans.count) + spans.enumerated().flatMap { stub($1, ids[$0 + 1], parent: ids[0], children: 0) }
  }

  private func context(_ span: String?) -> JSONValue {
    let none = String(repeating: "0", count: 32)
    return [
      "TraceID": .string(span == nil ? none : String(id.prefix(32))), "SpanID": .string(span ?? String(none.prefix(16))), "TraceFlags": .string(span == nil ? "00" : "01"), "TraceState": "",
      "Remote": false,
    ]
  }

  private func attributes(_ list: [(String, String)]) -> JSONValue {
    .array(list.map { ["Key": .string($0.0), "Value": ["Type": "STRING", "Value": .string($0.1)]] })
  }

  private func stub(_ span: Span, _ id: String, parent: String?, children: Int) -> [UInt8] {
    let stub: JSONValue = [
      "Name": .string(span.name), "SpanContext": context(id), "Parent": context(parent), "SpanKind": 1, "StartTime": .string(span.started.description),
      "EndTime": .string(max(span.completed, span.started).description), "Attributes": attributes(span.attributes), "Events": .null, "Links": .null,
      "Status": ["Code": .string(span.error.isEmpty ? "Unset" : "Error"), "Description": .string(span.error)], "DroppedAttributes": 0, "DroppedEvents": 0, "DroppedLinks": 0,
      "ChildSpanCount": .int(children), "Resource": attributes([("service.name", "manifold")]),
      "InstrumentationLibrary": ["Name": "manifold", "Version": "", "SchemaURL": "", "Attributes": .null],
    ]
    return stub.encoded(.indented("  ")) + [0x0a]
  }
}
