import BuildProgress
import OCIModel

#if canImport(Glibc)
import Glibc
#endif

/// Reads a file next to the tests.
func golden(_ name: String, _ file: String = #filePath) throws -> [UInt8] {
  let path = file.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/Golden/" + name
  guard let handle = fopen(path, "r") else { throw OCIError(.invalidDocument, "cannot read \(path)") }
  defer { fclose(handle) }
  var out: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = fread(&buffer, 1, buffer.count, handle)
    if count == 0 { return out }
    out += buffer[..<count]
  }
}

/// The peers' rawjson, read back.
extension ProgressEvent {
  init(line: ArraySlice<UInt8>) throws {
    let json = try JSONValue(parsing: Array(line))
    func list<T>(_ key: String, _ body: (JSONValue) throws -> T) rethrows -> [T] { try (json[key]?.arrayValue ?? []).map(body) }
    self.init(
      vertices: try list("vertexes") { v in
        ProgressVertex(
          digest: try Digest(parsing: v["digest"]?.stringValue ?? ""),
          inputs: try (v["inputs"]?.arrayValue ?? []).map { try Digest(parsing: $0.stringValue ?? "") },
          name: v["name"]?.stringValue ?? "", started: try time(v["started"]), completed: try time(v["completed"]),
          cached: v["cached"]?.boolValue ?? false, error: v["error"]?.stringValue ?? "",
          progressGroup: v["progressGroup"].map {
            ProgressGroup(id: $0["id"]?.stringValue ?? "", name: $0["name"]?.stringValue ?? "", weak: $0["weak"]?.boolValue ?? false)
          })
      },
      statuses: try list("statuses") { s in
        VertexStatus(
          id: s["id"]?.stringValue ?? "", vertex: try Digest(parsing: s["vertex"]?.stringValue ?? ""), name: s["name"]?.stringValue ?? "",
          total: s["total"]?.intValue ?? 0, current: s["current"]?.intValue ?? 0, timestamp: try time(s["timestamp"]) ?? Timestamp(seconds: 0),
          started: try time(s["started"]), completed: try time(s["completed"]))
      },
      logs: try list("logs") { l in
        VertexLog(
          vertex: try Digest(parsing: l["vertex"]?.stringValue ?? ""), timestamp: try time(l["timestamp"]) ?? Timestamp(seconds: 0),
          stream: Int(l["stream"]?.intValue ?? 0), message: unbase64(l["data"]?.stringValue ?? ""))
      },
      warnings: try list("warnings") { w in
        VertexWarning(
          vertex: try Digest(parsing: w["vertex"]?.stringValue ?? ""), level: Int(w["level"]?.intValue ?? 0),
          short: unbase64(w["short"]?.stringValue ?? ""), detail: (w["detail"]?.arrayValue ?? []).map { unbase64($0.stringValue ?? "") },
          url: w["url"]?.stringValue ?? "",
          sourceInfo: w["sourceInfo"].map {
            WarningSource(filename: $0["filename"]?.stringValue ?? "", data: unbase64($0["data"]?.stringValue ?? ""), language: $0["language"]?.stringValue ?? "")
          },
          ranges: (w["range"]?.arrayValue ?? []).map { WarningRange(start: position($0["start"]), end: position($0["end"])) })
      })
  }
}

private func position(_ json: JSONValue?) -> WarningRange.Position {
  .init(line: Int(json?["line"]?.intValue ?? 0), character: Int(json?["character"]?.intValue ?? 0))
}
private func time(_ json: JSONValue?) throws -> Timestamp? { try json?.stringValue.map { try Timestamp(rfc3339: $0) } }
private func unbase64(_ text: String) -> [UInt8] {
  let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var out: [UInt8] = []
  var bits = 0, count = 0
  for c in text.utf8 {
    guard let value = alphabet.firstIndex(of: c) else { continue }
    bits = bits << 6 | value
    count += 6
    if count >= 8 { count -= 8; out.append(UInt8(bits >> count & 255)) }
  }
  return out
}

func scenario(_ name: String) throws -> [ProgressEvent] {
  try golden(name + ".jsonl").split(separator: 0x0a).map { try ProgressEvent(line: $0) }
}

/// As much of a terminal as the view uses: rows that scroll, a cursor, erasing. Anything else is an error.
struct Screen {
  let columns: Int, rows: Int
  var lines: [[Character]] = [[]]
  var row = 0, column = 0
  /// Highest row that the cursor may still reach: what scrolled away is out of reach.
  var top: Int { max(0, lines.count - rows) }
  var unknown: [String] = []

  mutating func feed(_ bytes: [UInt8]) {
    var scalars = Array(String(decoding: bytes, as: UTF8.self))[...]
    while let c = scalars.popFirst() {
      switch c {
      case "\n":
        row += 1
        column = 0
        if row == lines.count { lines.append([]) }
      case "\r": column = 0
      case "\u{1b}":
        var sequence = ""
        while let next = scalars.popFirst() { sequence.append(next); if next.isLetter { break } }
        control(sequence)
      default:
        for _ in 0..<max(1, TerminalText.width(String(c))) { put(TerminalText.width(String(c)) == 0 ? "?" : c) }
      }
    }
  }

  private mutating func put(_ c: Character) {
    if column >= columns { unknown.append("wrapped") }
    while lines[row].count <= column { lines[row].append(" ") }
    lines[row][column] = c
    column += 1
  }

  private mutating func control(_ sequence: String) {
    if sequence == "[K" {
      lines[row] = Array(lines[row].prefix(column))
    } else if sequence == "[J" {
      lines[row] = Array(lines[row].prefix(column))
      lines.removeLast(lines.count - row - 1)
    } else if sequence.hasSuffix("A"), let n = Int(sequence.dropFirst().dropLast()) {
      if row - n < top { unknown.append("above the window") }
      row = max(top, row - n)
    } else if !sequence.hasSuffix("m"), sequence != "[?25l", sequence != "[?25h" {
      unknown.append(sequence)
    }
  }

  var text: String {
    lines.map { String($0).replacing(/\s+$/, with: "") }.joined(separator: "\n")
  }
}
