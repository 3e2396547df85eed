import DockerfileSyntax
import Foundation
import Testing

@Suite struct WordLexerTests {
  static let environment = ["PATH": "/usr/bin:/bin", "EMPTY": "", "NAME": "app-1.2.tar.gz", "SPACED": " a  b ", "STAR": "*", "LINES": "one\ntwo"]

  /// A word and its expansion, nil where it is an error.
  static let words: [(String, String?)] = [
    ("plain", "plain"), ("", ""), ("$PATH", "/usr/bin:/bin"), ("${PATH}x", "/usr/bin:/binx"), ("$NOPE|", "|"), ("${NOPE}", ""), ("a$", "a$"), ("$.", "$."),
    ("\\$PATH", "$PATH"), ("a\\ b\\", "a b"), ("'$PATH\\'", "$PATH\\"), ("\"$NAME \\$NAME \\x\"", "app-1.2.tar.gz $NAME \\x"), ("\"it's\"", "it's"),
    ("'open", nil), ("\"open", nil), ("\"open\\\"", nil), ("${", nil), ("${}", nil), ("${NAME", nil), ("${:x}", nil), ("${NAME=x}", nil), ("${NAME:=x}", nil), ("${.}", nil),
    ("${NOPE:-d}", "d"), ("${NOPE-d}", "d"), ("${EMPTY:-d}", "d"), ("${EMPTY-d}", ""), ("${NAME:-d}", "app-1.2.tar.gz"), ("${NOPE:-${EMPTY:-$STAR}}", "*"),
    ("${NOPE:+d}", ""), ("${EMPTY:+d}", ""), ("${EMPTY+d}", "d"), ("${NAME:+'a b'}", "a b"), ("${NOPE:-\\}}", "}"),
    ("${NOPE:?}", nil), ("${NOPE?say}", nil), ("${EMPTY:?}", nil), ("${EMPTY?}", ""), ("${NAME:?x}", "app-1.2.tar.gz"),
    ("${NAME#*.}", "2.tar.gz"), ("${NAME##*.}", "gz"), ("${NAME%.*}", "app-1.2.tar"), ("${NAME%%.*}", "app-1"), ("${NAME#app}", "-1.2.tar.gz"), ("${NAME#x}", "app-1.2.tar.gz"),
    ("${NAME%?z}", "app-1.2.tar."), ("${NAME:#x}", nil), ("${PATH/bin/lib}", "/usr/lib:/bin"), ("${PATH//bin/lib}", "/usr/lib:/lib"), ("${PATH//\\//\\/}", "\\/usr\\/bin:\\/bin"),
    ("${NAME/1*2/X}", "app-X.tar.gz"), ("${NAME//[0-9]/X}", "app-1.2.tar.gz"), ("${NAME/\\x/y}", nil), ("${NAME/x}", nil), ("${STAR/\\*/s}", "s"), ("${LINES#*}", "one\ntwo"), ("${LINES##*}", "\ntwo"),
    ("${LINES//?/.}", "...\n..."), ("${EMPTY//x*/y}", ""), ("${EMPTY/*/y}", "y"), ("${NAME//a*/<$$0>}", "<0>"),
    ("$1$@${*}${0:-z}$$x", "zx"), ("$12a", "a"), ("$é", ""), ("a<b<<  c", "a<b<<  c"), ("\u{FEFF}$STAR", "*"),
  ]

  @Test(arguments: words)
  func expands(_ word: String, _ expected: String?) throws {
    let result = try? WordLexer().expand(word, environment: Self.environment).text
    #expect(result == expected, "\(word)")
  }

  static let splits: [(String, [String]?)] = [
    ("a b  c", ["a", "b", "c"]), ("", []), ("  ", []), ("a$SPACED.b", ["a", "a", "b", ".b"]), ("\"$SPACED\"x y", [" a  b x", "y"]), ("'a b'\\ c d", ["a b c", "d"]),
    ("'' a \"\"", ["a"]), ("80${NOPE:-80} ${NOPE:-1}/tcp", ["80", "1/tcp"]), ("x << EOF y", ["x", "<< EOF", "y"]), ("'x", nil),
  ]

  @Test(arguments: splits)
  func splitsWords(_ word: String, _ expected: [String]?) throws {
    #expect((try? WordLexer().words(in: word, environment: Self.environment)) == expected, "\(word)")
  }

  @Test func reportsWhatItUsed() throws {
    let result = try WordLexer().expand("$NAME ${NOPE:-$EMPTY} ${ALSO+x} '$HIDDEN'", environment: Self.environment)
    #expect(result.matched == ["NAME", "EMPTY"])
    #expect(result.unmatched == ["NOPE", "ALSO"])
  }

