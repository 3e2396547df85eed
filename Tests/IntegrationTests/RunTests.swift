import HostOS
import OCIModel
import Testing

/// Images of the local store: `-t`, `images`, `run`, and FROM.
@Suite(.enabled(if: Tool.builds)) struct RunTests {
  private static func dockerfile(_ base: String) -> String {
    """
    FROM \(base)
    RUN echo "me:x:4321:4321::/home/me:/bin/sh" >> /etc/passwd; echo "crew:x:5432:me" >> /etc/group
    WORKDIR /work
    ENV COLOUR=blue
    ENTRYPOINT ["echo", "entry"]
    CMD ["usual"]
    """
  }

  @Test(.timeLimit(.minutes(2))) func theCommandLine() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("c", ["Dockerfile": Self.dockerfile(try await environment.base())])
      let built = try await environment.build(context, ["--platform", "linux/amd64,linux/arm64", "-t", "mine"])
      try #require(built.succeeded, "\(built.everything)")
      let list = try await environment.tool.run("images").outputText.split(separator: "\n")
      #expect(list.count == 2 && list[1].hasPrefix("mine ") && list[1].hasSuffix("linux/amd64, linux/arm64"), "\(list)")

      func run(_ arguments: String..., input: String = "") async throws -> ProcessOutput {
        try await environment.tool.run(["run"] + arguments, environment: ["HANDED": "on"], input: Array(input.utf8))
      }
      #expect(try await run("mine").outputText == "entry usual\n")
      #expect(try await run("--rm", "mine", "-e", "x").outputText == "entry -e x\n")
      let shell = try await run("--entrypoint", "sh", "-e", "A=1", "-e", "HANDED", "-w", "/tmp", "mine", "-c", "echo $COLOUR $A $HANDED $PWD; echo oops >&2; exit 7")
      #expect(shell.outputText == "blue 1 on /tmp\n" && shell.errorText == "oops\n" && shell.code == 7, "\(shell.everything)")
      #expect(try await run("--entrypoint", "pwd", "mine").outputText == "/work\n")
      #expect(try await run("--entrypoint", "id", "-u", "me", "mine").outputText == "uid=4321(me) gid=4321 groups=4321,5432(crew)\n")
      #expect(try await run("--entrypoint", "id", "-u", "7:8", "mine").outputText.hasPrefix("uid=7 gid=8"))
      #expect(try await run("-i", "--entrypoint", "cat", "mine", input: "typed").outputText == "typed")
      #expect(try await run("--entrypoint", "cat", "mine", input: "not typed").outputText == "")
      #expect(try await run("--platform", "linux/arm64", "--entrypoint", "uname", "mine", "-m").outputText == "aarch64\n")
      #expect(try await run("--network", "none", "--entrypoint", "ls", "mine", "/sys/class/net").outputText == "lo\n")
      #expect(try await run("--entrypoint", "sh", "mine", "-c", "(kill -9 $$; true); sh -c 'kill -9 $$'; exit $?").code == 137)

      let volume = try environment.context("volume", ["f": "there\n"])
      let mounted = try await run("-v", "\(volume):/v", "-v", "\(volume)/f:/read:ro", "--entrypoint", "sh", "mine", "-c", "cat /v/f; echo new > /v/g; echo x > /read")
      #expect(mounted.outputText == "there\n" && mounted.code == 1 && Files.text(volume + "/g") == "new\n", "\(mounted.everything)")
      // Nothing that a container wrote stays.
      #expect(try await run("--entrypoint", "touch", "mine", "/left").succeeded)
      #expect(try await run("--entrypoint", "ls", "mine", "/left").code == 1)

      let absent = try await run("--entrypoint", "/absent", "mine")
      #expect(absent.code == 127 && absent.errorText.split(separator: "\n").count == 1, "\(absent.everything)")
      #expect(try await run("--entrypoint", "/etc", "mine").code == 126)
      #expect(try await run("-u", "nobody-here", "mine").code == 125)
      let lacking = try await run("--platform", "linux/s390x", "mine")
      #expect(lacking.code == 125 && lacking.errorText.contains("linux/amd64, linux/arm64"), "\(lacking.everything)")
      let odd = try await run("--name", "x", "mine")
      #expect(odd.code == 2 && odd.errorText.contains("--name"), "\(odd.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func anotherMachinesImage() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("c", ["Dockerfile": "FROM \(base)\nCMD [\"uname\", \"-m\"]\n"])
      try #require(try await environment.build(context, ["--platform", Host.other, "-t", "foreign"]).succeeded)
      let run = try await environment.tool.run("run", "foreign")
      #expect(run.outputText == Host.otherMachine + "\n" && run.errorText.contains("(\(Host.other)) does not match the detected host platform (\(Host.platform))"), "\(run.everything)")
      #expect(run.errorText.split(separator: "\n").count == 1, "\(run.errorText)")
      // The same from a registry: there it is an image without an index.
      let pushed = environment.image("foreign:1")
      try #require(try await environment.build(context, ["--platform", Host.other, "-t", pushed, "--push"]).succeeded)
      let other = Tool(binary: environment.tool.binary, root: environment.scratch + "/second")
      let fetched = try await other.run("run", pushed)
      #expect(fetched.outputText == Host.otherMachine + "\n" && fetched.errorText.contains("does not match the detected host platform"), "\(fetched.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func justPushedAndNeverRead() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      // Nothing reads the base's layers: they are in the registry only when the image is run.
      let context = try environment.context("c", ["Dockerfile": "FROM \(base)\nENV A=b\nCMD [\"sh\", \"-c\", \"echo $A from $(uname -m)\"]\n"])
      let lazy = try await environment.build(context, ["-t", "lazy"])
      try #require(lazy.succeeded, "\(lazy.everything)")
      let run = try await environment.tool.run("run", "lazy")
      #expect(run.outputText == "b from \(Host.machine)\n", "\(run.everything)")
      let pushed = environment.image("pushed:1")
      try #require(try await environment.build(context, ["--platform", "linux/amd64,linux/arm/v7", "-t", pushed, "--push"]).succeeded)
      #expect(try await !environment.tool.run("images").outputText.contains("pushed"))
      #expect(try await environment.tool.run("run", "--platform", "linux/arm/v7", pushed).outputText == "b from armv7l\n")
    }
  }

  @Test(.timeLimit(.minutes(2))) func fromTheLocalStoreOrTheRegistry() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let name = environment.image("both:1")
      func make(_ text: String, _ more: [String]) async throws {
        let output = try await environment.build(try environment.context("make", ["Dockerfile": "FROM \(base)\nRUN echo \(text) > /who\n"]), ["-t", name] + more)
        try #require(output.succeeded, "\(output.everything)")
      }
      try await make("registry", ["--platform", "linux/amd64,linux/arm64", "--push"])
      let context = try environment.context("use", ["Dockerfile": "FROM \(name)\nRUN cat /who\n"])
      #expect(try await environment.build(context).steps.log("RUN cat") == ["registry"])
      try await make("local", ["--platform", Host.platform])
      let local = try await environment.build(context)
      #expect(local.steps.log("RUN cat") == ["local"] && local.errorText.contains("taken from the local store"), "\(local.everything)")
      let pulled = try await environment.build(context, ["--pull"])
      #expect(pulled.steps["RUN cat"] == "CACHED" && !pulled.errorText.contains("local store"), "\(pulled.everything)")
      let other = try await environment.build(context, ["--platform", Host.other])
      #expect(other.steps.log("RUN cat") == ["registry"] && other.errorText.contains("\(Host.platform)): taken from the registry"), "\(other.everything)")
      let copy = try environment.context("copy", ["Dockerfile": "FROM \(base)\nCOPY --from=\(name) /who /\nRUN cat /who\n"])
      #expect(try await environment.build(copy).steps.log("RUN cat") == ["local"])
    }
  }

  @Test(.timeLimit(.minutes(2))) func signals() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("c", ["Dockerfile": "FROM \(try await environment.base())\n"])
      try #require(try await environment.build(context, ["-t", "s"]).succeeded)
      for (signal, name) in [(SIGTERM, "TERM"), (SIGINT, "INT")] {
        let run = try environment.tool.start(
          ["run", "s", "sh", "-c", "trap 'echo caught; exit 9' \(name); echo ready; sleep 60 & wait"], output: environment.scratch + "/signal-\(name)")
        #expect(try await run.says("ready"))
        run.kill(signal)
        #expect(run.wait() == 9 << 8 && run.output.contains("caught"), "\(run.output)")
      }
      // One that the container's first process ignores ends the second time it is sent.
      let deaf = try environment.tool.start(["run", "s", "sh", "-c", "echo ready; exec sleep 60"], output: environment.scratch + "/deaf")
      #expect(try await deaf.says("ready"))
      deaf.kill(SIGTERM)
      try await Task.sleep(for: .milliseconds(300))
      #expect(!deaf.hasEnded)
      deaf.kill(SIGTERM)
      #expect(deaf.wait() == 143 << 8, "\(deaf.output)")

      let slow = try environment.context("slow", ["Dockerfile": "FROM \(try await environment.base())\nRUN echo started; sleep 60\n"])
      let build = try environment.tool.start(["build", "--progress=plain", slow], output: environment.scratch + "/build")
      #expect(try await build.says("started"))
      let clock = ContinuousClock(), began = clock.now
      build.kill(SIGINT)
      #expect(build.wait() == 130 << 8 && clock.now - began < .seconds(5), "\(build.output)")
      #expect(build.output.contains("CANCELED") && build.output.contains("interrupted"), "\(build.output)")
    }
  }
}

#if canImport(Glibc)
  import Glibc
#endif
