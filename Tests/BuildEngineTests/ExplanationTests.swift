import BuildInterface
import OCIModel
import Testing

@testable import BuildEngine

@Suite struct ExplanationTests {
  private func step(
    _ name: String, _ facts: [(String, String)] = [], inputs: [BuildRecord.Step.Input] = [], _ outcome: BuildRecord.Step.Outcome = .executed, forced: Bool = false
  ) -> BuildRecord.Step {
    let facts = facts.map { StepFacts.Fact(name: $0.0, value: $0.1) }
    let definition = name + facts.map { $0.name + $0.value }.joined() + inputs.map(\.step.hex).joined()
    return BuildRecord.Step(
      digest: .sha256(of: definition), name: name, platform: "linux/amd64", outcome: outcome, isForced: forced, inputs: inputs, facts: StepFacts(facts: facts))
  }
  private func record(_ ref: String, _ steps: [BuildRecord.Step], _ outcome: BuildRecord.Outcome = .completed) -> BuildRecord {
    BuildRecord(ref: ref, context: "/c", dockerfile: "Dockerfile", target: "", started: 0, completed: 1, outcome: outcome, error: "", steps: steps)
  }
  private func last(_ now: [BuildRecord.Step], _ before: [BuildRecord.Step]?, listings: [Digest: TreeListing] = [:], _ outcome: BuildRecord.Outcome = .completed)
    -> [BuildExplanation.Reason]
  {
    Explanation(record: record("b", now, outcome), previous: before.map { record("a", $0) }, listings: listings).steps.last?.reasons ?? []
  }
  private let context = Digest.sha256(of: "context")

  @Test func definitions() {
    let base = step("[1/2] FROM base", [("base image", "base")])
    let input = [BuildRecord.Step.Input(step: base.digest)]
    func run(_ name: String, _ facts: [(String, String)], _ outcome: BuildRecord.Step.Outcome = .executed, forced: Bool = false) -> BuildRecord.Step {
      step(name, facts, inputs: input, outcome, forced: forced)
    }
    let make = run("[2/2] RUN make", [("command", "make"), ("variable A", "1")])
    let cases: [(now: BuildRecord.Step, before: BuildRecord.Step?, kind: BuildExplanation.Reason.Kind, says: String)] = [
      (run("[2/2] RUN make all", [("command", "make all"), ("variable A", "1")]), make, .definition, "command changed from make to make all"),
      (run("[2/2] RUN make", [("command", "make"), ("variable A", "2")]), make, .definition, "variable A changed from 1 to 2"),
      (run("[2/2] RUN make", [("command", "make")]), make, .definition, "variable A is gone: it was 1"),
      (run("[2/2] RUN make", [("command", "make"), ("variable A", "1"), ("variable B", "x")]), make, .definition, "variable B is new: x"),
      (make, make, .gone, "not in the store any more"),
      (make, run("[2/2] RUN make", [("command", "make"), ("variable A", "1")], .failed), .notKept, "it failed in the build before"),
      (run("[2/2] RUN make", [("command", "make")], forced: true), make, .forced, "--no-cache"),
      (make, nil, .first, "no earlier build"),
      (run("[2/2] RUN make", [("command", "make")], .cached), make, .unchanged, "those of an earlier build"),
    ]
    for one in cases {
      let reasons = last([base, one.now], one.before.map { [base, $0] })
      #expect(reasons.count == 1 && reasons.first?.kind == one.kind && reasons.first?.text.contains(one.says) == true, "\(one.says): \(reasons)")
    }
    #expect(last([base, step("[build 3/9] RUN other", [("command", "x")])], [base, make]).first?.kind == .new)
    #expect(last([base, run("[2/2] RUN make", [], .waiting)], [base, make], .failed).first?.kind == .notReached)
  }

  @Test func stepsAreFoundAgainByTheirPlace() {
    // One platform more gives every step another name.
    let before = step("[build 2/3] RUN make", [("command", "make")]), now = step("[linux/amd64 build 2/4] RUN make -j", [("command", "make -j")])
    #expect(last([now], [before]).first?.text == "command changed from make to make -j")
    // Moved down by a new step above it: by its words.
    let moved = step("[build 3/4] RUN make", [("command", "make"), ("variable A", "1")])
    #expect(last([moved], [before]).first?.text == "variable A is new: 1")
  }

  @Test func files() {
    func listing(_ files: [String: UInt8]) -> TreeListing { TreeListing(entries: files.map { ($0.key, [UInt8](repeating: $0.value, count: 8)) }) }
    let one = Digest.sha256(of: "1"), two = Digest.sha256(of: "2")
    let source = step("[internal] load build context")
    func copy(_ key: Digest) -> BuildRecord.Step { step("[2/2] COPY . /", inputs: [.init(step: source.digest, content: key)]) }
    let listings = [one: listing(["/a": 1, "/b": 1, "/d/": 1]), two: listing(["/a": 2, "/c": 1, "/d/": 1])]
    #expect(last([source, copy(two)], [source, copy(one)], listings: listings).map(\.text) == ["modified: a", "added: c", "removed: b"])
    #expect(last([source, copy(two)], [source, copy(one)]).map(\.text) == ["what it takes from [internal] load build context changed"])
    let many = listing(Dictionary(uniqueKeysWithValues: (0..<30).map { ("/f\($0)", 1) }))
    #expect(last([source, copy(two)], [source, copy(one)], listings: [one: listing([:]), two: many]).first?.text.hasSuffix("and 20 more") == true)
  }

  @Test func inputs() {
    let base = step("[1/3] FROM base", [("base image's digest", "sha256:a")], .executed), newBase = step("[1/3] FROM base", [("base image's digest", "sha256:b")])
    let before = [base, step("[2/3] RUN make", [("command", "make")], inputs: [.init(step: base.digest)])]
    let now = [newBase, step("[2/3] RUN make", [("command", "make")], inputs: [.init(step: newBase.digest)])]
    #expect(last(now, before).map(\.text) == ["it stands on [1/3] FROM base, which was built anew"])
    #expect(last([newBase], [base]).map(\.text) == ["base image's digest changed from sha256:a to sha256:b"])
    #expect(last([base], [base]).map(\.kind) == [.source])
  }

  @Test func listingsSurviveTheirEncoding() {
    let listing = TreeListing(entries: [("/b", Array(1...8)), ("/a\u{e9}", Array(8...15)), ("/d/", [0, 0, 0, 0, 0, 0, 0, 0])])
    #expect(TreeListing(encoded: listing.encoded) == listing)
    #expect(listing.entries.map(\.path) == ["/a\u{e9}", "/b", "/d/"])
    for cut in 1..<8 { #expect(TreeListing(encoded: listing.encoded.dropLast(cut)) == nil) }
    #expect(TreeListing(encoded: [])?.entries.isEmpty == true)
  }

  @Test(arguments: [
    ("VERSION", "1.2", "1.2"), ("URL", "https://me:pass@host/x?y=a@b", "https://xxxxx:xxxxx@host/x?y=a@b"), ("URL", "https://host/@x", "https://host/@x"), ("A", "no address", "no address"),
  ]) func valuesThatAreShown(name: String, value: String, shown: String) { #expect(StepFacts.shown(value, of: name) == shown) }

  @Test func secretsAreComparedButNotShown() {
    for name in ["NPM_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY", "Api_Key"] {
      let one = StepFacts.shown("hunter2", of: name), other = StepFacts.shown("hunter3", of: name)
      #expect(!one.contains("hunter") && one != other && one == StepFacts.shown("hunter2", of: name))
    }
  }
}
