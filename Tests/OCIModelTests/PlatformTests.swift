import Foundation
import OCIModel
import Testing

/// Golden/platforms.tsv was made with containerd's platforms package (v1.0.0-rc.4) on linux/amd64:
/// `parse`: text, parsed, formatted, formatted in full, normalised, and that in full; `candidate`: the platforms that the lines after are about;
/// `only`, `strict`, `ordered`, `any`: what was wanted, one bit a candidate for "matches", and one bit a pair, in hexadecimal digits with
/// `c{n}` for n times c, for "is before".
@Suite struct PlatformGoldenTests {
  let lines: [[String]]
  init() throws {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/platforms.tsv")
    lines = try String(contentsOf: path, encoding: .utf8).split(separator: "\n").map { $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init) }
  }

  static func show(_ p: Platform) -> String { [p.os, p.architecture, p.variant, p.osVersion, p.osFeatures.joined(separator: ",")].joined(separator: "|") }
  static func platform(_ text: String) -> Platform {
    let f = text.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
    return Platform(os: f[0], architecture: f[1], variant: f[2], osVersion: f[3], osFeatures: f[4].isEmpty ? [] : f[4].split(separator: ",").map(String.init))
  }

  @Test func parsesAndFormats() {
    let host = Platform(os: "linux", architecture: "amd64")
    var count = 0
    for line in lines where line[0] == "parse" {
      count += 1
      let parsed = try? Platform(parsing: line[1], default: host)
      guard line[2] != "error" else {
        #expect(parsed == nil, "\(line[1])")
        continue
      }
      let got = parsed.map { [PlatformGoldenTests.show($0), $0.description, $0.fullDescription, PlatformGoldenTests.show($0.normalized), $0.normalized.fullDescription] }
      #expect(got == Array(line[2...6]), "\(line[1])")
    }
    #expect(count > 300)
  }

  @Test func matchesAndOrders() {
    let candidates = lines.filter { $0[0] == "candidate" }.map { PlatformGoldenTests.platform($0[2]) }
    var count = 0
    for line in lines where ["only", "strict", "ordered", "any"].contains(line[0]) {
      count += 1
      let wanted = line[1].isEmpty ? [] : line[1].split(separator: ";").map { PlatformGoldenTests.platform(String($0)) }
      let matcher: PlatformMatcher =
        switch line[0] {
        case "only": PlatformMatcher(only: wanted[0])
        case "strict": PlatformMatcher(exactly: wanted[0])
        case "ordered": PlatformMatcher(ordered: wanted)
        default: PlatformMatcher(anyOf: wanted)
        }
      #expect(candidates.map { matcher.matches($0) ? "1" : "0" }.joined() == line[2], "\(line[0]) \(line[1])")
      let expected = PlatformGoldenTests.bits(line[3])
      var wrong: [String] = []
      for (i, a) in candidates.enumerated() {
        for (j, b) in candidates.enumerated() where matcher.isBetter(a, than: b) != expected[i * candidates.count + j] {
          wrong.append("\(PlatformGoldenTests.show(a)) < \(PlatformGoldenTests.show(b))")
        }
      }
      #expect(wrong.isEmpty, "\(line[0]) \(line[1]): \(wrong.prefix(3))")
    }
    #expect(count > 100)
  }

  static func bits(_ text: String) -> [Bool] {
    var out: [Bool] = [], rest = text[...]
    while let c = rest.popFirst() {
      var times = 1
      if rest.first == "{", let end = rest.firstIndex(of: "}") {
        times = Int(rest[rest.index(after: rest.startIndex)..<end]) ?? 0
        rest = rest[rest.index(after: end)...]
      }
      let value = c.hexDigitValue ?? 0
      for _ in 0..<times { out += [value & 8 != 0, value & 4 != 0, value & 2 != 0, value & 1 != 0] }
    }
    return out
  }
}

@Suite struct PlatformChoiceTests {
  func index(_ platforms: [String?]) throws -> ImageIndex {
    ImageIndex(
      manifests: try platforms.enumerated().map { i, text in
        var descriptor = Descriptor(mediaType: .ociManifest, of: Array("\(i)".utf8))
        descriptor.platform = try text.map { $0 == "unknown" ? Platform(os: "unknown", architecture: "unknown") : try Platform(parsing: $0) }
        return descriptor
      })
  }

  @Test(arguments: [
    ("linux/amd64", ["linux/arm64", "linux/386", "linux/amd64"], 2), ("linux/amd64", ["linux/arm64", "linux/386", "unknown"], 1),
    ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1), ("linux/arm64", ["linux/arm/v5", "linux/arm/v7", "linux/amd64"], 1),
    ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8", "linux/arm64"], 1), ("linux/arm/v6", ["linux/arm/v7", "linux/arm64"], nil), ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v5"], 0),
    ("linux/riscv64", [nil, "unknown"], nil), ("windows(10.0.20348.5)/amd64", ["windows(10.0.17763.1)/amd64", "windows(10.0.20348.9)/amd64"], 1),
    ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
  ] as [(String, [String?], Int?)])
  func chooses(_ wanted: String, _ entries: [String?], _ expected: Int?) throws {
    let index = try index(entries)
    #expect(index.manifest(for: try Platform(parsing: wanted)) == expected.map { index.manifests[$0] })
  }

  @Test func entriesWithoutAPlatformComeLast() throws {
    let index = try index([nil, "linux/arm/v6", "linux/amd64", "linux/arm/v7", nil])
    #expect(index.candidates(for: PlatformMatcher(only: try Platform(parsing: "linux/arm/v7"))) == [3, 1, 0, 4].map { index.manifests[$0] })
    #expect(index.candidates(for: .all).count == 5)
    #expect(index.platforms.count == 3)
  }

  @Test func namesTheNearest() throws {
    let all = try ["windows/amd64", "linux/s390x", "linux/arm64", "linux/386", "linux/s390x", "darwin/amd64", "linux/amd64/v4"].map { try Platform(parsing: $0) } + [Platform(os: "unknown", architecture: "unknown")]
    #expect(PlatformMatcher.nearest(all, to: try Platform(parsing: "linux/amd64")).map(\.description) == ["linux/386", "linux/amd64/v4", "linux/s390x", "linux/arm64", "windows/amd64", "darwin/amd64"])
  }
}