  @Test func options() throws {
    var lexer = WordLexer(escape: "`")
    #expect(try lexer.expand("c:\\a`$b", environment: Self.environment).text == "c:\\a$b")
    lexer = WordLexer()
    lexer.ignoresQuotes = true
    #expect(try lexer.expand("it's \"$STAR\" \\$STAR", environment: Self.environment).text == "it's \"*\" $STAR")
    lexer = WordLexer()
    (lexer.keepsQuotes, lexer.keepsUnset) = (true, true)
    #expect(try lexer.expand("'a' \"$STAR $NOPE\" ${NOPE} ${NOPE:-x} ${NOPE//a/b}", environment: Self.environment).text == "'a' \"* $NOPE\" ${NOPE} ${NOPE:-x} ${NOPE/a/b}")
    lexer = WordLexer()
    lexer.keepsEscapes = true
    #expect(try lexer.expand("a\\b\\$STAR", environment: Self.environment).text == "a\\b\\$STAR")
  }

  @Test func saysWhatIsWrong() {
    func message(_ word: String) -> String? {
      do { _ = try WordLexer().expand(word, environment: Self.environment) } catch { return error.message }
      return nil
    }
    #expect(message("${NOPE:?give it}") == "cannot expand \"${NOPE:?give it}\": NOPE: give it")
    #expect(message("${NOPE?}") == "cannot expand \"${NOPE?}\": NOPE: must be set")
    #expect(message("${NAME^^}") == "cannot expand \"${NAME^^}\": there is no modifier \"^\" (known are - :- + :+ ? :? # ## % %% / //)")
    #expect(message("${NAME") == "cannot expand \"${NAME\": '}' is missing in \"${\"")
    #expect(message("${NAME:-x") == "cannot expand \"${NAME:-x\": '}' is missing in \"${\"")
    #expect(message("'") == "cannot expand \"'\": a single quote is not closed")
  }

  @Test func isBounded() throws {
    let deep = String(repeating: "${A:-", count: 5000) + String(repeating: "}", count: 5000)
    #expect(throws: DockerfileError.self) { try WordLexer().expand(deep, environment: [String: String]()) }
    let large = ["A": String(repeating: "a", count: 1 << 20)]
    #expect(throws: DockerfileError.self) { try WordLexer().expand(String(repeating: "$A", count: 100), environment: large) }
    let clock = ContinuousClock()
    let time = clock.measure {
      for pattern in ["*a*a*a*a*b", "*?*?*?*b*", "a*a*a*a*a*a*c"] {
        for mark in ["#", "##", "%", "%%"] {
          _ = try? WordLexer().expand("${A\(mark)\(pattern)}", environment: ["A": String(repeating: "a", count: 20_000)])
        }
        _ = try? WordLexer().expand("${A//\(pattern)/x}", environment: ["A": String(repeating: "a", count: 20_000)])
      }
    }
    #expect(time < .seconds(20))
    #expect(throws: DockerfileError.self) { try WordLexer().expand("${A#\(String(repeating: "*a", count: 1000))}", environment: large) }
  }

  /// Compares with another implementation: `MANIFOLD_WORDS` names a file of JSON lines; results go to the same name with `.out`.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["MANIFOLD_WORDS"] != nil))
  func writesExpansions() throws {
    struct Case: Decodable {
      var word: String, env: [String: String], escape: String, rawQuotes: Bool, rawEscapes: Bool, skipQuotes: Bool, skipUnset: Bool, split: Bool
    }
    let name = ProcessInfo.processInfo.environment["MANIFOLD_WORDS"] ?? ""
    var output = ""
    for line in try String(contentsOfFile: name, encoding: .utf8).split(separator: "\n") {
      let it = try JSONDecoder().decode(Case.self, from: Data(line.utf8))
      var lexer = WordLexer(escape: it.escape.unicodeScalars.first ?? "\\")
      (lexer.keepsQuotes, lexer.keepsEscapes, lexer.ignoresQuotes, lexer.keepsUnset) = (it.rawQuotes, it.rawEscapes, it.skipQuotes, it.skipUnset)
      do {
        if it.split {
          output += quote(try lexer.words(in: it.word, environment: it.env)) + "\n"
        } else {
          let result = try lexer.expand(it.word, environment: it.env)
          let (matched, unmatched) = (result.matched.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }, result.unmatched.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
          output += quote(result.text) + " " + quote(matched) + " " + quote(unmatched) + "\n"
        }
      } catch {
        output += "error\n"
      }
    }
    try output.write(toFile: name + ".out", atomically: true, encoding: .utf8)
  }
}
