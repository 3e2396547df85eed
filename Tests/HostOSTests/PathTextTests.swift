import HostOS
import Testing

@Suite struct PathTextTests {
  @Test(arguments: [
    Array("plain/ascii.txt".utf8), Array("é日本🐳".utf8), [0xFF], [0x61, 0x80, 0x62], [0xC3], [0xE2, 0x82], [0xF0, 0x9F, 0x90], [0xC0, 0xAF], [0xED, 0xA0, 0x80],
    [0xF4, 0x90, 0x80, 0x80], Array("\u{10FF2F}\u{10FF80}\u{10FFFF}\u{10FFFE}\u{10FF7F}".utf8), [0xF4, 0x8F, 0xBE, 0x80], [0xF4, 0x8F, 0xBE], [], [0xF5, 0x80, 0x80, 0x80],
  ]) func everyNameComesBack(bytes: [UInt8]) { #expect(PathText.bytes(PathText.decode(bytes)) == bytes) }

  @Test func randomNamesComeBackAndStayDistinct() {
    var random = SystemRandomNumberGenerator()
    var seen: [[UInt8]: [UInt8]] = [:]
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0..<8, using: &random)).map { _ in
        [UInt8.random(in: 0...255, using: &random), 0xF4, 0x8F, 0xBE, 0xBF, 0x80, 0xC3].randomElement(using: &random)!
      }
      let decoded = PathText.decode(bytes)
      #expect(PathText.bytes(decoded) == bytes)
      let other = seen.updateValue(bytes, forKey: Array(decoded.utf8))
      #expect(other == nil || other == bytes)
    }
  }

  @Test func validTextIsItself() {
    #expect(PathText.decode(Array("naïve 🐳".utf8)) == "naïve 🐳")
    #expect(!PathText.isEscaped("naïve 🐳"))
    #expect(PathText.isEscaped(PathText.decode([0xFF])))
    // No escape can become a slash, a dot or a NUL.
    #expect(PathText.bytes("\u{10FF2F}\u{10FF00}") == Array("\u{10FF2F}\u{10FF00}".utf8))
  }

  @Test func namesThatAreNotUTF8WorkOnDisk() throws {
    try withScratch { path in
      let directory = try Directory.open(path)
      let name = PathText.decode([0x61, 0xFF, 0xC3])
      try directory.openFile(name, flags: [.writeOnly, .create]).close()
      try directory.symlink(target: name, at: "link")
      #expect(try Set(directory.entries().map(\.name)) == [name, "link"])
      #expect(try PathText.bytes(directory.readLink("link")) == [0x61, 0xFF, 0xC3])
      #expect(try directory.status("link", followLast: true).kind == .regular)
      try directory.unlink(name)
      #expect(try directory.statusIfPresent(name) == nil)
    }
  }

  @Test func nulIsRefused() throws {
    try withScratch { path in
      let directory = try Directory.open(path)
      #expect(code { try directory.makeDirectory("a\0b") } == .invalid)
      #expect(code { _ = try directory.openFile("a\0b") } == .invalid)
      #expect(code { try directory.symlink(target: "x\0y", at: "l") } == .invalid)
    }
  }
}
