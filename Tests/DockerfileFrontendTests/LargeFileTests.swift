import BuildInterface
import DockerfileSyntax
import Foundation
import LLB
import Synchronization
import Testing

@testable import DockerfileFrontend

/// Files larger than anyone writes by hand cost what their size says, and hostile ones no more.
@Suite struct LargeFileTests {
  private func converted(_ dockerfile: String, _ attributes: [String: String] = [:]) async throws -> (operations: Int, history: Int) {
    let trial = try Trial(dockerfile)
    let gateway = trial.gateway(attributes)
    let result = try await DockerfileFrontend().build(gateway)
    let config = result.targets.first.flatMap { String(decoding: $0.imageConfig, as: UTF8.self) } ?? ""
    return (gateway.definitions.withLock { $0.map(\.def.count).max() ?? 0 }, config.components(separatedBy: "\"created_by\"").count - 1)
  }

  @Test func manyInstructions() async throws {
    let count = 3000
    var text = "FROM scratch\n"
    for i in 0..<count { text += ["COPY a\(i) /b\(i)\n", "ENV V\(i)=x$V\(i - 1)\n", "LABEL l\(i)=y\n", "WORKDIR /w\(i)\n"][i % 4] }
    let (operations, history) = try await converted(text)
    // One file operation for each COPY and WORKDIR, the context, and the last one that names the result.
    #expect(operations == count / 2 + 2)
    #expect(history == count)
  }

  @Test func manyStages() async throws {
    var text = ""
    for i in 0..<1000 { text += "FROM scratch AS s\(i)\n" + (i > 0 ? "COPY --from=s\(i - 1) /a /b\n" : "COPY a /a\n") }
    #expect(try await converted(text).operations == 1002)
  }

  /// What is told of a hostile file, and what is looked for to tell it, is bounded.
  @Test func manyFindings() throws {
    let log = CheckLog()
    let scope = CheckScope(log: log)
    var origin = InstructionOrigin(keyword: "ENV", code: String(repeating: "x", count: 1 << 20), range: SourceRange(lines: 1...50_000))
    for i in 0..<1000 { scope.report(.undefinedVar, "number \(i)", in: origin, variable: "A", escape: "\\") }
    #expect(log.findings.count == CheckLog.maximumLines / 50_000)
    #expect(log.work.searched <= CheckLog.maximumSearch)
    #expect(scope.failures(includingOwn: true).isEmpty && log.rules == [.undefinedVar])
    origin.range = SourceRange(lines: 1...1)
    let names = (0..<1000).map { "NAME_\($0)" }
    for i in 0..<5000 { _ = scope.nearest(to: "NAMES_\(i)", among: names) }
    #expect(log.work.compared <= CheckLog.maximumComparisons)
  }

  /// Long words and many names: `checkUndefined` once took minutes over them.
  @Test func suggestionsOfLongWords() {
    let long = String(repeating: "a", count: 100_000)
    #expect(Suggestion.nearest(to: long, among: [long + "b"]) == nil)
    let names = (0..<5000).map { "VARIABLE_NUMBER_\($0)_" + String(repeating: "x", count: 200) }
    #expect(Suggestion.nearest(to: "VARIABLE_NUMBR_4999_" + String(repeating: "x", count: 200), among: names) == names[4999])
  }

  /// Prints how long each step takes over the files that MANIFOLD_PERF names, separated by colons.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["MANIFOLD_PERF"] != nil)) func measures() async throws {
    for path in (ProcessInfo.processInfo.environment["MANIFOLD_PERF"] ?? "").split(separator: ":").map(String.init) {
      let bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
      let clock = ContinuousClock()
      var tree: SyntaxTree?
      let parsing = try clock.measure { tree = try SyntaxTree.parse(bytes: bytes) }
      let building = try clock.measure { _ = try Dockerfile(#require(tree)) }
      let text = String(decoding: bytes, as: UTF8.self)
      let build = try await clock.measure { _ = try await converted(text) }
      let lint = try await clock.measure { _ = try await converted(text, ["requestid": "frontend.lint"]) }
      print("PERF \(path): parse \(parsing), instructions \(building), build \(build), lint \(lint)")
    }
  }
}
