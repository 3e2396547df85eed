import Foundation
import HostOS
import OCIModel
import Testing

/// What is told before anything runs, and a Dockerfile for each platform, in the whole program.
@Suite(.enabled(if: Tool.builds)) struct PlanTests {
  private static let dockerfile = """
    FROM --platform=$BUILDPLATFORM BASE AS build
    COPY in.txt /
    RUN cat /in.txt > /out
    FROM BASE AS tests
    RUN false
    FROM BASE
    COPY --from=build /out /out
    RUN echo $(uname -m) > /arch

    """

  private func steps(_ tool: Tool, _ context: String, _ more: [String] = []) async throws -> [JSONValue] {
    let output = try await tool.run(["build", "--call=plan", "--format=json", "--platform", "\(Host.platform),\(Host.other)"] + more + [context])
    try #require(output.succeeded, "\(output.everything)")
    return try JSONValue(parsing: output.outputText)["steps"]?.arrayValue ?? []
  }

  @Test(.timeLimit(.minutes(5))) func planAndBuild() async throws {
    try await withEnvironment { environment in
      let tool = environment.tool, base = try await environment.base()
      let context = try environment.context("plan", ["Dockerfile": Self.dockerfile.replacing("BASE", with: base), "in.txt": "1"])
      let before = try await steps(tool, context)
      let runs = before.filter { $0["kind"]?.stringValue == "run" }
      #expect(runs.count == 3 && runs.count { $0["runs"]?.stringValue == "native" } == 2 && runs.count { $0["shared"]?.boolValue == true } == 1, "\(before)")
      #expect(runs.allSatisfy { $0["cache"]?.stringValue != "hit" })
      #expect(!before.contains { $0["stage"]?.stringValue == "tests" })
      // Nothing was made: there is no image, no build in the history, no step in the cache.
      let history = try await tool.run("explain", "--list")
      #expect(!history.outputText.contains("plan"), "\(history.everything)")
      let table = try await tool.run("build", "--call=plan", "--platform", "\(Host.platform),\(Host.other)", context)
      #expect(table.succeeded && table.outputText.contains("skipped") && table.outputText.contains("1 RUN step emulated: \(Host.other)"), "\(table.everything)")

      let built = try await tool.run("build", "--progress=plain", "--platform", "\(Host.platform),\(Host.other)", context)
      try #require(built.succeeded, "\(built.everything)")
      // The steps of the plan are those of the build, by digest, and now all are there.
      let after = try await steps(tool, context)
      #expect(after.count == before.count)
      #expect(after.filter { ["run", "file"].contains($0["kind"]?.stringValue) }.allSatisfy { $0["cache"]?.stringValue == "hit" }, "\(after)")
      try Files.writeAtomically(Array("2".utf8), to: context + "/in.txt", durable: false)
      let changed = try await steps(tool, context)
      func cache(_ name: String) -> Set<String> { Set(changed.filter { $0["instruction"]?.stringValue?.hasPrefix(name) == true }.compactMap { $0["cache"]?.stringValue }) }
      #expect(cache("COPY in.txt") == ["miss"] && cache("RUN cat") == ["miss"] && cache("COPY --from") == ["unknown"], "\(changed)")
      let forced = try await steps(tool, context, ["--no-cache"])
      #expect(forced.filter { ["run", "file"].contains($0["kind"]?.stringValue) }.allSatisfy { $0["cache"]?.stringValue != "hit" })
      // Mistakes are a build's.
      try Files.removeTree(context + "/in.txt")
      let failed = try await tool.run("build", "--call=plan", context)
      #expect(failed.code != 0 && failed.errorText.contains("in.txt") && failed.errorText.contains("Dockerfile:2"), "\(failed.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5))) func aDockerfilePerPlatform() async throws {
    try await withEnvironment { environment in
      let tool = environment.tool, base = try await environment.base(), image = environment.image("per-platform:1")
      let context = try environment.context("per", [
        "Dockerfile": "FROM \(base)\nARG WHO=common\nCOPY . /c\nLABEL who=$WHO\n", "other/Dockerfile.other": "FROM \(base) AS slim\nCOPY . /c\nLABEL who=other\nFROM slim\nLABEL who=never\n",
        "other/Dockerfile.other.dockerignore": "secret\n", "secret": "s", "plain": "p",
      ])
      let built = try await tool.run(
        [
          "build", "--progress=plain", "-f", "\(Host.other)=other/Dockerfile.other", "--target", "\(Host.other)=slim", "-f", "Dockerfile", "--build-arg", "\(Host.platform)=WHO=own", "-t", image, "--push",
          "--metadata-file", "meta.json", ".",
        ], in: context)
      try #require(built.succeeded, "\(built.everything)")
      #expect(Set(try await environment.platforms(image).filter { $0 != "unknown/unknown" }) == [Host.platform, Host.other])
      for (platform, who, hasSecret) in [(Host.platform, "own", true), (Host.other, "other", false)] {
        let saved = environment.tool.root + "-out-" + who
        let files = try await tool.run(
          ["build", "-q", "--platform", platform, "-f", "\(platform)=\(platform == Host.platform ? "Dockerfile" : "other/Dockerfile.other")", "-o", saved, "."], in: context)
        try #require(files.succeeded, "\(files.everything)")
        #expect(Files.exists(saved + "/c/plain") && Files.exists(saved + "/c/secret") == hasSecret)
        let pulled = try await tool.run("pull", "--platform", platform, image)
        let inspected = try await tool.run("image", "inspect", "--platform", platform, "-f", "{{index .Config.Labels \"who\"}}", image)
        #expect(pulled.succeeded && inspected.outputText == who + "\n", "\(pulled.everything) \(inspected.everything)")
      }
      // Each platform's provenance names its own file.
      let metadata = try JSONValue(parsing: Files.read(context + "/meta.json", limit: 1 << 20))
      func entry(_ platform: String) -> String? { metadata["buildx.build.provenance/" + platform]?["invocation"]?["configSource"]?["entryPoint"]?.stringValue }
      #expect(entry(Host.platform) == "Dockerfile" && entry(Host.other) == "Dockerfile.other", "\(metadata)")
      let lost = try await tool.run(["build", "--platform", Host.platform, "-f", "\(Host.other)=Dockerfile", "."], in: context)
      #expect(lost.code == 2 && lost.errorText.contains("\(Host.other) is not built"), "\(lost.everything)")
    }
  }

  @Test(.timeLimit(.minutes(3))) func graphsAndTrees() async throws {
    try await withEnvironment { environment in
      let tool = environment.tool, base = try await environment.base()
      let context = try environment.context("dump", ["Dockerfile": Self.dockerfile.replacing("BASE", with: base), "in.txt": "1"])
      let lines = try await tool.run("debug", "dump-llb", "--platform", Host.platform, context)
      try #require(lines.succeeded, "\(lines.everything)")
      let ops = try lines.outputText.split(separator: "\n").map { try JSONValue(parsing: String($0)) }
      #expect(ops.count >= 6 && ops.allSatisfy { $0["Digest"]?.stringValue?.hasPrefix("sha256:") == true && $0["Op"] != nil && $0["OpMetadata"] != nil })
      // The binary form, read again, is the same graph.
      let raw = try await tool.run("debug", "dump-llb", "--raw", "--platform", Host.platform, context)
      let again = try await tool.run(["debug", "dump-llb"], input: raw.output)
      #expect(again.succeeded)
      let dot = try await tool.run(["debug", "dump-llb", "--dot", "-"], input: raw.output)
      #expect(dot.outputText.hasPrefix("digraph {\n") && dot.outputText.hasSuffix("}\n"))
      let two = try await tool.run("debug", "dump-llb", "--raw", "--platform", "\(Host.platform),\(Host.other)", context)
      #expect(two.code == 2 && two.errorText.contains("--raw prints one graph"))
      let tree = try await tool.run("debug", "dump-ast", context + "/Dockerfile")
      #expect(try JSONValue(parsing: tree.outputText)["instructions"]?.arrayValue?.count == 8, "\(tree.everything)")
      let wrong = try await tool.run(["debug", "dump-ast", "-"], input: Array("FROM a\nRUN <<E\nx\n".utf8))
      #expect(wrong.code == 2 && wrong.errorText.contains("line 2"), "\(wrong.everything)")
      let junk = try await tool.run(["debug", "dump-llb", "-"], input: Array("\u{1}\u{2}nonsense".utf8))
      #expect(junk.code == 2, "\(junk.everything)")
    }
  }
}
