import Foundation
import PathPatterns
import Testing

@Suite struct PathTests {
  @Test(arguments: [
    ("", "."), (".", "."), ("..", ".."), ("/", "/"), ("//", "/"), ("a", "a"), ("a/", "a"), ("a//b", "a/b"), ("./a", "a"), ("a/.", "a"), ("a/./b", "a/b"),
    ("a/..", "."), ("a/../b", "b"), ("../a", "../a"), ("../../a", "../../a"), ("a/../../b", "../b"), ("/..", "/"), ("/../a", "/a"), ("/a/../..", "/"),
    ("a/b/../../..", ".."), (".a/..b/...", ".a/..b/..."), ("/a/b/", "/a/b"), ("!/a", "!/a"), ("é/./ü/", "é/ü"), ("../..", "../.."), ("a/b/c/..", "a/b"),
  ])
  func cleans(_ path: String, _ expected: String) {
    #expect(SlashPath.clean(path) == expected)
  }

  @Test func takesApartAndJoins() {
    #expect(SlashPath.join("a", "b/../c", "/d") == "a/c/d")
    #expect(SlashPath.join("", "") == "")
    #expect(SlashPath.join("/", "a") == "/a")
    #expect(SlashPath.join("a", "..", "..", "b") == "../b")
    #expect(SlashPath.base("/a/b/") == "b")
    #expect(SlashPath.base("") == ".")
    #expect(SlashPath.base("///") == "/")
    #expect(SlashPath.directory("/a/b") == "/a")
    #expect(SlashPath.directory("a") == ".")
    #expect(SlashPath.directory("/a") == "/")
    #expect(SlashPath.directory("a/b/") == "a/b")
    #expect(SlashPath.isAbsolute("/a") && !SlashPath.isAbsolute("a"))
    #expect(SlashPath.isLocal("a/../b") && !SlashPath.isLocal("../b") && !SlashPath.isLocal("/a") && !SlashPath.isLocal(""))
  }

  @Test(arguments: [
    ("abc", "abc", true), ("*", "abc", true), ("*", "a/b", false), ("*c", "abc", true), ("a*", "a", true), ("a*", "ab/c", false), ("a*/b", "abc/b", true),
    ("a*/b", "a/c/b", false), ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true), ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false), ("a*b?c*x", "abxbbxdbxebxczzx", true),
    ("a*b?c*x", "abxbbxdbxebxczzy", false), ("ab[c]", "abc", true), ("ab[b-d]", "abc", true), ("ab[^c]", "abc", false), ("a\\*b", "a*b", true), ("a\\*b", "ab", false),
    ("a?b", "a☺b", true), ("a[^a]b", "a☺b", true), ("a???b", "a☺b", false), ("[a-ζ]*", "α", true), ("*[a-ζ]", "A", false), ("a?b", "a/b", false),
    ("[\\]a]", "]", true), ("[\\-x]", "-", true), ("*x", "xxx", true), ("", "", true), ("", "a", false), ("**", "ab", true), ("a**", "a/b", false),
  ])
  func wildcards(_ pattern: String, _ name: String, _ expected: Bool) throws {
    #expect(try Wildcard.matches(pattern, name) == expected)
  }

  @Test(arguments: ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a["])
  func malformedWildcards(_ pattern: String) {
    #expect(throws: PathPatternError.self) { try Wildcard.matches(pattern, "a") }
  }

  @Test func readsIgnoreFiles() throws {
    let text = "\u{FEFF}# a comment\nplain\r\n  /leading/slash  \n\n   \n # not a comment\n!  /kept/\n!\n/\na//b/../c\n**/x/\nlast"
    #expect(try IgnoreFile.patterns(in: text) == ["plain", "leading/slash", "# not a comment", "!kept", "!", "/", "a/c", "**/x", "last"])
    #expect(try IgnoreFile.patterns(in: "").isEmpty)
    #expect(throws: PathPatternError.self) { try IgnoreFile.patterns(in: String(repeating: "a", count: 70_000)) }
  }

  /// Compares with another implementation: `MANIFOLD_MATCHES` names a file of tab-separated lines (patterns separated by `\u{1F}`, path), and the
  /// verdicts go to the same name with `.out`.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["MANIFOLD_MATCHES"] != nil))
  func writesVerdicts() throws {
    let name = ProcessInfo.processInfo.environment["MANIFOLD_MATCHES"] ?? ""
    var output = ""
    for line in try String(contentsOfFile: name, encoding: .utf8).split(separator: "\n") {
      let fields = line.split(separator: "\t", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard let list = try? PatternList(fields[0].split(separator: "\u{1F}").map(String.init)) else {
        output += "badpattern\n"
        continue
      }
      var folder = PatternList.Folder()
      var (verdict, walked) = (false, "")
      for part in fields[1].split(separator: "/") {
        walked += (walked.isEmpty ? "" : "/") + part
        let visit = list.visit(walked, in: folder)
        (folder, verdict) = (visit.folder, visit.isExcluded)
      }
      output += "\(list.matches(fields[1])) \(verdict)\n"
    }
    try output.write(toFile: name + ".out", atomically: true, encoding: .utf8)
  }
}
