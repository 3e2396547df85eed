#if os(Linux)
  import HostOS
  import OCIModel
  import Testing

  @testable import BuildExecutor

  /// `RUN --security=insecure` and `--cgroup-parent`.
  @Suite struct PrivilegeTests {
    private func strings(_ json: JSONValue?) -> [String] { json?.arrayValue?.compactMap(\.stringValue) ?? [] }

    @Test func namesOfCapabilities() {
      #expect(Privileges.capabilities(inStatus: "Name:\tx\nCapEff:\t0000000000200001\nSeccomp:\t0\n") == ["CAP_CHOWN", "CAP_SYS_ADMIN"])
      #expect(Privileges.capabilities(inStatus: "CapEff:\t000001ffffffffff\n").count == 41)
      #expect(Privileges.capabilities(inStatus: "CapEff:\tnonsense\n").isEmpty && Privileges.capabilities(inStatus: "").isEmpty)
    }

    @Test(arguments: [false, true]) func insecureSteps(_ inUserNamespace: Bool) throws {
      let spec = try RuntimeSpec(
        process: ProcessSpec(arguments: ["x"], isInsecure: true), user: ProcessUser(uid: 0, gid: 0, additionalGids: []), rootPath: "/r", hostsPath: "/h", resolverPath: "/n", mounts: [],
        surroundings: .init(architecture: "amd64", inUserNamespace: inUserNamespace, hasUnifiedCgroups: true, deniesDevices: true, cgroupsPath: "/x")
      ).json()
      let linux = spec["linux"], all = Privileges.capabilities
      for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] { #expect(strings(spec["process"]?["capabilities"]?[set]) == all) }
      #expect(linux?["seccomp"] == nil && linux?["maskedPaths"]?.arrayValue?.isEmpty == true && linux?["readonlyPaths"]?.arrayValue?.isEmpty == true)
      #expect(linux?["resources"]?["devices"]?.arrayValue?.allSatisfy { $0["allow"] == true } == true)
      let paths = linux?["devices"]?.arrayValue?.compactMap { $0["path"]?.stringValue } ?? []
      #expect(paths.contains("/dev/fuse") == !inUserNamespace && paths.contains("/dev/loop7") == !inUserNamespace)
      let system = spec["mounts"]?.arrayValue?.first { $0["destination"]?.stringValue == "/sys" }
      #expect(strings(system?["options"]).contains("rw") == !inUserNamespace)
    }

    @Test func mountedHierarchies() {
      let mounts = """
        30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro
        31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
        33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
        34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
        35 30 0:29 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct
        """
      #expect(
        ParentCgroups.hierarchies(mounts: mounts) == [
          .init(path: "/sys/fs/cgroup/unified", isUnified: true, controllers: []), .init(path: "/sys/fs/cgroup/cpu,cpuacct", isUnified: false, controllers: ["cpu", "cpuacct"]),
          .init(path: "/sys/fs/cgroup/systemd", isUnified: false, controllers: ["name=systemd"]),
        ])
      #expect(ParentCgroups.hierarchies(mounts: "").isEmpty)
    }
  }
#endif
