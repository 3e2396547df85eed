import Foundation
import PathPatterns
import Testing

/// Ignore files and what the real matcher makes of them (Golden/README.md).
@Suite struct IgnoreGoldenTests {
  struct Row: Decodable, Sendable, CustomTestStringConvertible {
    var file: String
    var patterns: [String]?
    var excluded: [String]?
    var differsOnWalk: [String]?
    var error: String?
    var testDescription: String { file.debugDescription }
  }
  private struct Head: Decodable { var paths: [String] }

  static let (paths, rows): ([String], [Row]) = {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/ignore.jsonl")
    let lines = ((try? Data(contentsOf: file)) ?? Data()).split(separator: UInt8(ascii: "\n"))
    let paths = lines.first.flatMap { try? JSONDecoder().decode(Head.self, from: $0).paths } ?? []
    return (paths, lines.dropFirst().compactMap { try? JSONDecoder().decode(Row.self, from: $0) })
  }()

  @Test func tableIsThere() {
    #expect(Self.rows.count >= 180 && Self.paths.count >= 25)
    #expect(Self.rows.count { $0.error != nil } >= 10)
  }

  @Test func excludesWhatTheRealOneDoes() throws {
    for row in Self.rows {
      guard let wanted = row.excluded else {
        #expect(throws: PathPatternError.self, "\(row.testDescription)") { try PatternList(IgnoreFile.patterns(in: row.file)) }
        continue
      }
      let patterns = try IgnoreFile.patterns(in: row.file)
      #expect(patterns == row.patterns, "\(row.testDescription)")
      let list = try PatternList(patterns)
      let excluded = Self.paths.filter { list.matches($0) }
      #expect(excluded == wanted, "\(row.testDescription)")
      let differs = Self.paths.filter { walk(list, to: $0) != list.matches($0) }
      #expect(differs == row.differsOnWalk ?? [], "\(row.testDescription)")
    }
  }

  /// The verdict of a walk from the root to `path`.
  private func walk(_ list: PatternList, to path: String) -> Bool {
    var folder = PatternList.Folder(), verdict = false, walked = ""
    for name in path.split(separator: "/") {
      walked += (walked.isEmpty ? "" : "/") + name
      let visit = list.visit(walked, in: folder)
      (folder, verdict) = (visit.folder, visit.isExcluded)
    }
    return verdict
  }
}
