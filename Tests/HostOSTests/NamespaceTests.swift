#if os(Linux)
  @testable import HostOS
  import Glibc
  import Testing

  /// Run by the suite below in another start of this same program, inside the namespaces; skipped everywhere else.
  @Suite(.enabled(if: getenv("MANIFOLD_TEST_INSIDE") != nil)) struct InsideNamespaces {
    @Test func insideNamespaces() throws {
      try #require(getenv("MANIFOLD_NS_ERROR") == nil, "\(getenv("MANIFOLD_NS_ERROR").map { String(cString: $0) } ?? "")")
      try #require(Namespaces.isInside)
      #expect(getenv("MANIFOLD_STAGE") == nil)
      let state = try Namespaces.enterIfNeeded()
      #expect(geteuid() == 0 && getuid() == 0 && getegid() == 0)
      let expected = String(cString: getenv("MANIFOLD_TEST_INSIDE"))
      switch expected {
      case "root":
        #expect(!state.inUserNamespace && state.notes.isEmpty)
      case "ranges":
        #expect(state.inUserNamespace && state.idMap.count == 65537 && state.groupIDMap.count == 65537 && state.notes.isEmpty, "\(state)")
      case "single":
        #expect(state.inUserNamespace && state.idMap.count == 1 && state.groupIDMap.count == 1 && !state.notes.isEmpty, "\(state)")
      default: Issue.record("\(expected)")
      }
      let scratch = try Files.makeTemporaryDirectory()
      defer { try? Files.removeTree(scratch) }
      // Root over mounts: an overlay works, and nothing of it is seen outside.
      #expect(OverlaySupport.probe(in: scratch) == .works(userXattr: state.inUserNamespace))
      try Mounts.mount(.tmpfs(size: nil), at: scratch)
      #expect(try FileSystemFacts.of(scratch).kind == .tmpfs)
      try Mounts.unmount(scratch)
      if state.idMap.count > 1 {
        let directory = try Directory.open(scratch)
        try directory.openFile("f", flags: [.create, .writeOnly]).close()
        try directory.setOwner("f", uid: 1234, gid: 65536 - 1)
        #expect(try directory.status("f").uid == 1234)
        // What a mapped user closed up, the mapped root removes.
        try directory.makeDirectories("closed/below")
        try directory.setOwner("closed", uid: 1000, gid: 1000)
        try directory.setMode("closed", 0)
      }
    }
  }

  @Suite(.serialized) struct NamespaceTests {
    /// This program again, with one test, inside the namespaces: as `user`, or as the present one.
    private func runInside(_ expected: String, user: String? = nil) async throws {
      let program = "/proc/\(getpid())/exe"
      let bundle = try #require(CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? (try? readLink("/proc/self/exe")))
      var arguments = ["--testing-library", "swift-testing", "--filter", "insideNamespaces"]
      if bundle.hasSuffix(".xctest") { arguments = ["--test-bundle-path", bundle] + arguments }
      let command = (["env", "MANIFOLD_STAGE=namespaces", "MANIFOLD_TEST_INSIDE=\(expected)", (try? readLink("/proc/self/exe")) ?? program] + arguments)
      let output: ProcessOutput
      if let user {
        output = try await Processes.run("su", ["-s", "/bin/sh", user, "-c", command.map { "'\($0)'" }.joined(separator: " ")], workingDirectory: "/")
      } else {
        output = try await Processes.run(command[0], Array(command.dropFirst()))
      }
      #expect(output.succeeded && (output.outputText + output.errorText).contains("insideNamespaces() passed"), "\(output.status) \(output.outputText) \(output.errorText)")
    }

    private func readLink(_ path: String) throws -> String { try Directory.open("/").openDirectory("proc/self").readLink("exe") }

    @Test(.enabled(if: isRoot)) func asRoot() async throws {
      try await runInside("root")
    }

    /// Needs root to make the user, and its ranges, for the time of the test.
    @Test(.enabled(if: isRoot && Processes.executablePath("useradd") != nil && Processes.executablePath("newuidmap") != nil))
    func asAnOrdinaryUser() async throws {
      let name = "manifold-t\(getpid() % 10000)"
      #expect(try await Processes.run("useradd", ["-M", "-d", "/tmp", name]).succeeded)
      do {
        let id = try #require(try await Processes.run("id", ["-u", name]).outputText.split(separator: "\n").first.map(String.init))
        // useradd may have given it ranges; then they are taken away to see both.
        _ = try await Processes.run("usermod", ["--del-subuids", "1-4294967294", "--del-subgids", "1-4294967294", name])
        try await runInside("single", user: name)
        #expect(try await Processes.run("usermod", ["--add-subuids", "700000-765535", "--add-subgids", "800000-865535", name]).succeeded)
        try await runInside("ranges", user: name)
        _ = id
      }
      #expect(try await Processes.run("userdel", [name]).succeeded)
    }

    @Test func refusalsAreExplained() {
      func message(_ failure: String, _ files: [String: String]) -> String { Namespaces.explain(failure) { files[$0] }.description }
      #expect(message("unshare-user 28", ["/proc/sys/user/max_user_namespaces": "0\n"]).contains("sysctl user.max_user_namespaces"))
      #expect(message("unshare-user 1", ["/proc/sys/kernel/unprivileged_userns_clone": "0\n"]).contains("unprivileged_userns_clone=1"))
      #expect(message("unshare-user 1", [:]).contains("seccomp"))
      #expect(message("unshare-user 22", [:]).contains("without user namespaces"))
      #expect(message("unshare-user 1", ["/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"]).contains("AppArmor"))
      #expect(message("propagation 13", ["/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"]).contains("AppArmor"))
      #expect(message("uid_map 1", ["/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"]).contains("AppArmor"))
    }
  }
#endif
