import DockerfileSyntax
import Foundation
import Testing

/// Our syntax trees and words beside those of the real frontend (Golden/README.md).
@Suite struct FrontendTreeTests {
  struct Document: Decodable, Equatable {
    var name: String, descriptor: UInt64, expand: Bool, chomp: Bool, content: String
  }
  final class Node: Decodable {
    let keyword: String, original: String
    let lines: [Int]?, flags: [String]?, arguments: [String]?, comments: [String]?
    let json: Bool?
    let child: Node?
    let heredocs: [Document]?
  }
  struct StageFacts: Decodable, Equatable {
    var name: String, base: String, platform: String
    var commands: [String]?
  }
  struct Case: Decodable {
    var name: String
    var escape: String?, error: String?, instructionError: String?
    var errorLines: [[Int]]?
    var nodes: [Node]?
    var globals: Int?
    var stages: [StageFacts]?
    var warningCount: Int?
  }

  static func rows<T: Decodable>(_ file: String, _ type: T.Type, dropping head: Int = 0) throws -> [T] {
    let lines = try Data(contentsOf: GoldenTests.root.appending(path: file)).split(separator: UInt8(ascii: "\n"))
    return try lines.dropFirst(head).map { try JSONDecoder().decode(T.self, from: $0) }
  }

  @Test func everyCaseWasAsked() throws {
    let names = try Self.rows("frontend.jsonl", Case.self).map(\.name)
    #expect(Set(names) == Set(GoldenTests.cases(in: GoldenTests.root).map(\.lastPathComponent)))
    #expect(names.count >= 200)
  }

  @Test func understandsWhatTheRealOneDoes() throws {
    for expected in try Self.rows("frontend.jsonl", Case.self) {
      let name = expected.name
      let bytes = [UInt8](try Data(contentsOf: GoldenTests.root.appending(path: name).appending(path: "Dockerfile")))
      let tree: SyntaxTree
      do { tree = try SyntaxTree.parse(bytes: bytes) } catch {
        #expect(expected.error != nil, "\(name): \(error)")
        check(error, expected)
        continue
      }
      guard let nodes = expected.nodes else {
        Issue.record("\(name): the real one says \(expected.error ?? "")")
        continue
      }
      #expect(String(Character(tree.escape)) == expected.escape, "\(name)")
      #expect(tree.nodes.count == nodes.count, "\(name)")
      for (ours, theirs) in zip(tree.nodes, nodes) { compare(ours, theirs, name) }
      do {
        let file = try Dockerfile(tree)
        #expect(expected.instructionError == nil, "\(name): the real one says \(expected.instructionError ?? "")")
        #expect(file.globalArguments.count == expected.globals, "\(name)")
        let stages = file.stages.map {
          StageFacts(name: $0.name ?? "", base: $0.baseName, platform: $0.platform ?? "", commands: $0.instructions.isEmpty ? nil : $0.instructions.map(\.name))
        }
        #expect(stages == expected.stages ?? [], "\(name)")
      } catch {
        #expect(expected.instructionError != nil, "\(name): \(error)")
        check(error, expected)
      }
    }
  }

