import HostOS
import OCIModel
import Testing

/// What is found again, what is not, and by whom.
@Suite(.enabled(if: Tool.builds)) struct CacheTests {
  private static func dockerfile(_ base: String) -> String {
    """
    FROM \(base) AS one
    RUN echo one
    COPY a.txt /a.txt
    ARG VERSION=1
    RUN echo version $VERSION
    COPY b.txt /b.txt
    RUN cat /b.txt
    FROM one AS two
    RUN echo two
    """
  }

  @Test(.timeLimit(.minutes(2))) func theSameBuildAgain() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let files = ["Dockerfile": Self.dockerfile(base), "a.txt": "a", "b.txt": "b"]
      let context = try environment.context("first", files)
      let image = environment.image("again:1")
      let build = ["-t", image, "--push"]
      let first = try await environment.build(context, build)
      try #require(first.succeeded, "\(first.everything)")
      #expect(first.steps.own.count == 6 && first.steps.own.values.allSatisfy { $0 == "DONE" }, "\(first.everything)")

      // No process: a runtime that does not exist would fail the first RUN.
      let requests = environment.registry.requests("/v2/base/").filter { $0.contains("HTTP/1.1\"") }.count
      let second = try await environment.build(context, ["-t", "kept"], environment: ["MANIFOLD_RUNTIME": "/nonexistent"])
      try #require(second.succeeded, "\(second.everything)")
      #expect(second.steps.own.count == 6 && second.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(second.everything)")
      let new = environment.registry.requests("/v2/base/").filter { $0.contains("HTTP/1.1\"") }.dropFirst(requests)
      #expect(new.count == 1 && new.first?.contains("HEAD /v2/base/manifests/latest") == true, "\(new)")

      // Touched, moved elsewhere, in another mode of progress: still the same.
      try await checked("touch", ["-d", "2001-02-03", context + "/a.txt", context + "/b.txt"])
      #expect(try await environment.build(context).steps.own.values.allSatisfy { $0 == "CACHED" })
      let elsewhere = try await environment.build(try environment.context("else/where", files))
      #expect(elsewhere.steps.own.count == 6 && elsewhere.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(elsewhere.everything)")
      let pulled = try await environment.build(context, ["--pull"])
      #expect(pulled.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(pulled.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func whatChangedMisses() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("c", ["Dockerfile": Self.dockerfile(base), "a.txt": "a", "b.txt": "b"])
      let first = try await environment.build(context)
      try #require(first.succeeded, "\(first.everything)")
      func ends(_ more: [String] = []) async throws -> [String] {
        let steps = try await environment.build(context, more).steps
        return ["RUN echo one", "COPY a.txt", "RUN echo version", "COPY b.txt", "RUN cat", "RUN echo two"].map { steps[$0] ?? "?" }
      }
      let hit = "CACHED", miss = "DONE"
      _ = try environment.context("c", ["b.txt": "other"])
      #expect(try await ends() == [hit, hit, hit, miss, miss, miss])
      _ = try environment.context("c", ["b.txt": "b"])
      #expect(try await ends() == [hit, hit, hit, hit, hit, hit])
      #expect(try await ends(["--build-arg", "VERSION=2"]) == [hit, hit, miss, miss, miss, miss])
      #expect(try await ends(["--build-arg", "VERSION=1"]) == [hit, hit, hit, hit, hit, hit])
      #expect(try await ends(["--no-cache-filter", "two"]) == [hit, hit, hit, hit, hit, miss])
      #expect(try await ends(["--no-cache"]) == [miss, miss, miss, miss, miss, miss])
      #expect(try await ends() == [hit, hit, hit, hit, hit, hit])
      // A name that no instruction reads is no part of any key.
      #expect(try await ends(["--build-arg", "OTHER=2"]) == [hit, hit, hit, hit, hit, hit])
    }
  }

  @Test(.timeLimit(.minutes(2))) func aTagThatMoves() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let moving = environment.image("moving:1")
      func move(_ text: String) async throws {
        let output = try await environment.build(try environment.context("move", ["Dockerfile": "FROM \(base)\nRUN echo \(text) > /v\n"]), ["-t", moving, "--push"])
        try #require(output.succeeded, "\(output.everything)")
      }
      let user = try environment.context("user", ["Dockerfile": "FROM \(moving)\nRUN cat /v\n"])
      try await move("first")
      #expect(try await environment.build(user).steps["RUN cat"] == "DONE")
      try await move("second")
      let moved = try await environment.build(user)
      #expect(moved.steps["RUN cat"] == "DONE" && moved.steps.log("RUN cat") == ["second"], "\(moved.everything)")
      try await move("first")
      #expect(try await environment.build(user).steps["RUN cat"] == "CACHED")
    }
  }

  @Test(.timeLimit(.minutes(2))) func secretsAreNoPartOfKeys() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("s", ["Dockerfile": "FROM \(base)\nRUN --mount=type=secret,id=token md5sum /run/secrets/token\n"])
      let run = "RUN --mount=type=secret"
      let first = try await environment.build(context, ["--secret", "id=token,env=TOKEN", "-t", "s"], environment: ["TOKEN": "very-hidden-1"])
      #expect(first.steps[run] == "DONE", "\(first.everything)")
      let second = try await environment.build(context, ["--secret", "id=token,env=TOKEN", "-t", "s"], environment: ["TOKEN": "very-hidden-2"])
      #expect(second.steps[run] == "CACHED", "\(second.everything)")
      // Neither in the store's database nor in an image.
      let found = try await Processes.run("grep", ["-rlaF", "very-hidden", environment.tool.root])
      #expect(found.outputText.isEmpty, "\(found.outputText)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func stagesAtOnceOrOneAfterTheOther() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      /// Two stages and their sum; `wait` makes each wait until the other has started, `alone` fails when the other runs.
      func context(_ name: String, _ first: String, _ second: String) throws -> String {
        let mount = "--mount=type=cache,id=\(name),target=/c"
        return try environment.context(
          name,
          ["Dockerfile": "FROM \(base) AS a\nRUN \(mount) \(first)\nFROM \(base) AS b\nRUN \(mount) \(second)\nFROM \(base)\nCOPY --from=a /r /a\nCOPY --from=b /r /b\n"])
      }
      func wait(_ mine: String, _ other: String) -> String {
        "touch /c/\(mine) /r; for i in $(seq 300); do if [ -e /c/\(other) ]; then exit 0; fi; sleep 0.1; done; exit 1"
      }
      let together = try await environment.build(try context("together", wait("a", "b"), wait("b", "a")), ["--jobs", "2"])
      #expect(together.succeeded, "\(together.everything)")
      let alone = "if [ -e /c/busy ]; then exit 1; fi; touch /c/busy /r; sleep 0.3; rm /c/busy"
      let serial = try await environment.build(try context("serial", alone, alone + "; true"), ["--jobs", "1"])
      #expect(serial.succeeded, "\(serial.everything)")
    }
  }
}
