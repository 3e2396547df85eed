import Foundation
import Testing

@testable import PathPatterns

/// Go's own answers (Golden/expressions.json), and what strangers' expressions must not do.
@Suite struct RegularExpressionTests {
  struct Vector: Decodable {
    var pattern: String, text: String, template: String, replaced: String
    var bad: Bool?, bounds: [Int]?
  }

  @Test func asGo() throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/expressions.json")
    let vectors = try JSONDecoder().decode([Vector].self, from: Data(contentsOf: file))
    #expect(vectors.count > 1000)
    for vector in vectors {
      // Classes of Unicode properties are refused.
      if vector.pattern.contains("\\p") { continue }
      guard let expression = try? RegularExpression(vector.pattern) else {
        #expect(vector.bad == true, "\(vector.pattern) is refused")
        continue
      }
      guard vector.bad != true else {
        Issue.record("\(vector.pattern) is taken")
        continue
      }
      let bounds = expression.firstMatch(in: vector.text)?.bounds.flatMap { [$0.start, $0.end] }
      #expect(bounds == vector.bounds, "\(vector.pattern) in \(vector.text.debugDescription)")
      #expect(expression.replacingAll(in: vector.text, with: vector.template) == vector.replaced, "\(vector.pattern) in \(vector.text.debugDescription) by \(vector.template)")
    }
  }

  @Test func hostileExpressions() throws {
    for pattern in ["((((a{1000}){1000}){1000}){1000})", "((((){1000}){1000}){1000}){1000}", String(repeating: "(", count: 100_000), String(repeating: "(?:", count: 300) + String(repeating: ")", count: 300)] {
      _ = try? RegularExpression(pattern)
    }
    // Backtracking would not end.
    let slow = try RegularExpression("(a*)*(a|aa)+(a|b|ab)*$")
    #expect(!slow.matches(String(repeating: "a", count: 3000) + "!"))
  }
}
