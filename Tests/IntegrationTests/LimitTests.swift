import Foundation
import HostOS
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// How much a build may take, and how it ends when somebody has had enough of it.
@Suite(.serialized, .enabled(if: Tool.builds)) struct LimitTests {
  /// A step that heeds no signal, with a child of its own that does not either.
  private static func stubborn(_ base: String) -> String {
    #"""
    FROM \#(base)
    ARG N
    RUN trap '' TERM INT HUP QUIT; (trap '' TERM INT HUP QUIT; sleep 1000) & echo begun$((1+1)) $N; while :; do sleep 1000; done
    """#
  }

  /// Ctrl-C once: the step is gone within a second, with its mounts, processes and control groups. As root and as an ordinary user.
  @Test(.timeLimit(.minutes(5)), arguments: [true, false]) func interrupted(_ asMyself: Bool) async throws {
    try await OrdinaryUser.with(.many) { user in
      try await withEnvironment { environment in
        let base = try await environment.base(["linux/amd64"]), token = "stubborn-\(UInt32.random(in: 0 ... .max))"
        let context = try environment.context("stubborn", ["Dockerfile": Self.stubborn(base)])
        let root = asMyself ? environment.tool.root : try user.directory("store", in: environment) + "/root"
        let command = [environment.tool.binary, "build", "--progress=plain", "--build-arg=N=\(token)", context]
        let words = asMyself ? command : user.words(command, .none)
        func start(_ log: String) throws -> Child {
          try Child(words[0], Array(words.dropFirst()), environment: environment.tool.environment(["MANIFOLD_ROOT": root, "HOME": root + "-home"]), outputPath: environment.scratch + log)
        }
        let build = try start("/log")
        #expect(try await build.says("begun2 \(token)"), "\(build.output)")
        build.kill(SIGINT)
        let asked = ContinuousClock.now
        let status = build.wait()
        // A debug build on a busy machine; a release build takes a tenth of it.
        #expect(ContinuousClock.now - asked < .seconds(3), "\(build.output)")
        #expect(status >> 8 & 0xff == 130, "\(status) \(build.output)")
        #expect(try await Leftovers.of([token, root], within: 1) == [])
        #expect(Leftovers.controlGroups(of: build.pid) == [])
        #expect(Leftovers.files(inStore: root) == [])

        // Twice: at once, and what is left goes by itself.
        let second = try start("/log2")
        #expect(try await second.says("begun2 \(token)"), "\(second.output)")
        second.kill(SIGINT)
        second.kill(SIGTERM)
        second.kill(SIGINT)
        let again = ContinuousClock.now
        let ended = second.wait()
        #expect(ContinuousClock.now - again < .seconds(2) && (ended & 0x7f != 0 || ended >> 8 & 0xff >= 128), "\(ended) \(second.output)")
        #expect(try await Leftovers.of([token, root], within: 2) == [])
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func timeouts() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"])
      let context = try environment.context("stubborn", ["Dockerfile": Self.stubborn(base)])
      for (option, message) in [("--step-timeout=1500ms", "took longer than --step-timeout allows, and was killed"), ("--timeout=3s", "the build took longer than 3s (--timeout) and was stopped")] {
        let token = "late-\(UInt32.random(in: 0 ... .max))"
        let began = ContinuousClock.now
        let output = try await environment.tool.run(["build", "--progress=plain", "--build-arg=N=\(token)", option, context])
        #expect(output.status == .exited(1) && output.errorText.contains(message), "\(output.everything)")
        #expect(ContinuousClock.now - began < .seconds(30))
        #expect(try await Leftovers.of([token, environment.tool.root], within: 1) == [])
        #expect(Leftovers.files(inStore: environment.tool.root) == [])
      }
      let quick = try environment.context("quick", ["Dockerfile": "FROM \(base)\nRUN true\n"])
      let output = try await environment.tool.run(["build", "--step-timeout=1m", "--timeout=5m", quick])
      #expect(output.succeeded, "\(output.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5)), .enabled(if: HostFacts.isRoot && HostFacts.cgroupMode != .none)) func memory() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"])
      let context = try environment.context("greedy", ["Dockerfile": "FROM \(base)\nARG N\nRUN echo $N; head -c 200000000 /dev/zero | wc -c\n"])
      func build(_ more: [String]) async throws -> ProcessOutput {
        try await environment.tool.run(["build", "--progress=plain", "--no-cache", "--build-arg=N=\(UInt32.random(in: 0 ... .max))"] + more + [context])
      }
      let free = try await build([])
      #expect(free.succeeded, "\(free.everything)")
      let roomy = try await build(["--resource", "memory=1g", "--resource", "cpus=1.5", "--resource", "cpuset-cpus=0"])
      if roomy.errorText.contains("steps cannot be limited here") { return print("SKIPPED: \(roomy.errorText)") }
      #expect(roomy.succeeded && roomy.errorText.contains("200000000"), "\(roomy.everything)")
      let killed = try environment.context("killed", ["Dockerfile": "FROM \(base)\nRUN exec tail /dev/zero\n"])
      let output = try await environment.tool.run(["build", "--progress=plain", "--resource", "memory=50m", killed])
      #expect(output.status == .exited(1) && output.errorText.contains("exit code: 137 (killed: out of memory)"), "\(output.everything)")
      let wrong = try await build(["--resource", "cpuset-cpus=4000"])
      #expect(!wrong.succeeded && wrong.errorText.contains("set the limit"), "\(wrong.everything)")
    }
  }

  /// Where no control group is the user's, limits are refused before anything runs.
  @Test(.timeLimit(.minutes(5))) func limitsThatNobodyKeeps() async throws {
    try await OrdinaryUser.with(.many) { user in
      try await withEnvironment { environment in
        let base = try await environment.base(["linux/amd64"]), context = try environment.context("limited", ["Dockerfile": "FROM \(base)\nRUN echo ran$((1+1))\n"])
        let root = try user.directory("store", in: environment) + "/root"
        let output = try await user.run(environment.tool, root: root, ["build", "--progress=plain", "--resource", "memory=50m", context])
        if output.succeeded { return print("SKIPPED: this user may make control groups") }
        #expect(output.errorText.contains("steps cannot be limited here: for memory, ") && !output.errorText.contains("ran2"), "\(output.everything)")
      }
    }
  }
}
