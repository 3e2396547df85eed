import HostOS
import OCIModel
import Testing

/// What a person reads when something is wrong.
@Suite(.enabled(if: Tool.builds)) struct ErrorTests {
  private struct Case {
    var lines: [String]
    var files: [String: String] = [:]
    var arguments: [String] = []
    var code: Int32
    var says: [String]
  }

  private func check(_ cases: [Case], _ environment: Environment) async throws {
    for (i, one) in cases.enumerated() {
      let context = try environment.context("case\(i)", one.files.merging(["Dockerfile": one.lines.joined(separator: "\n") + "\n"]) { $1 })
      let output = try await environment.build(context, one.arguments)
      #expect(output.code == one.code, "\(one.lines) \(one.arguments)\n\(output.everything)")
      for text in one.says { #expect(output.errorText.contains(text), "\(text)\n\(output.everything)") }
      // Nothing is told twice in one line.
      let last = output.errorText.split(separator: "\n").last { $0.hasPrefix("ERROR: ") } ?? ""
      #expect(last.count < 40 || !last.dropFirst(7).dropFirst(last.count / 2).contains(last.dropFirst(7).prefix(last.count / 3)), "\(last)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func dockerfilesAndFiles() async throws {
    try await withEnvironment { environment in
      let from = "FROM \(try await environment.base())"
      let build = from + " AS build"
      try await check(
        [
          Case(lines: [from, "RUM true", "RUN false"], code: 2, says: ["Dockerfile:2", "   2 | >>> RUM true", "   1 |     FROM", "did you mean RUN?"]),
          Case(lines: [from, "COPY src/confg.json /"], files: ["src/config.json": "x"], code: 2, says: ["Dockerfile:2", "did you mean src/config.json?"]),
          Case(lines: [from, "COPY readme.md /"], files: ["README.md": "x"], code: 2, says: ["did you mean README.md?"]),
          Case(lines: [from, "COPY a /"], files: ["a": "x", ".dockerignore": "a\n"], code: 2, says: ["a is there, but .dockerignore leaves it out"]),
          Case(lines: [build, from, "COPY --from=build /etc/passwdd /"], code: 1, says: ["Dockerfile:3", "did you mean /etc/passwd?"]),
          Case(lines: [build, from, "COPY --from=biuld /etc/passwd /"], code: 3, says: ["Dockerfile:3", "did you mean the stage build?"]),
          Case(lines: [build], arguments: ["--target", "biuld"], code: 2, says: ["did you mean the stage build?"]),
          Case(lines: [from], arguments: ["--platform", "linux/arm/v6"], code: 3, says: ["Dockerfile:1", "it has: linux/amd64, linux/arm64, linux/arm/v7", "nearest is linux/arm/v7"]),
          Case(lines: [from], arguments: ["--platform", "linux/amd46"], code: 3, says: ["nearest is linux/amd64"]),
          Case(lines: [from, "USER nobody-here", "RUN true"], code: 1, says: ["Dockerfile:3", "nobody-here"]),
          Case(lines: ["FROM $NOTHING"], code: 2, says: ["Dockerfile:1", "$NOTHING is not set"]),
          Case(lines: [], code: 2, says: ["no instructions"]),
        ], environment)
    }
  }

  @Test(.timeLimit(.minutes(2))) func failingSteps() async throws {
    try await withEnvironment { environment in
      let from = "FROM \(try await environment.base())"
      let lines = (11...20).map { "line \($0)" }
      try await check(
        [
          Case(lines: [from, "RUN for i in $(seq 20); do echo line $i; done; exit 9"], code: 1, says: ["Dockerfile:2", "exit code: 9", "(\(Host.platform))"] + lines),
          Case(lines: [from, "RUN uname -m; exit 4"], arguments: ["--platform", "linux/arm64"], code: 1, says: ["Dockerfile:2", "exit code: 4", "linux/arm64", "aarch64"]),
          Case(
            lines: [from, "ARG TARGETARCH", "RUN [ $TARGETARCH = amd64 ] || exit 5"], arguments: ["--platform", "linux/amd64,linux/arm64"], code: 1,
            says: ["ERROR: [linux/arm64 2/2] RUN", "exit code: 5"]),
          Case(lines: [from, #"RUN ["absent-program"]"#], code: 1, says: ["absent-program", "not found"]),
        ], environment)
      // Where no progress is shown, the failed step's last output is.
      let context = try environment.context("quiet", ["Dockerfile": "\(from)\nRUN echo its last words; exit 3\n"])
      for arguments in [["-q"], ["--progress", "quiet"], ["--progress", "none"]] {
        let output = try await environment.tool.run(["build"] + arguments + ["-t", "x", context])
        #expect(output.code == 1 && output.errorText.contains("its last words") && output.outputText.isEmpty, "\(output.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(2))) func registries() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      try await check(
        [
          Case(lines: ["FROM localhost:1/none"], code: 3, says: ["Dockerfile:1", "cannot reach the registry localhost:1", "connection refused", "Is the registry running"]),
          Case(lines: ["FROM \(environment.image("absent:7"))"], code: 3, says: ["Dockerfile:1", "absent:7", "404"]),
          Case(lines: ["FROM \(base)"], arguments: ["-t", "localhost:1/none:1", "--push"], code: 3, says: ["failed to push localhost:1/none:1", "cannot reach the registry"]),
        ], environment)
    }
  }

  @Test(.timeLimit(.minutes(2))) func credentialsAndTrust() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let closed = try await RegistryProcess.start(in: environment.scratch, access: .password, name: "closed")
      defer { closed.stop() }
      let name = "\(closed.host)/me/x:1"
      let context = try environment.context("push", ["Dockerfile": "FROM \(base)\nENV A=b\n"])
      func configuration(_ login: String) throws -> [String: String] {
        let auth = #"{"auths": {"\#(closed.host)": {"auth": "\#(login)"}}}"#
        return ["DOCKER_CONFIG": try environment.context("docker-\(login.prefix(6))", ["config.json": auth])]
      }
      // me:wrong and me:secret
      for (settings, words) in [([:], "Log in to \(closed.host)"), (try configuration("bWU6d3Jvbmc="), "credentials stored for \(closed.host) were refused")] {
        let push = try await environment.build(context, ["-t", name, "--push"], environment: settings)
        #expect(push.code == 3 && push.errorText.contains("failed to push \(name)") && push.errorText.contains(words), "\(push.everything)")
      }
      let right = try configuration("bWU6c2VjcmV0")
      let push = try await environment.build(context, ["-t", name, "--push"], environment: right)
      #expect(push.succeeded, "\(push.everything)")
      let user = try environment.context("pull", ["Dockerfile": "FROM \(name)\nRUN echo $A\n"])
      #expect(try await environment.build(user).code == 3)
      let pull = try await environment.build(user, environment: right)
      #expect(pull.steps.log("RUN echo") == ["b"], "\(pull.everything)")
      #expect(try await environment.tool.run(["imagetools", "inspect", "--raw", name], environment: right).succeeded)

      // An address that is not known for the machine's own is spoken to by TLS, unless it is called insecure.
      let foreign = environment.registry.host.replacing("localhost", with: "0.0.0.0")
      let image = foreign + "/trusted:1"
      let refused = try await environment.build(context, ["-t", image, "--push"])
      #expect(refused.code == 3 && refused.errorText.contains("--insecure-registry \(foreign)"), "\(refused.everything)")
      for (i, arguments) in [["build", "-q", "-t", image, "--push", "--insecure-registry", foreign, context], ["--insecure-registry", foreign, "run", image, "sh", "-c", "echo $A"], ["imagetools", "inspect", "--insecure-registry=\(foreign)", image]].enumerated() {
        let output = try await environment.tool.run(arguments)
        #expect(output.succeeded && (i != 1 || output.outputText == "b\n"), "\(output.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(2))) func whatWasNotLentOrAllowed() async throws {
    try await withEnvironment { environment in
      let from = "FROM \(try await environment.base())"
      try await check(
        [
          Case(lines: [from, "ADD git@github.com:a/b.git /x"], code: 2, says: ["Dockerfile:2", "the SSH agent \"default\" is needed", "--ssh default"]),
          Case(lines: [from, "RUN --mount=type=ssh,id=deploy,required true"], code: 2, says: ["Dockerfile:2", "the SSH agent \"deploy\" is needed", "--ssh deploy"]),
          Case(lines: [from, "RUN --security=insecure true"], code: 2, says: ["Dockerfile:2", "security.insecure", "--allow security.insecure"]),
          Case(lines: [from, "RUN --network=host true"], code: 2, says: ["Dockerfile:2", "network.host", "--allow network.host"]),
          Case(lines: ["FROM scratch", "ADD http://127.0.0.1:9/x /"], code: 1, says: ["Dockerfile:2", "cannot fetch http://127.0.0.1:9/x"]),
        ], environment)
    }
  }

  @Test(.timeLimit(.minutes(2))) func whatComesLater() async throws {
    try await withEnvironment { environment in
      let from = "FROM \(try await environment.base())"
      try await check(
        [
          Case(lines: [from, "RUN --device=name=vendor.example/gpu,required true"], code: 1, says: ["Dockerfile:2", "required device \"vendor.example/gpu\"", "/etc/cdi"]),
          Case(lines: ["# syntax=example.com/other:1", from], code: 3, says: ["example.com/other:1"]),
          Case(lines: [from], arguments: ["--build-context", "a=b"], code: 2, says: ["--build-context", "no directory b"]),
          Case(lines: [from], arguments: ["--platform", "windows/amd64"], code: 3, says: ["has no image for windows/amd64"]),
          Case(lines: [from], arguments: ["--provenance=mode=most"], code: 2, says: ["provenance", "most", "min or max"]),
          Case(lines: [from], arguments: ["--sbom=true"], code: 2, says: ["--sbom"]),
          Case(lines: [from], arguments: ["--no-such-option"], code: 2, says: ["--no-such-option", "manifold build"]),
        ], environment)
    }
  }
}
