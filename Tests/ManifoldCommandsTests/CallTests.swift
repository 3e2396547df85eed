import BuildInterface
import Foundation
import OCIModel
import Testing

@testable import ManifoldCommands

/// Questions to the frontend: what buildx makes of `--call`, and how it prints the answers (recorded, in the frontend's corpus).
@Suite struct CallTests {
  static let corpus = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "DockerfileFrontendTests/Golden/checks")

  static let cases: [String] = ((try? FileManager.default.contentsOfDirectory(atPath: corpus.path)) ?? []).filter {
    FileManager.default.fileExists(atPath: corpus.appending(path: $0).appending(path: "check.txt").path)
  }.sorted()

  private func bytes(_ name: String, _ file: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: Self.corpus.appending(path: name).appending(path: file))) }

  @Test func corpusIsThere() { #expect(Self.cases.count >= 80) }

  @Test(arguments: cases) func checksArePrintedAsBuildxDoes(_ name: String) throws {
    let json = Array(try bytes(name, "check.json").dropLast())
    let facts = try JSONValue(parsing: bytes(name, "case.json"))["calls"]?["check"]
    let status = facts?["rc"]?.intValue ?? -1
    let documents = ["result.json": json, "result.statuscode": Array("\(status)".utf8)]
    let call = try #require(try CallSpec(parsing: "check"))
    let answer = try CallAnswer(call: call, documents: documents, fileName: "Dockerfile").rendered()
    let expected = try bytes(name, "check.txt")
    #expect(Array(answer.output.utf8) == expected)
    #expect(answer.status == Int32(status))
    // Of a run that failed late, buildx's own log lines stand before the error.
    if let error = answer.error { #expect(facts?["stderr"]?.stringValue?.hasSuffix("ERROR: \(error)\n") == true) }
    let asJSON = try CallAnswer(call: #require(try CallSpec(parsing: "check,format=json")), documents: documents, fileName: "Dockerfile").rendered()
    #expect(asJSON.output == String(decoding: try bytes(name, "check.json"), as: UTF8.self))
  }

  @Test func spellings() throws {
    #expect(try CallSpec(parsing: "build") == nil && CallSpec(parsing: "") == nil)
    #expect(try CallSpec(parsing: "check")?.name == "lint" && CallSpec(parsing: "lint")?.name == "lint")
    let spec = try #require(try CallSpec(parsing: "outline,format=json,ignorestatus=true"))
    #expect(spec.name == "outline" && spec.isJSON && spec.ignoresStatus)
    #expect(spec.attributes["requestid"] == "frontend.outline")
    for wrong in ["chekc", "outline,targets", "check,format=xml", "check,colour=red", "check,ignorestatus=perhaps", "format=json"] {
      #expect(throws: BuildError.self, "\(wrong)") { _ = try CallSpec(parsing: wrong) }
    }
  }

  @Test func nothingIsMadeOfAQuestion() throws {
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    for arguments in [["--check", "-t", "a", "--push", "."], ["--call=check", "-o", "out", "."], ["--print", "lint", "."]] {
      let made = try plan(arguments, in: scratch)
      #expect(made.call?.name == "lint" && made.request.exports.isEmpty && made.loads.isEmpty && made.warnings.isEmpty)
      #expect(made.request.frontendAttributes["requestid"] == "frontend.lint")
    }
    #expect(try plan(["--call", "build", "."], in: scratch).call == nil)
    #expect(try plan(["--check", "."], in: scratch).shownDockerfile == "Dockerfile")
  }

  @Test func statusAndItsAbsence() throws {
    let json = Array(#"{"warnings":[{"ruleName":"R","detail":"d","location":{}}],"sources":[{"filename":"Dockerfile","data":"RlJPTSBhCg=="}]}"#.utf8)
    let documents = ["result.json": json, "result.statuscode": Array("1".utf8)]
    func status(_ text: String) throws -> Int32 {
      try CallAnswer(call: #require(try CallSpec(parsing: text)), documents: documents, fileName: "x").rendered().status
    }
    #expect(try status("check") == 1 && status("check,format=json") == 1 && status("check,ignorestatus=true") == 0)
  }
}
