#if os(Linux)
  import HostOS
  import Testing

  @testable import BuildExecutor

  /// Where a step's control groups go, on machines of every kind.
  @Suite struct LimitTests {
    private static let v2Mount = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    private static let v1Mounts = """
      40 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
      41 24 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
      42 24 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
      """

    private func host(_ mounts: String, _ own: String, handedOn: [String: String] = [:], mine: Set<String>) -> LimitCgroups.Host {
      LimitCgroups.Host(
        mounts: mounts, own: own, read: { path in handedOn[path.replacing("/cgroup.subtree_control", with: "")] },
        mayWrite: { mine.contains($0.replacing("/cgroup.procs", with: "")) }, enable: { _, _ in })
    }

    @Test func versionOne() throws {
      let own = "3:memory:/user/me\n2:cpu,cpuacct:/\n0::/init.scope\n"
      let mine: Set = ["/sys/fs/cgroup/memory/user/me", "/sys/fs/cgroup/cpu,cpuacct"]
      #expect(
        try LimitCgroups.places(for: ["memory", "cpu"], host(Self.v1Mounts, own, mine: mine)) == [
          .init(path: "/sys/fs/cgroup/memory/user/me", isUnified: false, controllers: ["memory"]),
          .init(path: "/sys/fs/cgroup/cpu,cpuacct", isUnified: false, controllers: ["cpu"]),
        ])
      #expect(performing: { try LimitCgroups.places(for: ["memory"], host(Self.v1Mounts, own, mine: [])) }, throws: { "\($0)".contains("/sys/fs/cgroup/memory/user/me is not this user's") })
      #expect(performing: { try LimitCgroups.places(for: ["cpuset"], host(Self.v1Mounts, own, mine: mine)) }, throws: { "\($0)".contains("no hierarchy of control groups") })
    }

    /// A scope that systemd made for the user: its processes are in a leaf, and the slice above, which is his, hands memory on.
    @Test func versionTwo() throws {
      let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n"
      let service = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"
      let handedOn = [service + "/app.slice": "cpu memory pids\n", service: "cpu memory pids", "/sys/fs/cgroup": "cpuset cpu memory pids"]
      let mine: Set = [service, service + "/app.slice", service + "/app.slice/run-1.scope"]
      #expect(
        try LimitCgroups.places(for: ["memory", "cpu"], host(Self.v2Mount, own, handedOn: handedOn, mine: mine)) == [
          .init(path: service + "/app.slice", isUnified: true, controllers: ["memory", "cpu"])
        ])
      // Only the root hands cpusets on, and that is not his.
      #expect(performing: { try LimitCgroups.places(for: ["cpuset"], host(Self.v2Mount, own, handedOn: handedOn, mine: mine)) }, throws: { "\($0)".contains("/sys/fs/cgroup is not this user's") })
      #expect(performing: { try LimitCgroups.places(for: ["memory"], host(Self.v2Mount, own, handedOn: [:], mine: mine)) }, throws: { "\($0)".contains("systemd-run --user --scope") })
    }

    @Test func settings() {
      let resources = StepResources(memory: 1 << 20, memorySwap: 3 << 20, cpuShares: 1024, cpuQuota: 150_000, cpusetCPUs: "0-1")
      func all(_ unified: Bool) -> [String] {
        resources.controllers.flatMap { resources.settings($0, unified: unified) { "of \($0)" } }.map { "\($0.file)=\($0.value)" }
      }
      #expect(all(true) == ["memory.max=1048576", "memory.swap.max=2097152", "cpu.weight=39", "cpu.max=150000 100000", "cpuset.cpus=0-1"])
      #expect(
        all(false) == [
          "memory.limit_in_bytes=1048576", "memory.memsw.limit_in_bytes=3145728", "cpu.shares=1024", "cpu.cfs_quota_us=150000", "cpuset.cpus=0-1", "cpuset.mems=of cpuset.mems",
        ])
      #expect(StepResources().isEmpty && StepResources().controllers.isEmpty)
    }
  }
#endif