  private func check(_ error: DockerfileError, _ expected: Case) {
    guard let lines = expected.errorLines, let first = lines.map({ $0[0] }).min(), let last = lines.map({ $0[1] }).max() else { return }
    // Of a file without instructions the real one says line 0; of a heredoc that is not closed, everything up to the file's end; of a directive, the line before.
    switch error.code {
    case .empty: break
    case .heredoc: #expect(error.range?.lines.lowerBound == first, "\(expected.name): \(error)")
    case .directive: #expect(error.range?.lines == first + 1...last + 1, "\(expected.name): \(error)")
    default: #expect(error.range?.lines == first...last, "\(expected.name): \(error)")
    }
    // The word at fault stands in the instruction at fault.
    if let focus = error.focus, let range = error.range { #expect(range.lines.contains(focus.start.line), "\(expected.name): \(error)") }
  }

  private func compare(_ ours: InstructionNode, _ theirs: Node, _ name: String) {
    #expect(ours.keyword == theirs.keyword, "\(name)")
    #expect(ours.original == theirs.original, "\(name)")
    if let lines = theirs.lines { #expect(ours.range.lines == lines[0]...lines[1], "\(name): \(theirs.original)") }
    #expect(ours.flags == theirs.flags ?? [], "\(name)")
    #expect(ours.isJSON == theirs.json ?? false, "\(name): \(theirs.original)")
    if theirs.lines != nil { #expect(ours.comments == theirs.comments ?? [], "\(name)") }
    if let child = theirs.child, let own = ours.children.first {
      compare(own, child, name)
    } else {
      // The real one has an empty word where there is none.
      #expect(ours.arguments == (theirs.arguments == [""] && !ours.isJSON ? [] : theirs.arguments ?? []), "\(name): \(theirs.original)")
    }
    let documents = ours.heredocs.map { Document(name: $0.name, descriptor: $0.fileDescriptor, expand: $0.expands, chomp: $0.chomps, content: $0.content) }
    #expect(documents == theirs.heredocs ?? [], "\(name)")
  }

  /// Every word's place holds that word: ranges are looked up in the file and compared with what was understood.
  @Test func placesAreExact() throws {
    var words = 0
    for folder in GoldenTests.cases(in: GoldenTests.root) {
      let bytes = [UInt8](try Data(contentsOf: folder.appending(path: "Dockerfile")))
      guard let tree = try? SyntaxTree.parse(bytes: bytes) else { continue }
      let text = SourceText(bytes)
      for node in tree.nodes { words += check(node, text, tree.escape, folder.lastPathComponent) }
    }
    #expect(words > 700)
  }

  private func check(_ node: InstructionNode, _ text: SourceText, _ escape: Unicode.Scalar, _ name: String) -> Int {
    #expect(node.flagRanges.count == node.flags.count && node.argumentRanges.count == node.arguments.count, "\(name): \(node.original)")
    #expect(node.heredocPlaces.count == node.heredocs.count, "\(name)")
    #expect(text.joined(node.keywordRange, escape) == node.keyword, "\(name)")
    let isPair = ["env", "label"].contains(node.keyword.lowercased())
    for (i, (range, word)) in zip(node.argumentRanges, node.arguments).enumerated() {
      let written = text.joined(range, escape)
      if node.isJSON || node.children.first?.isJSON == true {
        #expect(["healthcheck", "onbuild"].contains(node.keyword.lowercased()) && i == 0 ? written == word : written.hasPrefix("\"") && written.hasSuffix("\""), "\(name): \(written)")
      } else if isPair, i % 3 == 2 {
        #expect(written == word, "\(name): \(written)")
      } else {
        #expect(written == word, "\(name): \(node.original)")
      }
    }
    for (range, flag) in zip(node.flagRanges, node.flags) {
      let written = text.joined(range, escape)
      #expect(written == flag || written.contains { "'\"\\`".contains($0) }, "\(name): \(written)")
    }
    for (place, heredoc) in zip(node.heredocPlaces, node.heredocs) {
      #expect(text.joined(place.opening, escape).contains("<<"), "\(name)")
      #expect(text.joined(place.closing, escape) == heredoc.name, "\(name)")
      #expect(text.lines(place.content) == heredoc.content, "\(name)")
    }
    return node.arguments.count
  }

  struct WordRow: Decodable {
    var word: String
    var escape: String?, options: String?, text: String?, error: String?
    var words: [String]?, set: [String]?, unset: [String]?
  }
  struct WordHead: Decodable { var environment: [String: String] }

  @Test func expandsWhatTheRealOneDoes() throws {
    let environment = try #require(try Self.rows("words.jsonl", WordHead.self, dropping: 0, limit: 1).first).environment
    let rows = try Self.rows("words.jsonl", WordRow.self, dropping: 1)
    #expect(rows.count >= 480 && rows.count { $0.error != nil } >= 60 && rows.count { $0.escape != nil } >= 50)
    for row in rows {
      var lexer = WordLexer(escape: row.escape == "`" ? "`" : "\\")
      let options = row.options ?? ""
      (lexer.keepsQuotes, lexer.keepsEscapes, lexer.ignoresQuotes, lexer.keepsUnset) = (options.contains("q"), options.contains("e"), options.contains("h"), options.contains("u"))
      let what = Comment(rawValue: "\(row.word) \(row.escape ?? "") \(options)")
      do {
        let result = try lexer.expand(row.word, environment: environment)
        #expect(row.error == nil, what)
        #expect(result.text == row.text, what)
        #expect(result.matched == Set(row.set ?? []) && result.unmatched == Set(row.unset ?? []), what)
        #expect(try lexer.words(in: row.word, environment: environment) == row.words ?? [row.text ?? ""], what)
      } catch {
        #expect(row.error != nil, "\(row.word): \(error)")
      }
    }
  }
}

extension FrontendTreeTests {
  static func rows<T: Decodable>(_ file: String, _ type: T.Type, dropping head: Int, limit: Int) throws -> [T] {
    let lines = try Data(contentsOf: GoldenTests.root.appending(path: file)).split(separator: UInt8(ascii: "\n"))
    return try lines.dropFirst(head).prefix(limit).map { try JSONDecoder().decode(T.self, from: $0) }
  }
}

/// A file's text by line and column.
private struct SourceText {
  let lines: [[Unicode.Scalar]]

  init(_ bytes: [UInt8]) {
    var text = String(decoding: bytes, as: UTF8.self).unicodeScalars[...]
    if text.first == "\u{FEFF}" { text.removeFirst() }
    lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(Array.init)
  }

  /// A range with continuations and the comments between them taken out.
  func joined(_ range: SourceRange, _ escape: Unicode.Scalar) -> String {
    var out = String.UnicodeScalarView()
    for number in range.lines {
      var line = lines[number - 1][...]
      let isLast = number == range.end.line
      line = line[(number == range.start.line ? min(range.start.column, line.count) : 0)..<(isLast ? min(range.end.column, line.count) : line.count)]
      if !isLast {
        if number > range.start.line, line.first(where: { $0 != " " && $0 != "\t" }) == "#" { continue }
        while let last = line.last, " \t\r".unicodeScalars.contains(last) { line.removeLast() }
        if line.last == escape { line.removeLast() } else { continue }
      }
      out.append(contentsOf: line)
    }
    return String(out)
  }

  /// Whole lines with their ends, up to the one that `range` ends at the beginning of.
  func lines(_ range: SourceRange) -> String {
    var out = String.UnicodeScalarView()
    for number in range.start.line..<range.end.line {
      out.append(contentsOf: lines[number - 1])
      out.append("\n")
    }
    return String(out)
  }
}
