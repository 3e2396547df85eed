package import OCIModel

/// One line of JSON an event: Go's form of the client's SolveStatus, which `--progress=rawjson` of the peers prints.
package struct RawJSONRenderer: ProgressRenderer {
  private var pending: [UInt8] = []
  package init() {}
  package var isImmediate: Bool { true }

  package mutating func fold(_ event: ProgressEvent, now: Timestamp) { pending += Self.line(event) }
  package mutating func render(now: Timestamp, window: WindowSize) -> [UInt8] {
    defer { pending = [] }
    return pending
  }
  package mutating func finish(now: Timestamp, window: WindowSize) -> [UInt8] { render(now: now, window: window) }
  /// The stream holds status values only.
  package mutating func message(_ text: String, now: Timestamp, window: WindowSize) -> [UInt8] { [] }

  package static func line(_ event: ProgressEvent) -> [UInt8] { event.json.encoded() + [0x0a] }
}

extension ProgressEvent {
  /// Go's JSON of the event. The definition a warning's source came with is left out: it is for machines that asked for LLB.
  package var json: JSONValue {
    var object = JSONObject()
    object.put("vertexes", vertices.map(\.json))
    object.put("statuses", statuses.map(\.json))
    object.put("logs", logs.map(\.json))
    object.put("warnings", warnings.map(\.json))
    return .object(object)
  }
}

extension JSONObject {
  // Go's `omitempty`.
  fileprivate mutating func put(_ key: String, _ list: [JSONValue]) { if !list.isEmpty { self[key] = .array(list) } }
  fileprivate mutating func put(_ key: String, _ text: String) { if !text.isEmpty { self[key] = .string(text) } }
  fileprivate mutating func put(_ key: String, _ number: some BinaryInteger) { if number != 0 { self[key] = .int(number) } }
  fileprivate mutating func put(_ key: String, _ flag: Bool) { if flag { self[key] = true } }
  fileprivate mutating func put(_ key: String, _ time: Timestamp?) { if let time { self[key] = .string(time.description) } }
  fileprivate mutating func put(_ key: String, base64 bytes: [UInt8]) { if !bytes.isEmpty { self[key] = .string(base64(bytes)) } }
}

extension ProgressVertex {
  fileprivate var json: JSONValue {
    var object = JSONObject()
    object["digest"] = .string(digest.description)
    object.put("inputs", inputs.map { .string($0.description) })
    object.put("name", name)
    object.put("started", started)
    object.put("completed", completed)
    object.put("cached", cached)
    object.put("error", error)
    if let group = progressGroup {
      var inner = JSONObject()
      inner.put("id", group.id)
      inner.put("name", group.name)
      inner.put("weak", group.weak)
      object["progressGroup"] = .object(inner)
    }
    return .object(object)
  }
}

extension VertexStatus {
  fileprivate var json: JSONValue {
    var object = JSONObject()
    object["id"] = .string(id)
    object["vertex"] = .string(vertex.description)
    object.put("name", name)
    object.put("total", total)
    object["current"] = .int(current)
    object["timestamp"] = .string(timestamp.description)
    object.put("started", started)
    object.put("completed", completed)
    return .object(object)
  }
}

extension VertexLog {
  fileprivate var json: JSONValue {
    var object = JSONObject()
    object["vertex"] = .string(vertex.description)
    object.put("stream", stream)
    object["data"] = .string(base64(message))
    object["timestamp"] = .string(timestamp.description)
    return .object(object)
  }
}

extension VertexWarning {
  /// As BuildKit's client writes it.
  package var json: JSONValue {
    var object = JSONObject()
    object["vertex"] = .string(vertex.description)
    object.put("level", level)
    object.put("short", base64: short)
    object.put("detail", detail.map { .string(base64($0)) })
    object.put("url", url)
    if let source = sourceInfo {
      var inner = JSONObject()
      inner.put("filename", source.filename)
      inner.put("data", base64: source.data)
      inner.put("language", source.language)
      object["sourceInfo"] = .object(inner)
    }
    object.put("range", ranges.map { .object(JSONObject([("start", $0.start.json), ("end", $0.end.json)])) })
    return .object(object)
  }
}

extension WarningRange.Position {
  fileprivate var json: JSONValue {
    var object = JSONObject()
    object.put("line", line)
    object.put("character", character)
    return .object(object)
  }
}

/// Standard base64 with padding (RFC 4648, section 4).
private func base64(_ bytes: [UInt8]) -> String {
  let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var out: [UInt8] = []
  out.reserveCapacity((bytes.count + 2) / 3 * 4)
  var i = 0
  while i < bytes.count {
    let b0 = bytes[i], b1 = i + 1 < bytes.count ? bytes[i + 1] : 0, b2 = i + 2 < bytes.count ? bytes[i + 2] : 0
    out.append(alphabet[Int(b0 >> 2)])
    out.append(alphabet[Int((b0 & 3) << 4 | b1 >> 4)])
    out.append(i + 1 < bytes.count ? alphabet[Int((b1 & 15) << 2 | b2 >> 6)] : UInt8(ascii: "="))
    out.append(i + 2 < bytes.count ? alphabet[Int(b2 & 63)] : UInt8(ascii: "="))
    i += 3
  }
  return String(decoding: out, as: UTF8.self)
}
