import DockerfileSyntax
import Foundation
import Testing

/// Hostile input: whatever the bytes, the parser answers, and soon.
@Suite struct MutationTests {
  /// A small generator with a fixed course (SplitMix64).
  struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  @Test func neverCrashes() throws {
    var random = Generator(state: 42)
    let seeds = GoldenTests.cases(in: GoldenTests.root).compactMap { try? [UInt8](Data(contentsOf: $0.appending(path: "Dockerfile"))) }
    let pieces = ["\n", "\\\n", "`\n", "<<EOF", "EOF\n", "--", "=", "\"", "'", "$", "${", "}", "[", "]", "#", " ", "\t", "ONBUILD ", "RUN ", "COPY ", "ENV ", "\u{FEFF}", "\r", "\0", "é"]
    let start = ContinuousClock.now
    for round in 0..<6000 {
      var bytes = seeds.randomElement(using: &random) ?? []
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let place = Int.random(in: 0...bytes.count, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1 where place < bytes.count: bytes.remove(at: place)
        case 2: bytes.insert(contentsOf: Array((pieces.randomElement(using: &random) ?? "").utf8), at: place)
        case 3:
          let other = seeds.randomElement(using: &random) ?? []
          let cut = Int.random(in: 0...other.count, using: &random)
          bytes = Array(bytes[..<place]) + other[cut...]
        default: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 0...20, using: &random)))
        }
      }
      check(bytes)
      if round % 500 == 0, ContinuousClock.now - start > .seconds(240) { break }
    }
    #expect(ContinuousClock.now - start < .seconds(300))
  }

  /// Parses, and holds the result to what is promised.
  private func check(_ bytes: [UInt8]) {
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).count
    do {
      let tree = try SyntaxTree.parse(bytes: bytes)
      var last = 0
      for node in tree.nodes {
        #expect(node.range.start.line > last && node.range.end.line <= lines)
        #expect(node.flags.count == node.flagRanges.count)
        last = node.range.end.line
      }
      let file = try Dockerfile(tree)
      let source = String(decoding: bytes, as: UTF8.self)
      for stage in file.stages {
        for var instruction in stage.instructions {
          _ = try? instruction.expand { try WordLexer(escape: tree.escape).expand($0, environment: ["NAME": source]).text }
          _ = try? instruction.expandContents { try WordLexer().expand($0, environment: ["NAME": "x"]).text }
          if case .run(let run) = instruction {
            _ = try? run.resolvedMounts { $0 }
            _ = run.command.heredocUse
          }
          if case .onbuild(let held) = instruction { _ = try? Instruction.trigger(held.expression, at: instruction.origin.range) }
        }
      }
      _ = ParserDirective.detectSyntax(in: source)
    } catch {
      if let range = error.range { #expect(range.start.line >= 1 && range.end.line <= lines, "\(error)") }
      _ = error.excerpt(source: String(decoding: bytes, as: UTF8.self))
    }
  }

  @Test func keepsItsLimits() {
    func code(_ text: String, _ limits: SyntaxLimits = SyntaxLimits()) -> DockerfileError.Code? {
      do { _ = try Dockerfile.parse(text, limits: limits) } catch { return error.code }
      return nil
    }
    #expect(code("FROM a\nRUN " + String(repeating: "a", count: 2 << 20)) == .limit)
    #expect(code("FROM a\nRUN b", SyntaxLimits(sourceBytes: 10)) == .limit)
    #expect(code("FROM a\n" + String(repeating: "ONBUILD ", count: 50_000) + "RUN a") == .limit)
    #expect(code("FROM a\nRUN <<E\n" + String(repeating: "a", count: 2 << 20) + "\nE\n") == .limit)
  }

  /// Shapes that would take a careless parser quadratic or exponential time, or its stack.
  @Test(arguments: [
    Shape("COPY ", "--exclude=a ", 80_000, "a b"), Shape("RUN ", "<<a ", 2_000), Shape("ENV ", "a=b ", 200_000), Shape("RUN ", "a \\\n", 200_000),
    Shape("CMD ", "[", 900_000), Shape("CMD [\"a\",", "{\"a\":[", 100_000), Shape("RUN --mount=", "a,", 400_000), Shape("LABEL a=", "${", 400_000),
    Shape("RUN ", "'", 900_001), Shape("EXPOSE ", "9 8 7 ", 100_000), Shape("X", "Y", 900_000), Shape("COPY --", "x", 900_000, " a b"), Shape("", "# a\n", 500_000),
  ])
  func isQuick(_ shape: Shape) {
    let time = ContinuousClock().measure { check(Array(("FROM a\n" + shape.text + "\n").utf8)) }
    #expect(time < .seconds(30))
  }
}

/// A long text, shown by how it is made: a test's log is to be read.
struct Shape: Sendable, CustomTestStringConvertible {
  var start: String, unit: String, count: Int, end: String
  init(_ start: String, _ unit: String, _ count: Int, _ end: String = "") { (self.start, self.unit, self.count, self.end) = (start, unit, count, end) }
  var text: String { start + String(repeating: unit, count: count) + end }
  var testDescription: String { "\(start)(\(unit))*\(count)\(end)".debugDescription }
}
