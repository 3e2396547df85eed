import HostOS
import OCIModel
import Testing

/// What a person is told about a build that did not do what was hoped for: why a step was not cached, what a failed one wrote and left.
@Suite(.enabled(if: Tool.builds)) struct ExplainTests {
  private func explain(_ environment: Environment, _ arguments: [String] = []) async throws -> String {
    let output = try await environment.tool.run(["explain"] + arguments)
    #expect(output.succeeded, "\(output.everything)")
    return output.outputText
  }

  @Test(.timeLimit(.minutes(2))) func whatChanged() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      #expect(try await environment.tool.run(["explain"]).code == 2)
      func build(_ lines: [String], _ arguments: [String] = [], files: [String: String] = ["src/a": "1", "src/b": "1"]) async throws {
        let context = try environment.context("context", files.merging(["Dockerfile": (["FROM \(base)"] + lines).joined(separator: "\n") + "\n"]) { $1 })
        let output = try await environment.build(context, arguments)
        #expect(output.succeeded, "\(output.everything)")
      }
      let lines = ["ARG VERSION=1", "ARG NPM_TOKEN", "COPY src /src", "RUN echo $VERSION > /v"]
      try await build(lines)
      #expect(try await explain(environment).contains("no earlier build of this Dockerfile"))
      try await build(lines)
      let cached = try await explain(environment)
      #expect(cached.contains("2 of 3 steps cached") && !cached.contains("RAN       [3/3]"), "\(cached)")
      try await build(lines, ["--build-arg", "VERSION=2", "--build-arg", "NPM_TOKEN=hunter2"])
      let argument = try await explain(environment)
      #expect(argument.contains("CACHED    [2/3] COPY") && argument.contains("variable VERSION changed from 1 to 2") && argument.contains("variable NPM_TOKEN is new"), "\(argument)")
      #expect(!argument.contains("hunter2"), "\(argument)")
      try await build(lines, files: ["src/a": "2", "src/b": "1", "src/c": "1"])
      let files = try await explain(environment)
      #expect(files.contains("modified: src/a\n") && files.contains("added: src/c\n") && files.contains("it stands on [2/3] COPY src /src"), "\(files)")
      try await build(["COPY src /src", "RUN echo other > /v"], files: ["src/a": "2", "src/b": "1", "src/c": "1"])
      #expect(try await explain(environment).contains("command changed from echo $VERSION > /v to echo other > /v"))
      try await build(["COPY src /src", "RUN echo other > /v"], ["--no-cache"], files: ["src/a": "2", "src/b": "1", "src/c": "1"])
      #expect(try await explain(environment).contains("--no-cache"))
      // By its id, and as JSON.
      let list = try await explain(environment, ["--list"]).split(separator: "\n").dropFirst().compactMap { $0.split(separator: " ").first.map(String.init) }
      #expect(list.count == 6)
      let json = try JSONValue(parsing: try await explain(environment, ["--format", "json", String((list.dropFirst(2).first ?? "").prefix(12))]))
      #expect(json["Steps"]?.arrayValue?.contains { $0["Reasons"]?.arrayValue?.first?["Kind"]?.stringValue == "content" } == true, "\(json)")
      // The store's own database has no secret either.
      let database = try Files.read(environment.tool.root + "/manifold.db", limit: 64 << 20)
      #expect(!String(decoding: database, as: UTF8.self).contains("hunter2"))
    }
  }

  @Test(.timeLimit(.minutes(2))) func theLogOfAFailedStepIsKept() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("c", ["Dockerfile": "FROM \(try await environment.base())\nRUN echo good\nRUN seq 1 3000; echo wrong >&2; exit 3\n"])
      let output = try await environment.build(context)
      let line = output.errorText.split(separator: "\n").first { $0.hasPrefix("The step's whole output: ") }
      let path = String(line?.dropFirst("The step's whole output: ".count) ?? "")
      let log = Files.text(path) ?? ""
      let lines = log.split(separator: "\n").map(String.init)
      #expect(output.code == 1 && lines.count == 3001 && lines.contains("wrong") && lines.first == "1", "\(output.everything)")
      #expect(try Files.status(path).mode & 0o777 == 0o600)
      let folder = try Directory.open(environment.tool.root + "/logs")
      #expect(try folder.entries().count == 1)
    }
  }

  @Test(.timeLimit(.minutes(2))) func aShellInTheFailedStep() async throws {
    try await withEnvironment { environment in
      let context = try environment.context(
        "c", ["Dockerfile": "FROM \(try await environment.base())\nWORKDIR /w\nENV A=b\nRUN --mount=type=secret,id=s echo hi > f; exit 3\n", "s": "very"])
      let words = "uname -m; pwd; cat f; echo $A; cat /run/secrets/s; exit 9\n"
      for progress in ["plain", "quiet"] {
        let output = try await environment.tool.run(
          ["build", "--progress", progress, "--platform", "linux/arm64", "--debug-on-error", "--secret", "id=s,src=\(context)/s", context], input: Array(words.utf8))
        #expect(output.code == 1 && output.outputText == "aarch64\n/w\nhi\nb\nvery", "\(output.everything)")
        #expect(output.errorText.contains("This is a shell in [stage-0 3/3] RUN") && output.errorText.contains("exit code: 3"), "\(output.everything)")
        #expect(output.errorText.split(separator: "\n").filter { $0.hasPrefix("ERROR: [stage-0 3/3]") }.count == 1, "\(output.everything)")
      }
      // Nothing of it stays, and no other failure has a shell.
      #expect(try Files.text("/proc/self/mounts")?.contains(environment.scratch) == false)
      let missing = try environment.context("m", ["Dockerfile": "FROM scratch\nCOPY absent /\n"])
      let output = try await environment.build(missing, ["--debug-on-error"])
      #expect(output.code == 2 && !output.errorText.contains("This is a shell"), "\(output.everything)")
    }
  }
}
