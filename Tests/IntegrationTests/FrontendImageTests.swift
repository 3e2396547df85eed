import Foundation
import HostOS
import Testing

/// Frontends that are images: named by `# syntax`, they run in a container and have the build made by what they ask.
@Suite(.enabled(if: Tool.builds)) struct FrontendImageTests {
  /// An image with the program, in the registry.
  private func frontend(_ environment: Environment, arguments: [String] = []) async throws -> String? {
    let folder = try environment.context("frontend", ["frontend.c": FrontendProgram.source])
    let made = try? await Processes.run("cc", ["-static", "-o", folder + "/frontend", folder + "/frontend.c"], environment: environment.tool.environment([:]))
    guard made?.succeeded == true else {
      print("SKIPPED: no C compiler links a static program: \(made?.everything ?? "")")
      return nil
    }
    let words = (["/frontend"] + arguments).map { "\"\($0)\"" }.joined(separator: ",")
    try """
      FROM scratch
      COPY frontend /frontend
      LABEL moby.buildkit.frontend.caps=moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests
      ENTRYPOINT [\(words)]
      """.write(toFile: folder + "/Dockerfile", atomically: true, encoding: .utf8)
    let name = environment.image("frontend:" + (arguments.first ?? "1"))
    let built = try await environment.tool.run(["build", "--progress=plain", "--provenance=false", "-o", "type=registry,name=\(name)", folder])
    try #require(built.succeeded, "\(built.everything)")
    return name
  }

  private func dockerfile(_ syntax: String, _ base: String) -> String {
    "# syntax=\(syntax)\nFROM \(base)\nARG FROM_FRONTEND=nobody\nARG OWN=none\nRUN echo \"$FROM_FRONTEND, $OWN\" >/who\n"
  }

  @Test(.timeLimit(.minutes(10))) func builds() async throws {
    try await withEnvironment { environment in
      guard let frontend = try await frontend(environment) else { return }
      let base = try await environment.base()
      let context = try environment.context("app", ["Dockerfile": dockerfile(frontend, base)])
      let out = environment.scratch + "/out"
      let run = try await environment.tool.run(["build", "--progress=plain", "--build-arg", "OWN=mine", "-o", "type=local,dest=\(out)", context])
      try #require(run.succeeded, "\(run.everything)")
      #expect(try String(contentsOfFile: out + "/who", encoding: .utf8) == "asked by a frontend image, mine\n")
      #expect(run.errorText.contains("resolve image config for docker-image://\(frontend)"), "\(run.everything)")
      // The same by the argument that stands for the line; several platforms in one result.
      let plain = try environment.context("plain", ["Dockerfile": "FROM \(base)\nARG FROM_FRONTEND=nobody\nLABEL by=$FROM_FRONTEND\n"])
      let two = try await environment.tool.run([
        "build", "--progress=plain", "--build-arg", "BUILDKIT_SYNTAX=\(frontend)", "--platform=linux/amd64,linux/arm64", "--provenance=false", "-o",
        "type=registry,name=\(environment.image("two:1"))", plain,
      ])
      try #require(two.succeeded, "\(two.everything)")
      #expect(try await environment.platforms(environment.image("two:1")) == ["linux/amd64", "linux/arm64"])
    }
  }

  @Test(.timeLimit(.minutes(10)), arguments: ["fails", "refuses"]) func whatItSaysIsTold(_ mode: String) async throws {
    try await withEnvironment { environment in
      guard let frontend = try await frontend(environment, arguments: [mode]) else { return }
      let context = try environment.context("app", ["Dockerfile": dockerfile(frontend, "scratch")])
      let run = try await environment.tool.run(["build", "--progress=plain", context])
      #expect(!run.succeeded)
      let wanted = mode == "fails" ? ["exit code: 7", "this frontend fails on purpose"] : ["this frontend refuses"]
      for text in wanted + ["Dockerfile:1"] { #expect(run.errorText.contains(text), "\(run.everything)") }
    }
  }
}
