import PathPatterns
import Testing

@Suite struct PatternListTests {
  /// One pattern, the paths it excludes and the paths it leaves.
  static let single: [(pattern: String, excluded: [String], kept: [String])] = [
    ("node_modules", ["node_modules", "node_modules/a", "node_modules/a/b"], ["a/node_modules", "node_modules2"]),
    ("/build/", ["/build", "/build/x"], ["build"]),
    ("build/", ["build", "build/x"], ["a/build"]),
    ("*.log", ["a.log", ".log", "a.log/inside"], ["a/b.log", "a.logs"]),
    ("*/*.log", ["a/b.log"], ["b.log", "a/b/c.log"]),
    ("**", ["a", "a/b", "a/b/c"], []),
    ("**/", ["a", "a/b"], []),
    ("**/*.o", ["x.o", "a/x.o", "a/b/x.o"], ["x.oo", "a/x.c"]),
    ("**/tmp", ["tmp", "a/tmp", "a/tmp/b", "tmp/x"], ["atmp", "a/tmpx"]),
    ("**tmp", ["tmp", "atmp", "a/b/xtmp"], ["tmpx"]),
    ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
    ("a**", ["a", "ab", "a/b"], ["ba"]),
    ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a/zz", "az"]),
    ("a**/z", ["a/z", "a/b/z", "ab/z", "az"], ["b/z"]),
    ("**/a/**/b*c", ["a/bc", "x/a/y/bxc", "a/y/z/bc/d"], ["a/b/xc", "bc"]),
    ("a?c", ["abc", "a☺c"], ["ac", "a/c", "abbc"]),
    ("a[0-9]", ["a0", "a9"], ["aa", "a10", "a"]),
    ("a[^0-9]", ["ax", "a/"], ["a1"]),
    ("[a-cé]x", ["ax", "éx"], ["dx"]),
    ("a\\*b", ["a*b"], ["axb"]),
    ("a.b", ["a.b"], ["axb"]),
    ("a(b)+{c}|$", ["a(b)+{c}|$"], ["ab"]),
    ("*|b", ["b", "xb", "a", "a/b"], []),
    ("x|*y", ["x", "xz", "zy"], ["z"]),
    ("{a,b}*", ["{a,b}", "{a,b}c"], ["a"]),
    ("b{2}*", ["bb", "bbc"], ["b", "b{2}"]),
    ("b{1,3}?", ["bb", "bbbb", "bx"], ["b", "bbbbb"]),
    ("b{2,}?", ["bbb", "bbbbbb"], ["bb"]),
    ("b{}?", ["b{}x"], ["bx"]),
    ("{2}a*", ["a", "ab"], ["{2}a", "xa"]),
    ("é*", ["é", "éa"], ["e"]),
    ("a/../b/./c", ["b/c"], ["a"]),
    ("a^b", ["a^b"], ["ab"]),
    ("*^b", ["b"], ["a^b"]),
    ("x[[:digit:]]", ["x1"], ["xa"]),
    ("v\\d*", ["v1", "v2x"], ["vd"]),
    ("aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee?ffffffffff*gggggggggg[h]ii*",
     ["aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeZffffffffff-gggggggggghii.x"], ["aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"]),
    ("*0123456789012345678901234567890123456789012345678901234567890123456789*",
     ["x0123456789012345678901234567890123456789012345678901234567890123456789", "0123456789012345678901234567890123456789012345678901234567890123456789é"],
     ["0123456789", "a/0123456789012345678901234567890123456789012345678901234567890123456789"]),
  ]

  @Test(arguments: single.indices)
  func onePattern(_ index: Int) throws {
    let (pattern, excluded, kept) = Self.single[index]
    let list = try PatternList([pattern])
    for path in excluded { expect(list.matches(path), "\(pattern) excludes \(path)") }
    for path in kept { expect(!list.matches(path), "\(pattern) leaves \(path)") }
  }

  static let several: [(patterns: [String], excluded: [String], kept: [String])] = [
    (["docs", "!docs/README.md"], ["docs", "docs/a"], ["docs/README.md"]),
    (["!README.md", "*.md"], ["README.md"], []),
    (["*", "!src", "src/*.tmp"], ["a", "src/x.tmp"], ["src", "src/a.swift", "src/sub/x.tmp"]),
    (["**", "!util/docker/web"], ["util", "util/docker"], ["util/docker/web", "util/docker/web/foo"]),
    (["**", "!util/docker/web", "util/docker/web/foo"], ["util/docker/web/foo"], ["util/docker/web/bar"]),
    (["  spaced  ", "", "   "], ["spaced"], ["x"]),
    (["a", "!a/**/keep", "a/x/keep"], ["a/b", "a/x/keep"], ["a/keep", "a/b/keep"]),
    ([], [], ["anything"]),
  ]

