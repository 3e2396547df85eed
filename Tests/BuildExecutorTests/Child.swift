#if os(Linux)
  import HostOS
  import Testing

  @testable import BuildExecutor

  /// This test program once more, in other surroundings, with some of the tests.
  enum Child {
    static let isOne = Fixture.given("CHILD") != nil

    /// `prefix`: shell commands before it, which may wrap it by setting `$with`. Answers what it said and whether its tests passed.
    static func run(
      _ tests: String, prefix: String = "", variables: [String: String] = [:], tools: [String] = []
    ) async throws -> (passed: Bool, text: String) {
      let work = try Files.makeTemporaryDirectory(in: Fixture.own, prefix: "child-")
      var all = ["CHILD": "1", "WORK": work, "PACKAGES": Fixture.packages]
      for (name, value) in variables { all[name] = value }
      let settings = all.map { "MANIFOLD_TEST_\($0.key)='\($0.value)'" }.sorted().joined(separator: " ")
      let script = """
        set -e
        work='\(work)'
        program=$(readlink /proc/$PPID/exe)
        \(prefix)
        exec $with env \(settings) $settings "$program" --testing-library swift-testing --filter '\(tests)' 2>&1
        """
      let ran = try await Processes.run("/bin/sh", ["-c", "with=; settings=; " + script], limit: 64 << 20)
      let text = ran.outputText + ran.errorText
      // A filter that matches nothing passes too, and so do suites that are skipped.
      return (ran.succeeded && text.contains(" passed after ") && !text.contains("with 0 tests") && !text.contains(" skipped."), text)
    }
  }
#endif
