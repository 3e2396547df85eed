@testable import BuildEngine
import BuildInterface
import BuildKitProto
import BuildProgress
import ContentStore
import Foundation
import OCIModel
import SwiftProtobuf
import Testing

/// Builds' records: what is kept, what clients are told, what goes when.
@Suite struct BuildRecordsTests {
  private typealias Record = BuildRecords.Record

  private func withRecords(_ limits: RecordLimits = RecordLimits(), _ body: (BuildRecords, String) async throws -> Void) async throws {
    let root = FileManager.default.temporaryDirectory.appendingPathComponent("records-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: root) }
    let store = try await ContentStore.open(root: root, migrations: Engine.migrations)
    do { try await body(BuildRecords(store: store, limits: limits), root) } catch {
      try await store.close()
      throw error
    }
    try await store.close()
  }

  private func record(_ ref: String, created: Int64 = 100, completed: Int64? = 200, error: String? = nil, attributes: [String: String] = [:]) -> Record {
    var out = Record()
    out.ref = ref
    out.createdAt = Timestamp(seconds: created).message
    if let completed { out.completedAt = Timestamp(seconds: completed).message }
    if let error { out.error.message = error }
    out.frontendAttrs = attributes
    return out
  }

  private func listed(_ records: BuildRecords, _ change: (inout Moby_Buildkit_V1_BuildHistoryRequest) -> Void = { _ in }) async throws -> [String] {
    var request = Moby_Buildkit_V1_BuildHistoryRequest()
    request.earlyExit = true
    change(&request)
    var out: [String] = []
    try await records.listen(request) { out.append("\($0.type) \($0.record.ref)") }
    return out
  }

  @Test func aRecordIsThereForTheNextProcessToo() async throws {
    try await withRecords { records, root in
      var one = record("one")
      let said = Array("log".utf8)
      one.logs.digest = Digest.sha256(of: said).description
      records.begin(one)
      #expect(try await listed(records) == ["started one"])
      #expect(try await listed(records) { $0.activeOnly = true } == ["started one"])
      try await records.complete(one, blobs: [said])
      #expect(try await listed(records) == ["complete one"])
      #expect(try await listed(records) { $0.activeOnly = true } == [])
      let again = try await ContentStore.open(root: root, migrations: Engine.migrations)
      let other = BuildRecords(store: again)
      #expect(try await other.record("one") == one)
      #expect(try await other.blob(.sha256(of: said)) == said)
      #expect(try await other.blobs().map(\.size) == [3])
      #expect(try await listed(other) { $0.ref = "two" } == [])
      try await again.close()
    }
  }

  @Test func eventsReachWhoeverListens() async throws {
    try await withRecords { records, _ in
      let (stream, told) = AsyncStream.makeStream(of: String.self)
      let listener = Task {
        try await records.listen(.init()) { told.yield("\($0.type) \($0.record.ref)\($0.record.pinned ? " pinned" : "") \($0.record.generation)") }
      }
      var iterator = stream.makeAsyncIterator(), last = ""
      // The first event says that the listener is there: it may have come too late for its beginning, and is then told of what it finds as well.
      func next() async -> String {
        while let event = await iterator.next() {
          if event != last {
            last = event
            return event
          }
        }
        return ""
      }
      records.begin(record("a"))
      #expect(await next() == "started a 0")
      try await records.complete(record("a"), blobs: [])
      #expect(await next() == "complete a 0")
      var pin = Moby_Buildkit_V1_UpdateBuildHistoryRequest()
      (pin.ref, pin.pinned) = ("a", true)
      try await records.update(pin)
      #expect(await next() == "complete a pinned 1")
      var removal = Moby_Buildkit_V1_UpdateBuildHistoryRequest()
      (removal.ref, removal.delete) = ("a", true)
      try await records.update(removal)
      #expect(await next() == "deleted a 0")
      records.begin(record("b"))
      #expect(await next() == "started b 0")
      // Who stops serving tells the end of what is under way first.
      records.stop()
      try await records.complete(record("b"), blobs: [])
      #expect(await next() == "complete b 0")
      try await listener.value
      let error = await #expect(throws: BuildError.self) { try await records.update(removal) }
      #expect(error?.code == .notFound)
    }
  }

  @Test func aListenerEndsWithItsTask() async throws {
    try await withRecords { records, _ in
      let listener = Task { try await records.listen(.init()) { _ in } }
      listener.cancel()
      await #expect(throws: CancellationError.self) { try await listener.value }
    }
  }

  @Test func whatIsBothOldAndTooManyGoesWithItsBlobs() async throws {
    try await withRecords(RecordLimits(age: 1000, entries: 2)) { records, _ in
      var pinned = record("pinned", completed: 1)
      pinned.pinned = true
      let shared = Array("shared".utf8)
      try await records.complete(pinned, blobs: [Array("of pinned".utf8), shared])
      for i in 0..<4 { try await records.complete(record("b\(i)", completed: 10 + Int64(i)), blobs: [Array("of \(i)".utf8), shared]) }
      // Too many, and none too old.
      #expect(try await listed(records).count == 5)
      try await records.complete(record("late", completed: 1012), blobs: [])
      #expect(try await listed(records) == ["complete b2", "complete b3", "complete late", "complete pinned"])
      #expect(try await records.blob(.sha256(of: "of 0")) == nil)
      #expect(try await records.blob(.sha256(of: "of 2")) != nil)
      #expect(try await records.blob(.sha256(of: "shared")) != nil)
      // Two are kept however old.
      try await records.complete(record("later", completed: 9_000), blobs: [])
      #expect(try await listed(records) == ["complete late", "complete later", "complete pinned"])
    }
  }

  @Test(arguments: [
    (["ref==foo"], 2, []), (["ref~=foo"], 2, ["foo789", "foo123"]), (["repository!=testrepo"], 2, ["bar456", "foo123"]),
    (["repository==https://github.com/user/repo.git"], 2, ["bar456"]), (["ref!=notexist"], 2, ["foo789", "bar456"]),
    (["status==completed"], 0, ["foo123", "foo789"]), (["status==running"], 0, ["bar456"]), (["ref~=^foo[1-3]+"], 0, ["foo123"]), (["ref~=(foo)"], 0, nil),
    (["startedAt>22h30m"], 0, ["foo789"]), (["startedAt>=24h,ref!=bar456"], 0, ["foo123", "foo789"]), (["duration>5m"], 0, ["foo789"]), (["duration<=5m", "ref==foo789"], 0, ["foo123", "bar456", "foo789"]),
    (["completedAt<2020-01-01T00:00:00Z"], 0, ["bar456"]), (["status"], 1, ["foo789"]), (["startedAt>yesterday"], 0, nil), (["ref=>"], 0, nil), ([#"ref=="foo123""#], 0, ["foo123"]),
    (["ref==foo123,status==error"], 0, []), ([String(repeating: "a", count: 5000)], 0, nil),
  ] as [([String], Int, [String]?)])
  func filtersChoose(filters: [String], limit: Int, expected: [String]?) throws {
    let now: Int64 = 1_800_000_000, start = now - 24 * 3600
    let records = [
      record("foo123", created: start, completed: start + 60),
      record("bar456", created: start + 3600, completed: nil, attributes: ["context": "https://github.com/user/repo.git#abcdef123"]),
      record("foo789", created: start + 7200, completed: start + 7800, attributes: ["vcs:source": "testrepo"]),
    ]
    guard let expected else {
      #expect(throws: BuildError.self) { try HistoryFilter(filters, now: now) }
      return
    }
    #expect(try HistoryFilter(filters, now: now).select(records, limit: limit).map(\.ref) == expected)
  }

  @Test func patternsAreSearchedInBoundedTime() throws {
    for (pattern, text, found) in [
      ("b+c", "abbbc", true), ("^b", "ab", false), ("a$", "ba", true), ("a$", "ab", false), ("x|^ab?c$", "ac", true), ("[^a-c]", "abc", false), ("[^a-c]", "abcd", true), ("a.c", "abc", true),
      (#"a\.c"#, "abc", false), ("", "anything", true), ("a*", "", true),
    ] {
      let compiled = try #require(RecordPattern(pattern))
      #expect(compiled.isFound(in: text) == found, "\(pattern) in \(text)")
    }
    for bad in ["(a)", "a{2}", "*a", "a**", "[a", #"\d"#, "[b-a]"] { #expect(RecordPattern(bad) == nil, "\(bad)") }
    let hostile = try #require(RecordPattern(String(repeating: "a*", count: 50) + "b"))
    #expect(!hostile.isFound(in: String(repeating: "a", count: 2000)))
  }

  @Test func logsAreKeptInBuildKitsFormAndBounded() throws {
    let log = StatusLog(), vertex = Digest.sha256(of: "v"), time = Timestamp(seconds: 7, nanoseconds: 8)
    let began = ProgressVertex(digest: vertex, inputs: [.sha256(of: "w")], name: "RUN x", started: time, progressGroup: ProgressGroup(id: "g", name: "group", weak: true))
    var done = began
    (done.completed, done.error, done.cached) = (Timestamp(seconds: 9), "no", true)
    let warning = VertexWarning(
      vertex: vertex, short: "short", detail: ["d"], url: "u", sourceInfo: WarningSource(filename: "f", data: [1], language: "l"),
      ranges: [WarningRange(start: .init(line: 1), end: .init(line: 2, character: 3))])
    log.append(ProgressEvent(vertices: [began]))
    for i in 1...3 { log.append(ProgressEvent(statuses: [VertexStatus(id: "s", vertex: vertex, name: "n", total: 3, current: Int64(i), timestamp: time, started: time)])) }
    log.append(ProgressEvent(vertices: [done], logs: [VertexLog(vertex: vertex, timestamp: time, stream: 2, message: [0xff, 10])], warnings: [warning]))
    let told = ProgressEvent(try #require(StatusLog.messages(log.bytes).first))
    #expect(told.vertices == [began, done])
    // Of a growing measure the last.
    #expect(told.statuses.map(\.current) == [3])
    #expect(told.logs == [VertexLog(vertex: vertex, timestamp: time, stream: 2, message: [0xff, 10])])
    #expect(told.warnings == [warning])
    #expect(log.figures == .init(cached: 1, completed: 1, total: 1, warnings: 1))
    for _ in 0..<30 { log.append(ProgressEvent(logs: [VertexLog(vertex: vertex, timestamp: time, stream: 1, message: Array(repeating: 65, count: 100_000))])) }
    let logs = try StatusLog.messages(log.bytes).flatMap(\.logs)
    #expect(logs.reduce(0) { $0 + $1.msg.count } < StatusLog.stepLimit + 100)
    let end = String(decoding: logs.last?.msg ?? Data(), as: UTF8.self)
    #expect(end.hasSuffix("[output clipped, log limit 2MiB reached]\n"))
    for i in 0..<20 {
      for _ in 0..<20 { log.append(ProgressEvent(logs: [VertexLog(vertex: .sha256(of: "\(i)"), timestamp: time, stream: 1, message: Array(repeating: 65, count: 100_000))])) }
    }
    #expect(log.bytes.count < StatusLog.limit + (1 << 20))
  }

  @Test func attributesAreKeptWithoutSecrets() {
    let kept = RecordDraft.attributes([
      "build-arg:NPM_TOKEN": "hunter22", "label:note": "uses hunter22", "context": "https://me:pw@example.com/repo.git", "filename": "Dockerfile", "context:base": "oci-layout://a@sha256:1",
    ])
    #expect(kept["build-arg:NPM_TOKEN"] == "REDACTED")
    #expect(kept["label:note"] == "uses REDACTED")
    #expect(kept["context"]?.contains("pw") == false)
    #expect(kept["filename"] == "Dockerfile")
    #expect(kept["context:base"] == "oci-layout://a@sha256:1")
  }

  @Test func aDraftBecomesARecord() async throws {
    try await withRecords { records, _ in
      let draft = RecordDraft(SolveRequest(ref: "r", frontend: "dockerfile.v0", exports: [ExportRequest(type: "image", attributes: ["name": "x"])]), in: records) { error in
        var out = RecordDraft.plainStatus(error)
        out.details = [Google_Protobuf_Any()]
        return out
      }
      #expect(records.isActive("r"))
      draft.log.append(ProgressEvent(vertices: [ProgressVertex(digest: .sha256(of: "v"), name: "v", started: Timestamp(seconds: 1), completed: Timestamp(seconds: 2))]))
      draft.add(provenance: ["a": 1], type: "https://slsa.dev/provenance/v1", target: "linux/amd64")
      await draft.finish(BuildError(.failedPrecondition, .build, "it broke"))
      let record = try #require(try await records.record("r"))
      #expect(!records.isActive("r"))
      #expect(record.error.message == "it broke")
      #expect(record.error.code == 9)
      #expect(record.error.details.isEmpty)
      #expect(record.exporters.map(\.type) == ["image"])
      #expect(record.numCompletedSteps == 1)
      let failure = try #require(Digest(record.externalError.digest))
      let blob = try #require(try await records.blob(failure))
      #expect(try Google_Rpc_Status(serializedBytes: blob).details.count == 1)
      let attestation = try #require(record.results["linux/amd64"]?.attestations.first)
      #expect(attestation.annotations == ["in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"])
      let predicate = try #require(Digest(attestation.digest))
      #expect(try await records.blob(predicate) == Array("{\n  \"a\": 1\n}".utf8))
      #expect(try await records.log(of: "r")?.flatMap(\.vertexes).map(\.name) == ["v"])
      #expect(try await records.log(of: "none") == nil)
      let spans = try #require(Digest(record.trace.digest))
      let trace = String(decoding: try #require(try await records.blob(spans)), as: UTF8.self)
      #expect(trace.contains("\"Name\": \"v\""))
    }
  }
}