  @Test(arguments: several.indices)
  func laterPatternsDecide(_ index: Int) throws {
    let (patterns, excluded, kept) = Self.several[index]
    let list = try PatternList(patterns)
    for path in excluded { expect(list.matches(path), "\(patterns) excludes \(path)") }
    for path in kept { expect(!list.matches(path), "\(patterns) leaves \(path)") }
    for path in excluded + kept { expect(walk(list, to: path) == list.matches(path), "\(patterns) on a walk to \(path)") }
  }

  /// The verdict of a walk from the root to `path`.
  private func walk(_ list: PatternList, to path: String) -> Bool {
    var folder = PatternList.Folder()
    var verdict = false
    var walked = ""
    for name in path.split(separator: "/") {
      walked += (walked.isEmpty ? "" : "/") + name
      let visit = list.visit(walked, in: folder)
      (folder, verdict) = (visit.folder, visit.isExcluded)
    }
    return verdict
  }

  @Test func aWalkDiffersAsBuildKitsDoes() throws {
    let list = try PatternList(["dir/f", "!dir"])
    #expect(!list.matches("dir/f"))
    #expect(walk(list, to: "dir/f"))
  }

  @Test func manyPatterns() throws {
    var patterns = (0..<200).map { "dir\($0)" }
    patterns.append("!dir150/keep")
    let list = try PatternList(patterns)
    #expect(walk(list, to: "dir199/x"))
    #expect(walk(list, to: "dir150/x"))
    #expect(!walk(list, to: "dir150/keep"))
    #expect(!walk(list, to: "dir200/x"))
  }

  @Test(arguments: ["!", "[", "a[", "[]a]", "[-]", "[x-]", "[a-b-c]", "\\", "a\\", "*[", "*[z-a]", "*\\y", "*[[:nope:]]"])
  func malformed(_ pattern: String) {
    #expect(throws: PathPatternError.self) { try PatternList([pattern]) }
  }

  @Test func prunes() throws {
    let list = try PatternList(["*", "!src/lib", "!docs/*.md", "!a/**/keep", "!x?/y"])
    for folder in ["node_modules", "b", "src/other", "docs2", "x", "src/li", "docs/sub"] {
      expect(list.canPrune(excludedFolder: folder), "\(folder) may be pruned")
    }
    for folder in ["src", "docs", "a", "a/b/c", "xz"] { expect(!list.canPrune(excludedFolder: folder), "\(folder) may hold exceptions") }
    #expect(try PatternList(["a"]).canPrune(excludedFolder: "a"))
    #expect(try !PatternList(["a", "!**/b"]).canPrune(excludedFolder: "a"))
    #expect(try !PatternList(["a", "!a/b/**"]).canPrune(excludedFolder: "a"))
    #expect(try PatternList(["a", "!b/**"]).canPrune(excludedFolder: "a"))
    #expect(try PatternList(["a", "!ab"]).canPrune(excludedFolder: "a"))
  }

  /// Random patterns on a small alphabet: pruning never hides a path that an exception keeps.
  @Test func pruningIsSafe() throws {
    var random = SeededGenerator(seed: 7)
    let pieces = ["a", "b", "*", "**", "?", "[ab]", "/", "/", "a*"]
    let names = ["a", "b", "ab", "ba"]
    var paths: [String] = []
    for one in names {
      paths.append(one)
      for two in names { paths += [one + "/" + two] + names.map { one + "/" + two + "/" + $0 } }
    }
    for _ in 0..<3000 {
      let patterns = (0..<Int.random(in: 1...4, using: &random)).map { _ in
        (Bool.random(using: &random) ? "!" : "") + (0..<Int.random(in: 1...5, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "a" }.joined()
      }
      guard let list = try? PatternList(patterns) else { continue }
      for path in paths {
        let elements = path.split(separator: "/")
        for count in 1..<max(elements.count, 1) {
          let folder = elements[..<count].joined(separator: "/")
          let isHidden = walk(list, to: folder) && list.canPrune(excludedFolder: folder) && !walk(list, to: path)
          #expect(!isHidden, "\(patterns): \(folder) was pruned, \(path) is kept")
        }
      }
    }
  }

  @Test func isFast() throws {
    let list = try PatternList([
      ".git", "node_modules", "**/*.log", "**/.DS_Store", "dist/**", "*.md", "!README.md", "**/__pycache__", "build/*/tmp", "**/*.tmp.*", "coverage", ".env*",
    ])
    let paths = (0..<20_000).map { "packages/module\($0 % 100)/src/component\($0)/index.test.ts" }
    let clock = ContinuousClock()
    var excluded = 0
    let time = clock.measure { for path in paths where list.visit(path, in: PatternList.Folder()).isExcluded { excluded += 1 } }
    #expect(excluded == 0)
    // A debug build on a busy machine; a release build takes a few milliseconds.
    #expect(time < .seconds(5))
    print("PathPatterns: 20,000 paths against 12 patterns in \(time)")
  }
}

/// An expectation that shows its words and not the automata.
private func expect(_ condition: Bool, _ what: String, at location: SourceLocation = #_sourceLocation) {
  #expect(condition, Comment(rawValue: what), sourceLocation: location)
}

/// A small generator with a fixed course (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
