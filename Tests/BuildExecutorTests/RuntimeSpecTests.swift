import HostOS
import OCIModel
import Testing

@testable import BuildExecutor

@Suite struct RuntimeSpecTests {
  func json(
    _ process: ProcessSpec, userNamespace: Bool = false, unified: Bool = false, denies: Bool = true, mounts: [RuntimeSpec.Mount] = [], tty: Bool = true,
    cgroupsPath: String? = nil
  ) throws -> JSONValue {
    try RuntimeSpec(
      process: process, user: ProcessUser(uid: 5, gid: 6, additionalGids: [7]), rootPath: "/s/rootfs", hostsPath: "/s/hosts", resolverPath: "/s/resolv.conf",
      mounts: mounts,
      surroundings: .init(
        architecture: "amd64", inUserNamespace: userNamespace, hasTTYGroup: tty, hasUnifiedCgroups: unified, deniesDevices: denies, cgroupsPath: cgroupsPath)
    ).json()
  }
  func destinations(_ json: JSONValue) -> [String] { json["mounts"]?.arrayValue?.compactMap { $0["destination"]?.stringValue } ?? [] }
  func mount(_ json: JSONValue, _ destination: String) -> JSONValue? { json["mounts"]?.arrayValue?.first { $0["destination"]?.stringValue == destination } }
  func options(_ json: JSONValue, _ destination: String) -> [String] { strings(mount(json, destination)?["options"]) }
  func bounding(_ json: JSONValue) -> [String] { strings(json["process"]?["capabilities"]?["bounding"]) }
  func strings(_ json: JSONValue?) -> [String] { json?.arrayValue?.compactMap(\.stringValue) ?? [] }

  @Test func defaults() throws {
    let spec = try json(ProcessSpec(arguments: ["/bin/sh", "-c", "true"], environment: ["A=b"], workingDirectory: "/x/../y//"))
    #expect(spec["hostname"] == "buildkitsandbox")
    #expect(spec["process"]?["cwd"] == "/y")
    #expect(strings(spec["process"]?["args"]) == ["/bin/sh", "-c", "true"])
    #expect(strings(spec["process"]?["env"]) == ["A=b"])
    #expect(spec["process"]?["noNewPrivileges"] == false)
    #expect(spec["process"]?["rlimits"] == nil)
    #expect(spec["process"]?["user"]?.encodedString() == #"{"uid":5,"gid":6,"additionalGids":[6,7]}"#)
    #expect(bounding(spec) == RuntimeSpec.capabilities)
    #expect(spec["process"]?["capabilities"]?["inheritable"] == nil)
    #expect(spec["linux"]?["namespaces"]?.arrayValue?.compactMap { $0["type"]?.stringValue } == ["pid", "ipc", "uts", "mount"])
    #expect(destinations(spec) == ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/etc/resolv.conf", "/etc/hosts"])
    #expect(mount(spec, "/sys")?["type"] == "sysfs")
    #expect(options(spec, "/dev/shm").contains("size=65536k"))
    #expect(spec["linux"]?["maskedPaths"]?.arrayValue?.count == 11)
    #expect(spec["linux"]?["readonlyPaths"]?.arrayValue?.count == 5)
    #expect(spec["linux"]?["cgroupsPath"] == nil)
  }

  @Test func surroundings() throws {
    let none = try json(ProcessSpec(arguments: ["x"], network: .none), userNamespace: true, unified: true, tty: false)
    #expect(none["linux"]?["namespaces"]?.arrayValue?.compactMap { $0["type"]?.stringValue } == ["pid", "ipc", "uts", "mount", "network", "cgroup"])
    #expect(mount(none, "/sys")?["type"] == "sysfs")
    #expect(mount(none, "/sys/fs/cgroup")?["type"] == "cgroup")
    #expect(!options(none, "/dev/pts").contains("gid=5"))
    let shared = try json(ProcessSpec(arguments: ["x"], network: .sandbox), userNamespace: true, denies: false, cgroupsPath: "/manifold/x")
    #expect(mount(shared, "/sys")?["type"] == "bind")
    #expect(!bounding(shared).contains("CAP_MKNOD"))
    #expect(shared["linux"]?["cgroupsPath"] == "/manifold/x")
  }

  @Test func mountsReplaceEarlierOnes() throws {
    let spec = try json(
      ProcessSpec(arguments: ["x"]),
      mounts: [
        .init("/dev/shm", type: "tmpfs", source: "tmpfs", ["size=1"]), .init("/a", type: "bind", source: "/1", []), .init("/a", type: "bind", source: "/2", []),
      ])
    #expect(destinations(spec) == ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/etc/resolv.conf", "/etc/hosts", "/a"])
    #expect(options(spec, "/dev/shm") == ["size=1"])
    #expect(mount(spec, "/a")?["source"] == "/2")
  }

