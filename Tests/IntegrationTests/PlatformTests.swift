import Foundation
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@Suite(.enabled(if: Tool.builds)) struct PlatformTests {
  private static let seven = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/s390x", "linux/mips64le"]

  /// A stage on the build platform is one step and runs once, however many platforms copy from it.
  @Test(.timeLimit(.minutes(10))) func crossCompiling() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), image = environment.image("cross:latest")
      let context = try environment.context("cross", [
        "Dockerfile": """
        FROM --platform=$BUILDPLATFORM \(base) AS tools
        RUN echo prepared in $(uname -m) > /tools; sleep 1
        FROM --platform=$BUILDPLATFORM tools AS build
        ARG TARGETOS TARGETARCH TARGETVARIANT
        RUN echo "$TARGETOS/$TARGETARCH/$TARGETVARIANT $(cat /tools)" > /out
        FROM scratch
        COPY --from=build /out /out
        """
      ])
      let build = ["build", "--platform", Self.seven.joined(separator: ","), "--progress=plain", "-t", image, "--push", context]
      let output = try await environment.tool.run(build)
      try #require(output.succeeded, "\(output.everything)")
      #expect(try await environment.platforms(image).filter { $0 != "unknown/unknown" } == Self.seven)
      let lines = output.errorText.split(separator: "\n")
      // A step's name may come several times, with its number; a step that ran twice would have two numbers.
      #expect(Set(lines.filter { $0.hasPrefix("#") && $0.contains("RUN echo prepared in") }).count == 1, "\(output.everything)")
      #expect(Set(lines.filter { $0.hasPrefix("#") && $0.contains("RUN echo \"linux/") }).count == Self.seven.count, "\(output.everything)")
    }
  }

  /// Emulation that follows from the Dockerfile alone is told too, before the first step.
  @Test(.timeLimit(.minutes(2))) func emulationThatNobodyAskedFor() async throws {
    try await withEnvironment { environment in
      let context = try environment.context(
        "pinned", ["Dockerfile": "FROM --platform=\(Host.other) \(try await environment.base()) AS a\nRUN echo 1 > /x\nFROM scratch\nCOPY --from=a /x /\n"])
      let output = try await environment.build(context)
      #expect(output.succeeded && output.errorText.contains("steps for \(Host.other) are emulated by"), "\(output.everything)")
      // Asked for, it is shown once, by the command.
      let asked = try await environment.build(context, ["--platform", Host.other])
      #expect(asked.succeeded && !asked.errorText.contains("[internal] emulation"), "\(asked.everything)")
    }
  }

  /// In a namespace whose table of interpreters is empty, as on a host where nothing is registered.
  @Test(.timeLimit(.minutes(10)), .enabled(if: HostFacts.isRoot)) func emulationThatNobodyRegistered() async throws {
    try await withEnvironment(needs: ["unshare", "qemu-aarch64-static"]) { environment in
      let base = try await environment.base(), image = environment.image("emulated:latest")
      let context = try environment.context("emulated", [
        "Dockerfile": """
        FROM \(base)
        RUN cp /bin/busybox /bin/busybox-su && chmod 4755 /bin/busybox-su && sed -i s/^root:x:/root::/ /etc/passwd
        USER app
        RUN (uname -m | tr a-z A-Z | sed s/^/machine-/; /bin/busybox-su su root -c 'id -u'; sh -c 'echo child $(uname -m)') | cat > /tmp/os.txt
        """
      ])
      // A user namespace has a binfmt_misc of its own; an empty one hides the host's. Its ids are given from outside, since util-linux 2.38 cannot map them all.
      let script = """
        mkfifo "$1" && unshare --user --mount sh -c 'read -r go <"$1"; shift; mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && exec "$@"' sh "$@" & child=$!
        until [ -d /proc/$child ] && [ "$(readlink /proc/$child/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.05; done
        echo 0 0 65536 >/proc/$child/uid_map && echo 0 0 65536 >/proc/$child/gid_map && echo go >"$1"
        wait $child
        """
      func inside(_ name: String, _ command: [String]) async throws -> ProcessOutput {
        try await Processes.run("sh", ["-c", script, "sh", "\(environment.scratch)/\(name)"] + command, environment: environment.tool.environment(), limit: 16 << 20)
      }
      let build = ["build", "--platform", "linux/arm64,linux/arm/v7", "--progress=plain", "-t", image, "--push", context]
      let possible = try await inside("try", ["ls", "/proc/sys/fs/binfmt_misc"])
      guard possible.succeeded else { return print("SKIPPED: no user namespace with a binfmt_misc of its own here: \(possible.errorText)") }
      #expect(possible.outputText == "register\nstatus\n")
      let output = try await inside("go", [environment.tool.binary] + build)
      try #require(output.succeeded, "\(output.everything)")
      for (platform, machine) in [("linux/arm64", "aarch64"), ("linux/arm/v7", "armv7l")] {
        let text = Files.text(try await environment.unpacked(image, platform) + "/tmp/os.txt")
        #expect(text == "machine-\(machine.uppercased())\n0\nchild \(machine)\n")
      }
    }
  }

  /// Nothing outlives a build that was killed.
  @Test(.timeLimit(.minutes(10))) func killed() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let marker = "sleep 100\(UInt32.random(in: 0...99999))"
      let context = try environment.context("sleeping", ["Dockerfile": "FROM \(base)\nRUN echo begun-$((40+2)); \(marker)\n"])
      let build = try environment.tool.start(["build", "--progress=plain", "--no-cache", context], output: environment.scratch + "/log")
      #expect(try await build.says("begun-42"), "\(build.output)")
      #expect(remains(marker, environment).isEmpty == false)
      build.kill(SIGKILL)
      build.wait()
      var left: [String] = []
      for _ in 0..<20 {
        left = remains(marker, environment)
        if left.isEmpty { break }
        try await Task.sleep(for: .milliseconds(100))
      }
      #expect(left == [])
      // Its locks are gone too: the same step runs again, and to its end.
      let again = try environment.context("sleeping", ["Dockerfile": "FROM \(base)\nRUN echo started\n"])
      let output = try await environment.tool.run(["build", "--progress=plain", "--no-cache", again])
      #expect(output.succeeded, "\(output.everything)")
    }
  }

  /// Processes with the marker in their command lines, and mounts beneath the store.
  private func remains(_ marker: String, _ environment: Environment) -> [String] {
    var found = (Files.text("/proc/self/mountinfo") ?? "").split(separator: "\n").filter { $0.contains(environment.tool.root) }.map(String.init)
    let pids = (try? FileManager.default.contentsOfDirectory(atPath: "/proc"))?.compactMap { Int32($0) } ?? []
    for pid in pids {
      guard let bytes = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") else { continue }
      let line = String(decoding: bytes.map { $0 == 0 ? 0x20 : $0 }, as: UTF8.self)
      // The shell that waits for it, and the supervisor, have it in theirs too.
      if line.contains(marker) { found.append("\(pid): \(line)") }
    }
    return found
  }
}
