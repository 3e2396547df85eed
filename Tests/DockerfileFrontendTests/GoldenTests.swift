import BuildInterface
import BuildKitProto
import LLB
import OCIModel
import SwiftProtobuf
import Synchronization
import Testing

@testable import DockerfileFrontend

/// Every case of the corpus: the same vertices in the same order, names, metadata, lines and image configs as BuildKit's own
/// frontend gave (made once with its Go code; Golden/*/expected.json).
@Suite struct GoldenTests {
  @Test(arguments: GoldenCase.all) func sameAsBuildKit(_ golden: GoldenCase) async throws {
    let expected = try golden.expected()
    let gateway = try golden.gateway()
    let result: FrontendResult
    do {
      result = try await DockerfileFrontend().build(gateway)
    } catch let error as BuildError {
      #expect(expected["error"] != nil, "unexpected error: \(error)")
      compare(error, with: expected)
      return
    }
    try #require(expected["error"] == nil, "expected the error \(expected["error"]?.stringValue ?? "")")
    compare(gateway.definitions.withLock { $0 }, with: expected["solves"]?.arrayValue ?? [])
    compare(result, with: expected)
    let lookups = (expected["resolves"]?.arrayValue ?? []).map { r in ["Ref", "LogName", "Platform", "Mode"].map { r[$0]?.stringValue ?? "" }.joined(separator: " ") }
    #expect(Set(gateway.lookups.withLock { $0 }) == Set(lookups))
  }

  @Test func corpusIsThere() { #expect(GoldenCase.all.count >= 200) }

  private func compare(_ error: BuildError, with expected: JSONValue) {
    // The words are our own; the place is BuildKit's where it gives one.
    if let place = expected["errorAt"]?.arrayValue?.first?.stringValue {
      let ours = error.sources.first.map { "\($0.filename):\($0.lines.lowerBound)-\($0.lines.upperBound)" }
      #expect(ours == place, "\(error)")
    }
    #expect(!error.message.isEmpty)
  }

  private struct Vertex: Equatable, CustomStringConvertible {
    var digest: String, name: String, command: String?, ignoresCache: Bool, caps: Set<String>, lines: [String]
    var description: String { "\(digest.prefix(19)) \(name) cmd=\(command ?? "nil") nocache=\(ignoresCache) caps=\(caps.sorted()) lines=\(lines)" }
  }

  private func compare(_ definitions: [Pb_Definition], with expected: [JSONValue]) {
    let theirs = expected.map { solve in
      (solve["ops"]?.arrayValue ?? []).map { op in
        Vertex(
          digest: op["digest"]?.stringValue ?? "", name: op["meta"]?["description"]?["llb.customname"]?.stringValue ?? "",
          command: op["meta"]?["description"]?["com.docker.dockerfile.v1.command"]?.stringValue, ignoresCache: op["meta"]?["ignore_cache"]?.boolValue ?? false,
          caps: Set(op["meta"]?["caps"]?.objectValue?.keys ?? []), lines: op["lines"]?.arrayValue?.compactMap(\.stringValue) ?? [])
      }
    }.sorted { key($0) < key($1) }
    let ours = definitions.map(vertices).filter { !$0.isEmpty }.sorted { key($0) < key($1) }
    let wanted = theirs.filter { !$0.isEmpty }
    #expect(ours.count == wanted.count, "number of definitions")
    for (mine, wanted) in zip(ours, wanted) where mine != wanted {
      let ops = definitions.flatMap(\.def).reduce(into: [String: Pb_Op]()) { if let op = try? Pb_Op(serializedBytes: $1) { $0[Digest.sha256(of: $1).description] = op } }
      for i in 0..<max(mine.count, wanted.count) {
        let a = i < mine.count ? mine[i] : nil, b = i < wanted.count ? wanted[i] : nil
        if a != b {
          Issue.record("vertex \(i)\n  ours   \(a.map { "\($0)" } ?? "none")\n  theirs \(b.map { "\($0)" } ?? "none")\n\(a.flatMap { ops[$0.digest] }.map { "\($0)" } ?? "")")
          break
        }
      }
    }
  }

  private func key(_ vertices: [Vertex]) -> String { vertices.map { $0.name.isEmpty ? "~" : $0.name }.joined(separator: "\n") + vertices.map(\.digest).joined() }

  private func vertices(_ proto: Pb_Definition) -> [Vertex] {
    proto.def.map { bytes in
      let digest = Digest.sha256(of: bytes).description
      let metadata = proto.metadata[digest] ?? Pb_OpMetadata()
      let lines = (proto.source.locations[digest]?.locations ?? []).flatMap { location in
        location.ranges.map { "\($0.start.line):\($0.start.character)-\($0.end.line)@\(location.sourceIndex)" }
      }
      return Vertex(
        digest: digest, name: metadata.description_p["llb.customname"] ?? "", command: metadata.description_p["com.docker.dockerfile.v1.command"],
        ignoresCache: metadata.ignoreCache, caps: Set(metadata.caps.keys), lines: lines)
    }
  }

  private func compare(_ result: FrontendResult, with expected: JSONValue) {
    var metadata: [String: String] = [:]
    for (key, value) in expected["metadata"]?.objectValue?.members ?? [] { metadata[key] = value.stringValue }
    var ours = result.metadata.mapValues { String(decoding: $0, as: UTF8.self) }
    var refs: [String: String] = [:]
    for target in result.targets {
      let suffix = result.isMultiPlatform ? "/" + target.id : ""
      ours["containerimage.config" + suffix] = String(decoding: target.imageConfig, as: UTF8.self)
      if let base = target.baseImageConfig { ours["containerimage.base.config" + suffix] = String(decoding: base, as: UTF8.self) }
      refs[result.isMultiPlatform ? target.id : ""] = (target.reference as? FakeReference)?.head?.description ?? ""
    }
    for key in Set(ours.keys).union(metadata.keys).sorted() { #expect(ours[key] == metadata[key], "metadata \(key)") }
    var wanted: [String: String] = [:]
    for (id, head) in expected["refs"]?.objectValue?.members ?? [] { wanted[id] = head.stringValue }
    if expected["refs"] == nil { wanted[""] = expected["ref"]?.stringValue ?? "" }
    #expect(refs == wanted)
  }
}
