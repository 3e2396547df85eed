#if os(Linux)
  import HostOS
  import OCIModel
  import Testing

  @testable import BuildExecutor

  /// The tests with containers once more, in the namespaces and with the ids of others.
  @Suite(.enabled(if: Fixture.canRun && !Child.isOne, "needs root, an OCI runtime and apt"), .serialized) struct SurroundingsTests {
    static let containers = "BuildExecutorTests.(ContainerTests|MountTests)"
    static let all = "BuildExecutorTests.(ContainerTests|MountTests|EmulatedRunTests)"
    static let emulated = "BuildExecutorTests.EmulatedRunTests"

    private func run(_ tests: String, _ prefix: String, _ variables: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation) async throws {
      try await Fixture.fetchPackages(["amd64", "386", "arm64", "arm", "ppc64le", "s390x", "mips64le"])
      let ran = try await Child.run(tests, prefix: prefix, variables: variables)
      if ran.text.contains("SKIPPING") { print(ran.text.split(separator: "\n").filter { $0.contains("SKIPPING") }.joined(separator: "\n")) }
      let lines = ran.text.split(separator: "\n")
      let from = lines.firstIndex { $0.contains("recorded an issue") } ?? max(0, lines.count - 20)
      #expect(ran.passed, "\(lines[from...].prefix(60).joined(separator: "\n"))", sourceLocation: sourceLocation)
    }
    private func hasRuntime(_ name: String) -> Bool {
      let found = Processes.executablePath(name) != nil
      if !found { print("BuildExecutorTests: SKIPPING \(name): not installed") }
      return found
    }

    @Test func withRunc() async throws {
      guard hasRuntime("runc") else { return }
      try await run(Self.all, "settings=MANIFOLD_RUNTIME=runc", ["RUNTIME": "runc"])
    }

    @Test func withFewDescriptors() async throws {
      try await run("BuildExecutorTests.ContainerTests/descriptorsAsTheSessionAllows", "ulimit -Sn 1000", ["DESCRIPTORS": "1000"])
    }

    /// Other machines' control groups, in a mount namespace: version 2 alone, version 1 alone, none. With that of this machine that is each kind.
    @Test(arguments: ["v2", "v1", "none"], ["crun", "runc"]) func withControlGroups(layout: String, runtime: String) async throws {
      guard hasRuntime(runtime) else { return }
      if HostFacts.cgroupMode.rawValue == layout { return }
      if layout == "v1", HostFacts.cgroupMode != .hybrid {
        print("BuildExecutorTests: SKIPPING control groups of version 1: this machine has none")
        return
      }
      let change =
        switch layout {
        case "v2": "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"
        case "v1": "umount /sys/fs/cgroup/unified; mount -o remount,rw /sys/fs/cgroup; rmdir /sys/fs/cgroup/unified || :"
        default: "umount -R /sys/fs/cgroup"
        }
      let prefix = """
        printf '%s\n' 'set -e' '\(change)' 'exec "$@"' > "$work/wrap"
        with="unshare -m sh $work/wrap"; settings=MANIFOLD_RUNTIME=\(runtime)
        """
      try await run(Self.all, prefix, ["CGROUPS": layout, "RUNTIME": runtime])
    }

    /// Root of a user namespace that has all ids but the last.
    @Test func inAnOuterUserNamespace() async throws {
      try await run(Self.all, Self.allIDs, ["EMULATION": "private", "MAP": "4294967294"])
    }

    /// What `unshare -Urm` makes: a single id, and over the host's table one of its own, which is empty.
    @Test func underAnEmptyTable() async throws {
      try await run(Self.emulated, Self.wrap("mount -t binfmt_misc none /proc/sys/fs/binfmt_misc\nexec \"$@\""), ["EMULATION": "private", "IDS": "one", "MAP": "1"])
    }

    /// The table of such a namespace holds complete entries: they are used, and no others are made.
    @Test func withTheHostsRegistration() async throws {
      guard Fixture.hasEmulator("aarch64"), Fixture.hasEmulator("arm") else { return }
      var script = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc"
      for (architecture, _, _) in EmulatedRunTests.platforms.map({ ((try? Platform(parsing: $0.0))?.architecture ?? "", $0.1, $0.2) }) + [("riscv64", "", "")] {
        guard architecture != "386", let foreign = ForeignArchitecture.named(architecture),
          let path = Processes.executablePath("qemu-\(foreign.qemuName)-static"), let line = foreign.registration(interpreter: path)
        else { continue }
        script += "\nprintf '%s' '\(line)' > /proc/sys/fs/binfmt_misc/register"
      }
      try await run(Self.emulated, Self.wrap(script + "\nexec \"$@\""), ["EMULATION": "host", "IDS": "one", "MAP": "1"])
    }

    /// An ordinary user with ranges in /etc/subuid and /etc/subgid (of a mount namespace of the test's: the machine's files stay as they are).
    @Test func asAnOrdinaryUser() async throws {
      guard hasRuntime("newuidmap"), hasRuntime("setpriv") else { return }
      try await run(Self.all, Self.user(ranges: true), ["EMULATION": "private", "MAP": "65537"])
    }

    /// One who has no ranges: his own id is the only one.
    @Test func asAUserWithOneId() async throws {
      guard hasRuntime("setpriv") else { return }
      try await run("BuildExecutorTests.(ContainerTests/(outputAndExit|manyBytes|noSuch|networks|limits|process)|MountTests/(binds|overlays|stub)|EmulatedRunTests)", Self.user(ranges: false), ["EMULATION": "private", "IDS": "one", "MAP": "1"])
    }

    /// A program `$with` that does `script` in an `unshare -Urm` and then what it is given.
    private static func wrap(_ script: String) -> String {
      """
      cat > "$work/wrap" <<'END'
      \(script)
      END
      with="unshare -Urm sh $work/wrap"
      """
    }

    /// newuidmap lets nobody map ids that are not his by /etc/subuid; real root writes the maps himself.
    private static let allIDs = """
      mkfifo "$work/go"
      cat > "$work/wrap" <<'END'
      read go < "$1/go"
      shift
      exec setpriv --reuid 0 --regid 0 --clear-groups "$@"
      END
      (
        while test "$(readlink /proc/$$/ns/user)" = "$(readlink /proc/self/ns/user)"; do sleep 0.02; done
        echo 0 0 4294967294 > /proc/$$/uid_map
        echo 0 0 4294967294 > /proc/$$/gid_map
        echo go > "$work/go"
      ) > /dev/null 2>&1 &
      with="unshare -U -m sh $work/wrap $work"
      """

    private static func user(ranges: Bool) -> String {
      """
      id=54321
      cp /etc/passwd "$work/passwd"; cp /etc/group "$work/group"
      echo "manifold-test:x:$id:$id::/nonexistent:/bin/sh" >> "$work/passwd"
      echo "manifold-test:x:$id:" >> "$work/group"
      \(ranges ? "echo manifold-test:300000:65536 > \"$work/subuid\"" : ": > \"$work/subuid\"")
      cp "$work/subuid" "$work/subgid"
      cat > "$work/wrap" <<'END'
      set -e
      for file in passwd group subuid subgid; do test -e /etc/$file || : > /etc/$file; mount --bind "$1/$file" /etc/$file; done
      shift
      exec setpriv --reuid 54321 --regid 54321 --clear-groups "$@"
      END
      chown 54321:54321 "$work"
      chmod 711 "$(dirname "$work")"
      with="unshare -m sh $work/wrap $work"
      settings="MANIFOLD_STAGE=namespaces"
      """
    }
  }
#endif
