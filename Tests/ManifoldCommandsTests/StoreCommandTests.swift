import ArgumentParser
import BuildInterface
@testable import ManifoldCommands
import OCIModel
import Testing

@Suite struct StoreCommandTests {
  @Test(arguments: [
    ("24h", 86_400_000_000_000), ("1h30m", 5_400_000_000_000), ("1.5s", 1_500_000_000), ("100ms", 100_000_000), ("0", 0), ("-1s", -1_000_000_000), ("", nil), ("24", nil), ("h", nil),
    ("1d", nil), ("1.", nil), (".5s", 500_000_000),
  ] as [(String, Int64?)]) func durations(_ text: String, _ expected: Int64?) { #expect(GoDuration.parse(text) == expected) }

  @Test(arguments: [
    ([], [0, 1, 2]), (["type=regular"], [0, 2]), (["type!=regular"], [1]), (["inuse"], [2]), (["inuse=false"], [0, 1]), (["inuse=true"], [2]), (["mutable"], [1]),
    (["immutable"], [0, 2]), (["shared"], [2]), (["private"], [0, 1]), (["id=b"], [1]), (["description~=RUN.*make"], [0]), (["description=RUN make"], [0]),
    (["parents=a"], [2]), (["type=regular", "inuse"], [2]), (["until=1h"], [0]), (["unused-for=1h", "type=x"], []),
  ] as [([String], [Int])]) func filters(_ texts: [String], _ expected: [Int]) throws {
    let records = [
      UsageRecord(id: "a", lastUsed: Timestamp(seconds: 1000), size: 1, description: "RUN make"),
      UsageRecord(id: "b", type: "exec.cachemount", lastUsed: Timestamp(seconds: 9000), mutable: true, size: 2),
      UsageRecord(id: "c", parents: ["a"], lastUsed: Timestamp(seconds: 99_000), inUse: true, shared: true, size: 3),
    ]
    let selected = DuCommand.selected(records, try UsageFilterOption(texts), now: 10_000)
    #expect(selected == expected.map { records[$0] }, "\(texts)")
  }

  @Test(arguments: ["until", "until=x", "colour=red", "type~=(", "inuse=perhaps"]) func wrongFilters(_ text: String) {
    #expect(throws: BuildError.self) { try UsageFilterOption([text]) }
  }
  @Test func aFilterTwice() {
    #expect(throws: BuildError.self) { try UsageFilterOption(["type=a", "type=b"]) }
    #expect(throws: BuildError.self) { try UsageFilterOption(["until=1h", "unused-for=1h"]) }
  }

  @Test(arguments: [
    (nil, .automatic), ("", .automatic), ("auto", .automatic), ("none", .none), ("1g", .bytes(1 << 30)), ("64m", .bytes(64 << 20)), ("50%", .percent(50)),
  ] as [(String?, StoreLimit)]) func limits(_ text: String?, _ expected: StoreLimit) throws {
    #expect(try StoreLimitText.parse(text, [:]) == expected)
    #expect(try StoreLimitText.parse(nil, ["MANIFOLD_STORE_LIMIT": text ?? ""]) == expected)
  }
  @Test(arguments: ["0", "0%", "101%", "much", "-1"]) func wrongLimits(_ text: String) { #expect(throws: BuildError.self) { try StoreLimitText.parse(text, [:]) } }

  @Test func formats() throws {
    func form(_ arguments: [String]) throws -> DuCommand.Form { try DuCommand.parse(arguments).form() }
    #expect(try form([]) == .table && form(["--verbose"]) == .pretty && form(["--format", "{{json .}}"]) == .json && form(["--format=json"]) == .json)
    #expect(try form(["--format", "{{.ID}}"]) == .template("{{.ID}}"))
    for wrong in [["--format", "{{.ID"], ["--format=xml"], ["--verbose", "--format=json"]] { #expect(throws: BuildError.self) { try form(wrong) } }
  }

  @Test func tables() throws {
    let records = [
      UsageRecord(id: "aaa", lastUsed: Timestamp(seconds: 100), usageCount: 2, size: 1_500_000, description: "RUN make\u{1b}[31m"),
      UsageRecord(id: "bbb", parents: ["aaa"], type: "exec.cachemount", mutable: true, inUse: true, shared: true, size: 20),
    ]
    let text = UsageText(now: 700)
    #expect(
      text.table(records) == """
        ID        RECLAIMABLE   SIZE      LAST ACCESSED
        aaa       true          1.5MB     10 minutes ago
        bbb*      false         20B*\u{20}\u{20}\u{20}\u{20}\u{20}\u{20}

        """)
    #expect(
      text.summary(records) == """
        TYPE              RECLAIMABLE   SIZE
        exec.cachemount   0B            20B
        regular           1.5MB         1.5MB

        Shared:\t\t20B
        Private:\t1.5MB
        Reclaimable:\t1.5MB
        Total:\t\t1.5MB

        """)
    #expect(text.pretty(records).hasPrefix("ID:           aaa\nCreated at:   1970-01-01 00:00:00 +0000 UTC\nMutable:      false\nReclaimable:  true\nShared:       false\nSize:         1.5MB\n"))
    #expect(!text.pretty(records).contains("\u{1b}"))
    func templated(_ format: String) throws -> String { try RowTemplate(format)?.text(records.map(text.fields), header: UsageText.headings) ?? "" }
    #expect(try templated("{{.ID}} {{.Size}}{{if .Mutable}} mutable{{end}}") == "aaa 1.5MB\nbbb 20B mutable\n")
    #expect(try templated("table {{.ID}}\\t{{.LastUsedAt}}\\t{{upper .Type}}") == "ID        LAST ACCESSED    TYPE\naaa       10 minutes ago   REGULAR\nbbb                        EXEC.CACHEMOUNT\n")
    #expect(try templated("{{json .}}") == text.json(records))
    #expect(throws: BuildError.self) { try templated("{{.Absent}}") }
    #expect(text.json([records[1]]) == #"{"Bytes":20,"CreatedAt":"1970-01-01 00:00:00 +0000 UTC","Description":"","ID":"bbb","LastUsedAt":"","Mutable":true,"Parents":["aaa"],"Reclaimable":false,"Shared":true,"Size":"20B","Type":"exec.cachemount","UsageCount":0}"# + "\n")
    #expect(text.pruned(records[0]) == "aaa" + String(repeating: " ", count: 37) + "\ttrue\t\t1.5MB     \t10 minutes ago\n")
  }

  @Test func whatVerifySays() {
    var report = StoreReport()
    (report.blobs, report.snapshots, report.refs, report.images, report.bytes) = (1, 2, 3, 0, 1000)
    #expect(StoreVerifyCommand.text(report) == "1 blob, 2 snapshots, 3 cached trees, 0 images; 1kB read: nothing is wrong\n")
    report.findings = [StoreFinding(kind: "blob", item: "sha256:x", problem: "is damaged", repair: "removed")]
    #expect(StoreVerifyCommand.text(report) == "blob sha256:x: is damaged: removed\n1 blob, 2 snapshots, 3 cached trees, 0 images; 1kB read: 1 thing wrong\n")
  }
}
