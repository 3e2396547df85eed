import Foundation
import HostOS
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// What bad luck does to a build and to those beside and after it.
@Suite(.serialized, .enabled(if: Tool.builds)) struct CrashTests {
  /// Each file proves that another is whole.
  private func context(_ environment: Environment, _ base: String) throws -> String {
    try environment.context(
      "crash",
      [
        "Dockerfile": """
          FROM \(base)
          ARG N
          RUN dd if=/dev/urandom of=/r bs=1k count=800 2>/dev/null && sha256sum /r > /r.sum
          COPY f /f
          RUN sha256sum -c /r.sum && mkdir /d && for i in 1 2 3 4; do echo $i > /d/$i; done
          RUN rm /d/3 && wc -c < /f > /n
          """,
        "f": String(repeating: "0123456789", count: 100_000),
      ])
  }

  /// A build is ended at a random moment, by SIGKILL or by the user; soon nothing of it is left, and the same build then succeeds with the right files.
  @Test(.timeLimit(.minutes(8)), arguments: [SIGKILL, SIGTERM, SIGINT]) func endedAtAnyMoment(_ signal: Int32) async throws {
    try await withEnvironment { environment in
      let context = try context(environment, try await environment.base())
      let out = environment.scratch + "/out"
      for round in 0..<5 {
        let token = "crash-\(UInt32.random(in: 0 ... .max))"
        let build = ["build", "--platform=linux/amd64,linux/arm64", "--progress=plain", "--build-arg=N=\(token)", "-t", environment.image("crash:\(round)"), "--push", context]
        let delay = Double.random(in: 0.05...2.5)
        let first = try environment.tool.start(build, output: environment.scratch + "/log")
        try await Task.sleep(for: .seconds(delay))
        first.kill(signal)
        let ended = ContinuousClock.now
        let status = first.wait()
        let (isExit, code) = (status & 0x7f == 0, status >> 8 & 0xff)
        // It may have been done before; or it had no time yet to listen for signals.
        #expect(isExit ? code == 0 || code == 128 + signal : status & 0x7f == signal, "\(delay): \(status) \(first.output)")
        var left: [String] = []
        repeat {
          left = Leftovers.of([token, environment.tool.root])
          if !left.isEmpty { try await Task.sleep(for: .milliseconds(50)) }
        } while !left.isEmpty && ContinuousClock.now - ended < .seconds(4)
        #expect(left == [], "\(delay)")
        try? Files.removeTree(out)
        let next = try await environment.tool.run(build + ["--output=type=local,dest=\(out)"])
        try #require(next.succeeded, "\(delay): \(next.everything)")
        for platform in ["linux_amd64", "linux_arm64"] { try await check(out + "/" + platform) }
        #expect(Leftovers.files(inStore: environment.tool.root) == [])
      }
      _ = try await environment.pulled(environment.image("crash:4"))
    }
  }

  private func check(_ tree: String) async throws {
    let sum = try await checked("sha256sum", [tree + "/r"]).outputText.prefix(64)
    #expect(Files.text(tree + "/r.sum")?.hasPrefix(sum) == true)
    #expect(Files.text(tree + "/n") == "1000000\n" && Files.text(tree + "/f")?.count == 1_000_000)
    #expect(try Directory.open(tree + "/d").entries().map(\.name).sorted() == ["1", "2", "4"])
  }

  /// Who builds the same at the same time, from an empty store, waits for the one that is first.
  @Test(.timeLimit(.minutes(3))) func fiveAtOnceRunAStepOnce() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("once", ["Dockerfile": "FROM \(base)\nRUN sleep 1; date +%N > /x; echo ran$((1+1))\nRUN cat /x > /y\n"])
      let builds = try (0..<5).map { i in
        try environment.tool.start(["build", "--progress=plain", "--provenance=false", "-t", "once\(i)", "--metadata-file=\(environment.scratch)/\(i).json", context], output: "\(environment.scratch)/\(i).log")
      }
      for build in builds { #expect(build.wait() == 0, "\(build.output)") }
      #expect(builds.count { $0.output.contains(" ran2\n") } == 1)
      let digests = try (0..<5).map { i in
        let document = try JSONSerialization.jsonObject(with: Data(Files.read("\(environment.scratch)/\(i).json", limit: 1 << 20))) as? [String: Any]
        return try #require(document?["containerimage.digest"] as? String)
      }
      #expect(Set(digests).count == 1)
    }
  }

  @Test(.timeLimit(.minutes(3)), arguments: [SIGKILL, SIGINT]) func aWaiterTakesOver(_ signal: Int32) async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("over", ["Dockerfile": "FROM \(base)\nRUN echo begun$((1+1)); sleep 2; echo done$((1+1))\n"])
      func start(_ name: String) throws -> Child { try environment.tool.start(["build", "--progress=plain", "-t", name, context], output: "\(environment.scratch)/\(name).log") }
      let first = try start("first")
      #expect(try await first.says("begun2\n"), "\(first.output)")
      let second = try start("second"), third = try start("third")
      // Both wait for the step's lock, as nobody can tell from outside.
      try await Task.sleep(for: .seconds(1))
      #expect(!second.hasEnded && !third.hasEnded && !second.output.contains("begun2"))
      third.kill(SIGINT)
      let asked = ContinuousClock.now
      let status = third.wait()
      #expect((status >> 8 & 0xff == 130 || status & 0x7f == SIGINT) && ContinuousClock.now - asked < .seconds(2), "\(status) \(third.output)")
      first.kill(signal)
      first.wait()
      #expect(second.wait() == 0 && second.output.contains(" done2\n"), "\(second.output)")
    }
  }

  /// A full disk is a clear error, harms nothing, and what filled it is gone.
  @Test(.timeLimit(.minutes(3)), .enabled(if: HostFacts.isRoot)) func fullDisk() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"])
      let disk = environment.scratch + "/disk"
      try Files.makeDirectories(disk)
      guard mount("tmpfs", disk, "tmpfs", 0, "size=24m") == 0 else { return print("SKIPPED fullDisk: cannot mount a tmpfs here") }
      defer { umount2(disk, Int32(MNT_DETACH)) }
      let tool = Tool(binary: environment.tool.binary, root: disk + "/root")
      let context = try environment.context("full", ["Dockerfile": "FROM \(base)\nARG N\nRUN head -c ${N}000000 /dev/urandom > /big && test $(stat -c %s /big) = ${N}000000\n"])
      func build(_ size: Int) async throws -> ProcessOutput { try await tool.run(["build", "--progress=plain", "--build-arg=N=\(size)", "-t", "full", context]) }
      let tooBig = try await build(40)
      #expect(tooBig.status == .exited(1) && tooBig.errorText.contains("did not complete successfully"), "\(tooBig.everything)")
      let small = try await build(1)
      #expect(small.succeeded, "\(small.everything)")
      // Room for the step's file, and not for the layer made of it.
      try await checked("sh", ["-c", "dd if=/dev/zero of='\(disk)/filler' bs=1k count=$(($(df -k --output=avail '\(disk)' | tail -1) - 7000)) 2>&1"])
      let export = try await build(5)
      #expect(!export.succeeded && export.errorText.contains("no space left on the device that holds \(tool.root)"), "\(export.everything)")
      try Files.removeTree(disk + "/filler")
      let again = try await build(5)
      #expect(again.succeeded && again.errorText.contains("CACHED"), "\(again.everything)")
      let run = try await tool.run("run", "--rm", "full", "stat", "-c", "%s", "/big")
      #expect(run.outputText == "5000000\n", "\(run.everything)")
    }
  }

  @Test(.timeLimit(.minutes(3))) func cachedBuildsAddNothing() async throws {
    try await withEnvironment { environment in
      let context = try context(environment, try await environment.base())
      func build() async throws {
        let output = try await environment.tool.run(["build", "--progress=plain", "--provenance=false", "-t", environment.image("same"), "--push", context])
        try #require(output.succeeded, "\(output.everything)")
      }
      func listing() throws -> [String] {
        let all = FileManager.default.enumerator(atPath: environment.tool.root)?.compactMap { $0 as? String } ?? []
        // The log comes and goes.
        return all.filter { !$0.hasPrefix("manifold.db-") }.sorted()
      }
      func databaseSize() throws -> Int64 { try Files.status(environment.tool.root + "/manifold.db").size }
      try await build()
      try await build()
      let before = try listing(), size = try databaseSize()
      for _ in 0..<15 { try await build() }
      #expect(try listing() == before)
      // Each build leaves its record (what it said, how it was made) until there are fifty of them.
      #expect(try databaseSize() - size < 15 * (128 << 10))
    }
  }

  @Test(.timeLimit(.minutes(2))) func theRegistryGoesAway() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), image = environment.image("away")
      let context = try environment.context("away", ["Dockerfile": "FROM \(base)\nRUN echo before$((1+1)); sleep 2\n"])
      let build = try environment.tool.start(["build", "--progress=plain", "-t", image, "--push", context], output: environment.scratch + "/log")
      #expect(try await build.says("before2\n"), "\(build.output)")
      environment.registry.stop()
      #expect(build.wait() >> 8 & 0xff == 3, "\(build.output)")
      #expect(build.output.contains("failed to push \(image)") && build.output.contains("connection refused"), "\(build.output)")
    }
  }
}
