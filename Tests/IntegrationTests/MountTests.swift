import Foundation
import HostOS
import OCIModel
import Testing

/// Mounts of RUN, its network and its privileges, with real steps; what each prints was compared with a real BuildKit's by hand.
@Suite(.enabled(if: Tool.builds)) struct MountTests {
  /// Waits in a step until a file is there, a minute at most.
  private static func wait(_ file: String) -> String { "for i in $(seq 600); do test -e \(file) && break; sleep 0.1; done; test -e \(file)" }

  @Test(.timeLimit(.minutes(5))) func sharingOfCaches() async throws {
    try await withEnvironment(needs: ["crun"]) { environment in
      let base = try await environment.base()
      // Two steps at once: they meet in a shared cache, and see nothing of one another in a private one.
      func one(_ me: String, _ other: String) -> String {
        """
        FROM \(base) AS \(me)
        RUN --mount=type=cache,target=/meet --mount=type=cache,target=/own,sharing=private touch /meet/\(me) /own/\(me); \(Self.wait("/meet/\(other)")) && ls /own > /seen-\(me); touch /meet/\(me).done; \(Self.wait("/meet/\(other).done"))
        RUN --mount=type=cache,id=lock,target=/l,sharing=locked test ! -e /l/busy && touch /l/busy && sleep 1 && rm /l/busy && echo \(me) >> /l/order && cat /l/order

        """
      }
      let dockerfile = one("a", "b") + one("b", "a") + "FROM scratch\nCOPY --from=a /seen-a /\nCOPY --from=b /seen-b /\n"
      let context = try environment.context("c", ["Dockerfile": dockerfile])
      let built = try await environment.build(context, ["--jobs", "4", "-o", environment.scratch + "/out"])
      try #require(built.succeeded, "\(built.everything)")
      #expect(Files.text(environment.scratch + "/out/seen-a") == "a\n" && Files.text(environment.scratch + "/out/seen-b") == "b\n")
    }
  }

  private static func options(_ base: String) -> String {
    """
    FROM \(base) AS other
    RUN mkdir -p /from/deep && echo there > /from/deep/file && chown 3:4 /from && echo link > /lone
    FROM \(base)
    ARG ID=first
    WORKDIR /work
    RUN --mount=type=cache,target=rel,id=$ID,uid=5,gid=6,mode=0710 stat -c '%a %u:%g' /work/rel && echo kept > rel/f
    RUN --mount=type=cache,target=/elsewhere,id=first,uid=5,gid=6,mode=0710 cat /elsewhere/f
    RUN --mount=type=cache,target=/based,from=other,source=/from stat -c '%a %u:%g' /based && cat /based/deep/file
    RUN --mount=type=cache,target=/ro,id=ro,ro touch /ro/x || echo read-only
    RUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/x bs=1k count=2000 2>/dev/null; stat -c %s /t/x
    RUN --mount=type=bind,target=/ctx touch /ctx/x || echo read-only
    RUN --mount=target=/ctx,rw touch /ctx/x && ls /ctx
    RUN --mount=target=/ctx,rw ls /ctx
    RUN --mount=from=other,source=/lone,target=/one/file cat /one/file
    RUN ls -d /one /t /ctx 2>/dev/null; ls -A /work; echo nothing left
    RUN --mount=type=secret,id=s,uid=7,gid=8,mode=0440 stat -c '%a %u:%g %s' /run/secrets/s
    RUN --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=s,env=BOTH,target=/both echo ${#TOKEN} ${#BOTH} $(wc -c < /both); ls /run/secrets 2>/dev/null || echo no file
    RUN --mount=type=secret,id=absent ls /run/secrets/absent 2>/dev/null || echo optional
    RUN --network=none ls /sys/class/net
    """
  }

  @Test(.timeLimit(.minutes(5))) func allOptions() async throws {
    try await withEnvironment(needs: ["crun"]) { environment in
      let context = try environment.context("c", ["Dockerfile": Self.options(try await environment.base()), "secret": "12345"])
      let built = try await environment.build(context, ["--secret", "id=s,src=\(context)/secret"])
      try #require(built.succeeded, "\(built.everything)")
      let expected: [(String, [String])] = [
        ("target=rel", ["710 5:6"]), ("/elsewhere", ["kept"]), ("target=/based", ["755 3:4", "there"]), ("target=/ro,id=ro", ["read-only"]), ("target=/t,", ["1048576"]),
        ("type=bind,target=/ctx", ["read-only"]), ("rw touch", ["Dockerfile", "secret", "x"]), ("rw ls", ["Dockerfile", "secret"]), ("source=/lone", ["link"]),
        ("ls -d /one", ["nothing left"]), ("uid=7", ["440 7:8 5"]), ("env=TOKEN", ["5 5 5", "no file"]), ("id=absent", ["optional"]), ("--network=none", ["lo"]),
      ]
      for (step, lines) in expected {
        #expect(built.steps.log(step).filter { !$0.contains("touch:") } == lines, "\(step): \(built.steps.log(step))")
      }
      #expect(!Files.exists(context + "/x"))
      // Kept from build to build, for this namespace of names alone.
      let again = try await environment.build(context, ["--no-cache", "--secret", "id=s,src=\(context)/secret", "--build-arg", "BUILDKIT_CACHE_MOUNT_NS=mine", "--build-arg", "ID=second"])
      #expect(again.code == 1 && again.errorText.contains("/elsewhere"), "\(again.everything)")
      let required = try environment.context("r", ["Dockerfile": "FROM \(try await environment.base())\nRUN --mount=type=secret,id=none,required true\n"])
      let missing = try await environment.build(required)
      #expect(missing.code == 2 && missing.errorText.contains("secret \"none\" is required"), "\(missing.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5))) func entitlements() async throws {
    try await withEnvironment(needs: ["crun"]) { environment in
      let base = try await environment.base()
      func context(_ flag: String, _ command: String) throws -> String { try environment.context("c", ["Dockerfile": "FROM \(base)\nRUN \(flag) \(command)\n"]) }
      for (flag, entitlement) in [("--network=host", "network.host"), ("--security=insecure", "security.insecure")] {
        let path = try context(flag, "true")
        let refused = try await environment.build(path)
        #expect(refused.code == 2 && refused.errorText.contains("\(flag) needs the entitlement \(entitlement)") && refused.errorText.contains("--allow \(entitlement)"), "\(refused.everything)")
        #expect(refused.errorText.contains("Dockerfile:2"), "\(refused.everything)")
        #expect(try await environment.build(path, ["--allow", entitlement]).succeeded)
      }
      #expect(try await environment.build(try context("--network=host", "true"), ["--network", "host"]).succeeded)
      // All capabilities, no filter of system calls, and mounts.
      let script = "grep CapEff /proc/self/status | tr -d '\\t'; grep Seccomp: /proc/self/status | tr -d '\\t'; mkdir /m && mount -t tmpfs x /m && echo mounted"
      let insecure = try await environment.build(try context("--security=insecure", script), ["--allow", "security.insecure"])
      try #require(insecure.succeeded, "\(insecure.everything)")
      let log = insecure.steps.log("insecure")
      let own = (Files.text("/proc/self/status") ?? "").split(separator: "\n").first { $0.hasPrefix("CapEff:") }?.filter { $0 != "\t" } ?? ""
      #expect(log.count == 3 && (log[0] == own || !HostFacts.isRoot) && log[1] == "Seccomp:0" && log[2] == "mounted", "\(log)")
      if HostFacts.isRoot { #expect(!insecure.errorText.contains("user namespace only")) }
      let ordinary = try await environment.build(try context("--security=sandbox", script.replacing(" && mount", with: " && ! mount").replacing("echo mounted", with: "echo not mounted")))
      #expect(ordinary.steps.log("sandbox").contains("not mounted") && ordinary.steps.log("sandbox").first != log.first, "\(ordinary.everything)")
      let device = try await environment.build(try context("--device=name=vendor.com/gpu=all,required", "true"), ["--allow", "device"])
      #expect(device.code == 1 && device.errorText.contains("required device \"vendor.com/gpu=all\" is not registered"), "\(device.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5))) func privilegesWithoutRoot() async throws {
    try await withEnvironment(needs: ["crun"]) { environment in
      try await OrdinaryUser.with(.many) { user in
        let own = try user.directory("own", in: environment)
        let context = try environment.context("c", ["Dockerfile": "FROM \(try await environment.base())\nRUN --security=insecure mkdir /m && mount -t tmpfs x /m && echo mounted; test -e /dev/kmsg || echo no device\n"])
        try await checked("chmod", ["-R", "a+rX", context])
        let built = try await user.run(environment.tool, root: own + "/root", ["build", "--progress=plain", "--allow", "security.insecure", context])
        try #require(built.succeeded, "\(built.everything)")
        #expect(built.steps.log("insecure").contains("mounted") && built.steps.log("insecure").contains("no device"), "\(built.everything)")
        #expect(built.errorText.contains("this build's own user namespace only"), "\(built.everything)")
        let parent = try await user.run(environment.tool, root: own + "/root", ["build", "--progress=plain", "--no-cache", "--allow", "security.insecure", "--cgroup-parent", "/x", context])
        #expect(parent.code == 2 && parent.errorText.contains("only root can put steps"), "\(parent.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(3))) func groupOfControl() async throws {
    guard HostFacts.isRoot, !HostFacts.inUserNamespace, Files.exists("/sys/fs/cgroup") else { return print("SKIPPED: only root can put steps into a control group") }
    let name = "manifold-it-\(getpid())"
    try await withEnvironment(needs: ["crun"]) { environment in
      let context = try environment.context("c", ["Dockerfile": "FROM \(try await environment.base())\nRUN cat /proc/self/cgroup; mknod /sda b 8 0; cat /sda || echo no disk\n"])
      let built = try await environment.build(context, ["--cgroup-parent", "/\(name)/inner"])
      defer {
        for path in ParentGroups.of(name) {
          try? Directory.open(path).removeDirectory("inner")
          try? Directory.open((path as NSString).deletingLastPathComponent).removeDirectory(name)
        }
      }
      if built.errorText.contains("Read-only file system") || built.errorText.contains("cannot be used") { return print("SKIPPED: control groups cannot be written here") }
      try #require(built.succeeded, "\(built.everything)")
      let log = built.steps.log("cgroup")
      #expect(log.contains { $0.contains("/\(name)/inner/") } || log.contains("0::/"), "\(log)")
      #expect(log.contains("no disk"), "\(log)")
      // The steps' own groups are gone.
      for path in ParentGroups.of(name) { #expect(try Directory.open(path + "/inner").entries().filter { $0.kind == .directory }.isEmpty) }
    }
  }
}

/// Where a control group of a name was made.
enum ParentGroups {
  static func of(_ name: String) -> [String] {
    let root = "/sys/fs/cgroup"
    let hierarchies = ((try? Directory.open(root).entries()) ?? []).filter { $0.kind == .directory }.map { "\(root)/\($0.name)/\(name)" }
    return (["\(root)/\(name)"] + hierarchies).filter { Files.exists($0) }
  }
}
