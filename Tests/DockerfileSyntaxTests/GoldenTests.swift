import DockerfileSyntax
import Foundation
import Testing

/// One folder a case: a Dockerfile and what is to be understood of it.
///
/// `MANIFOLD_UPDATE_GOLDEN=1` writes the expectations anew. `MANIFOLD_DOCKERFILES=DIR` dumps the cases of another folder into files named
/// `dump` beside them, to compare with another parser.
@Suite struct GoldenTests {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden")
  static let environment = ProcessInfo.processInfo.environment

  static func cases(in folder: URL) -> [URL] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false))) ?? []
    return names.sorted().map { folder.appending(path: $0) }
      .filter { FileManager.default.fileExists(atPath: $0.appending(path: "Dockerfile").path(percentEncoded: false)) }
  }

  @Test(arguments: cases(in: root))
  func understands(_ folder: URL) throws {
    let dump = Dump([UInt8](try Data(contentsOf: folder.appending(path: "Dockerfile")))).text
    let expected = folder.appending(path: "expected")
    if GoldenTests.environment["MANIFOLD_UPDATE_GOLDEN"] != nil {
      try Data(dump.utf8).write(to: expected)
      return
    }
    #expect(dump == String(decoding: try Data(contentsOf: expected), as: UTF8.self), "\(folder.lastPathComponent)")
  }

  @Test func corpusIsThere() {
    #expect(GoldenTests.cases(in: GoldenTests.root).count >= 40)
  }

  @Test(.enabled(if: environment["MANIFOLD_DOCKERFILES"] != nil))
  func dumpsOthers() throws {
    for folder in GoldenTests.cases(in: URL(filePath: GoldenTests.environment["MANIFOLD_DOCKERFILES"] ?? "/nonexistent")) {
      let bytes = [UInt8](try Data(contentsOf: folder.appending(path: "Dockerfile")))
      try Data(Dump(bytes).text.utf8).write(to: folder.appending(path: "dump"))
    }
  }
}
