import Foundation
import Testing

@testable import FuzzTargets

/// Inputs that the fuzzers started from, reached more code with or found something with, run once each: what was mended stays so.
struct CorpusTests {
  static let corpus = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "Fuzz/Corpus")

  @Test(arguments: FuzzTarget.all) func holds(_ target: FuzzTarget) throws {
    let folder = Self.corpus.appending(path: target.name)
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil).sorted { $0.path < $1.path }
    #expect(!files.isEmpty, "no inputs in \(folder.path)")
    for file in files {
      let input = [UInt8](try Data(contentsOf: file))
      #expect(throws: Never.self, "\(file.lastPathComponent)") { try target.run(input) }
    }
    try target.run([])
  }

  /// A folder of a target that is gone would be replayed by nobody.
  @Test func everyFolderHasATarget() throws {
    let names = Set(FuzzTarget.all.map(\.name))
    for folder in try FileManager.default.contentsOfDirectory(atPath: Self.corpus.path) { #expect(names.contains(folder), "Fuzz/Corpus/\(folder)") }
  }
}
