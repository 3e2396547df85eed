import BuildInterface
import Foundation
import Testing

@testable import DockerfileFrontend

/// Golden/mistakes.txt: wrong Dockerfiles, what BuildKit says of each (recorded) and, word for word, what a person is told here: the lines with the word at
/// fault marked, the message, and what to do. `MANIFOLD_UPDATE_GOLDEN=1` writes our part anew, to be read before it is committed.
@Suite struct MistakeTableTests {
  struct Row {
    var title: String, dockerfile: String, theirs: String, ours: String
  }
  static let file = GoldenCase.root.appending(path: "mistakes.txt")

  static func rows() throws -> [Row] {
    try String(contentsOf: file, encoding: .utf8).split(separator: "=== ").map { section in
      var rest = section[...]
      func take(until mark: String) -> String {
        guard let range = rest.range(of: mark) else { defer { rest = "" }; return String(rest) }
        defer { rest = rest[range.upperBound...] }
        return String(rest[..<range.lowerBound])
      }
      let title = take(until: "\n")
      let dockerfile = take(until: "--- BuildKit")
      let theirs = take(until: "--- Manifold")
      return Row(title: title, dockerfile: dockerfile, theirs: theirs, ours: String(rest))
    }
  }

  static func told(_ dockerfile: String) async throws -> String {
    guard let error = try await Trial(dockerfile).error() else { return "\nno error\n" }
    var out = ", \(error.code.rawValue)"
    let place = error.sources.first { $0.filename == "Dockerfile" }
    if let focus = place?.focus { out += ", \(focus.startLine):\(focus.startColumn)-\(focus.endLine):\(focus.endColumn)" } else if let lines = place?.lines { out += ", lines \(lines.lowerBound)-\(lines.upperBound)" }
    return out + "\n" + (place.map { $0.excerpt() + "\n" } ?? "") + "ERROR: \(error.message)\n" + (error.suggestion.map { $0 + "\n" } ?? "")
  }

  @Test func everyoneIsToldWhatIsWrong() async throws {
    let rows = try Self.rows()
    #expect(rows.count >= 60)
    var text = ""
    for row in rows {
      let told = try await Self.told(row.dockerfile)
      if ProcessInfo.processInfo.environment["MANIFOLD_UPDATE_GOLDEN"] == nil { #expect(told == row.ours, "\(row.title)") }
      text += "=== \(row.title)\n\(row.dockerfile)--- BuildKit\(row.theirs)--- Manifold\(told)"
    }
    if ProcessInfo.processInfo.environment["MANIFOLD_UPDATE_GOLDEN"] != nil { try Data(text.utf8).write(to: Self.file) }
  }

  /// Nothing is refused without a place and a word that is marked, nor without saying what to do or what is allowed.
  @Test func everyMistakeIsMarked() async throws {
    for row in try Self.rows() {
      let error = try #require(try await Trial(row.dockerfile).error(), "\(row.title)")
      let place = try #require(error.sources.first { $0.filename == "Dockerfile" }, "\(row.title)")
      let focus = try #require(place.focus, "\(row.title)")
      #expect(place.lines.contains(focus.startLine) && focus.underline.contains("^"), "\(row.title)")
    }
  }
}