  @Test func limits() throws {
    let spec = try json(ProcessSpec(arguments: ["x"], limits: [.init(name: "nofile", soft: 10, hard: 20), .init(name: "core", soft: -1, hard: -1)]))
    #expect(
      spec["process"]?["rlimits"]?.encodedString()
        == #"[{"type":"RLIMIT_NOFILE","hard":20,"soft":10},{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":18446744073709551615}]"#)
    for bad in [ProcessSpec.Limit(name: "nosuch", soft: 1, hard: 1), .init(name: "nofile", soft: 3, hard: 2), .init(name: "nofile", soft: -1, hard: 2)] {
      #expect { try json(ProcessSpec(arguments: ["x"], limits: [bad])) } throws: { ($0 as? ExecutorError)?.code == .invalidStep }
    }
    #expect { try json(ProcessSpec(arguments: [])) } throws: { ($0 as? ExecutorError)?.code == .invalidStep }
    #expect { try json(ProcessSpec(arguments: ["a\0b"])) } throws: { ($0 as? ExecutorError)?.code == .invalidStep }
  }

  @Test func seccomp() throws {
    let profile = try #require(Seccomp.profile(architecture: "amd64"))
    #expect(profile["defaultAction"] == "SCMP_ACT_ERRNO")
    #expect(strings(profile["architectures"]) == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    let rules = try #require(profile["syscalls"]?.arrayValue)
    #expect(strings(rules[0]["names"]).count == 361)
    let clone = try #require(rules.first { strings($0["names"]) == ["clone"] })
    #expect(clone["args"]?.encodedString() == #"[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]"#)
    #expect(rules.first { strings($0["names"]) == ["clone3"] }?["errnoRet"] == 38)
    #expect(!rules.flatMap { strings($0["names"]) }.contains("mount"))
    #expect(rules.flatMap { strings($0["names"]) }.contains("arch_prctl"))
    let other = try #require(Seccomp.profile(architecture: "s390x"))
    #expect(other["syscalls"]?.arrayValue?.contains { strings($0["names"]) == ["clone"] && $0["args"]?.arrayValue?[0]["index"] == 1 } == true)
    #expect(Seccomp.profile(architecture: "ppc64le")?["architectures"] == nil)
    #expect(Seccomp.profile(architecture: "vax") == nil)
  }

  @Test func hostFiles() {
    #expect(HostFiles.hosts(hostname: nil, extra: []) == "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    #expect(HostFiles.hosts(hostname: "h", extra: [.init(name: "a", address: "1.2.3.4")]).hasSuffix("localhost h\n::1\tlocalhost ip6-localhost ip6-loopback\n1.2.3.4\ta\n"))
    let text = "# x\n; y\nnameserver 127.0.0.53\nnameserver bad\n  nameserver fe80::1%eth0\ndomain a\nsearch b c\noptions ndots:1\noptions edns0\nsortlist 1\n"
    #expect(HostFiles.resolverConfiguration(from: text) == "nameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch b c\noptions ndots:1 edns0\nsortlist 1\n")
    #expect(HostFiles.resolverConfiguration(from: "").hasPrefix("nameserver 8.8.8.8\n"))
  }

  @Test func runtimeMessages() {
    #expect(Runtime.message(inLog: "") == nil)
    #expect(Runtime.message(inLog: "time=\"2024\" level=warning msg=\"unable to terminate initProcess\"\n") == nil)
    #expect(Runtime.message(inLog: "2024-05-01T10:00:00.000000Z: executable file `x` not found\n") == "executable file `x` not found")
    #expect(
      Runtime.message(inLog: "time=\"2024\" level=error msg=\"runc run failed: exec: \\\"x\\\": not found\"\n") == "runc run failed: exec: \"x\": not found")
  }

  #if os(Linux)
    @Test func devicePlaces() {
      let v1 = "30 20 0:5 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n"
      #expect(DeviceCgroups.place(mounts: v1, own: "5:devices:/\n0::/") == .init(path: "/sys/fs/cgroup/devices", isUnified: false))
      #expect(DeviceCgroups.place(mounts: v1, own: "5:cpu,devices:/a/b\n") == .init(path: "/sys/fs/cgroup/devices/a/b", isUnified: false))
      let v2 = "30 20 0:5 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
      #expect(DeviceCgroups.place(mounts: v2, own: "0::/user.slice/x\n") == .init(path: "/sys/fs/cgroup/user.slice/x", isUnified: true))
      let contained = "30 20 0:5 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
      #expect(DeviceCgroups.place(mounts: contained, own: "0::/docker/1\n") == .init(path: "/sys/fs/cgroup", isUnified: true))
      #expect(DeviceCgroups.place(mounts: contained, own: "0::/../x\n") == nil)
      #expect(DeviceCgroups.place(mounts: "", own: "") == nil)
    }
  #endif
}
