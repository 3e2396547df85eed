@testable import BuildkitdConfig
import OCIModel
import Testing

@Suite struct DaemonSettingsTests {
  @Test func readsEverySection() throws {
    let file = try BuildkitdFile(
      parsing: """
        root = "/r"
        trace = true
        insecure-entitlements = ["network.host", "device=vendor.example/gpu"]
        provenanceEnvDir = "prov.d"
        [log]
        format = "json"
        level = "warning"
        [grpc]
        address = ["unix:///a.sock", "tcp://127.0.0.1:1"]
        gid = 1234
        [grpc.tls]
        cert = "c.pem"
        key = "/k.pem"
        ca = "ca.pem"
        [otel]
        socketPath = "/o.sock"
        [cdi]
        disabled = true
        specDirs = ["/x"]
        autoAllowed = ["a/b"]
        [worker.oci]
        enabled = true
        platforms = ["linux/amd64", "arm64"]
        snapshotter = "stargz"
        rootless = true
        GC = false
        gckeepstorage = 123456789
        networkMode = "cni"
        cniConfigPath = "/c.json"
        cniBinaryPath = "/b"
        cniPoolSize = 16
        bridgeName = "br"
        bridgeSubnet = "10.1.0.0/16"
        binary = "runc"
        max-parallelism = 4
        defaultCgroupParent = "p"
        [worker.oci.labels]
        foo = "bar"
        "aa.bb.cc" = "baz"
        [[worker.oci.gcpolicy]]
        all = true
        filters = ["type==a"]
        keepBytes = "20%"
        keepDuration = 3600
        [[worker.oci.gcpolicy]]
        reservedSpace = "40MB"
        maxUsedSpace = 5
        minFreeSpace = "1.5GiB"
        keepDuration = "24h"
        [worker.containerd]
        enabled = true
        address = "x"
        [worker.containerd.runtime]
        options.foo = "bar"
        [dns]
        nameservers = ["1.1.1.1"]
        options = ["edns0"]
        searchDomains = ["example.com"]
        [history]
        maxAge = 172800
        maxEntries = 5
        [frontend."dockerfile.v0"]
        enabled = false
        [frontend."gateway.v0"]
        allowedRepositories = ["docker.io/docker/dockerfile"]
        [system]
        platformsCacheMaxAge = "1h"
        maxRegistryConcurrency = 3
        [ghacache.sign]
        cmd = ""
        """, path: "/etc/b/x.toml")
    #expect(file.root == "/r" && file.entitlements == ["network.host", "device=vendor.example/gpu"] && file.provenanceDirectory == "/etc/b/prov.d")
    #expect(file.log == LogSettings(format: .json, level: .warn))
    #expect(file.grpc.addresses == ["unix:///a.sock", "tcp://127.0.0.1:1"] && file.grpc.gid == 1234 && file.grpc.uid == nil)
    #expect(file.grpc.tls == TLSFiles(certificate: "/etc/b/c.pem", key: "/k.pem", clientAuthority: "/etc/b/ca.pem"))
    #expect(file.traceSocket == "/o.sock" && file.cdi == CDISettings(isDisabled: true, specDirectories: ["/x"], autoAllowed: ["a/b"]))
    let worker = file.worker
    #expect(worker.isEnabled == true && worker.platforms?.map(\.description) == ["linux/amd64", "linux/arm64"] && worker.isRootless && worker.maxParallelism == 4)
    #expect(worker.labels == ["foo": "bar", "aa.bb.cc": "baz"] && worker.binary == "runc" && worker.defaultCgroupParent == "p")
    #expect(worker.network == NetworkSettings(mode: .cni, cniConfigPath: "/c.json", cniBinaryPath: "/b", cniPoolSize: 16, bridgeName: "br", bridgeSubnet: "10.1.0.0/16"))
    #expect(worker.collection.isEnabled == false && worker.collection.keepStorage.bytes == 123_456_789 && worker.collection.rules(disk: 1) == nil)
    var on = worker.collection
    on.isEnabled = nil
    #expect(
      on.rules(disk: 100 << 30) == [
        .init(all: true, filters: ["type==a"], keepDuration: 3_600_000_000_000, reservedSpace: 21_000_000_000),
        .init(keepDuration: 86_400_000_000_000, reservedSpace: 40 << 20, maxUsedSpace: 5, minFreeSpace: 3 << 29),
      ])
    #expect(file.dns == DNSSettings(nameservers: ["1.1.1.1"], options: ["edns0"], searchDomains: ["example.com"]))
    #expect(file.history.maxAge == 172_800_000_000_000 && file.history.maxEntries == 5)
    #expect(!file.frontends.dockerfileEnabled && file.frontends.gatewayEnabled && file.frontends.allowedRepositories == ["docker.io/docker/dockerfile"])
    #expect(file.system == SystemSettings(platformsCacheMaxAge: 3_600_000_000_000, maxRegistryConcurrency: 3))
    #expect(file.refusals.isEmpty && file.notices.count == 3, "\(file.notices)")
  }

  @Test(arguments: [
    ("frobnicate = 1", 1, "the file has no setting \"frobnicate\""),
    ("[worker.oci]\nmax-paralelism = 1", 2, "did you mean max-parallelism?"),
    ("[worker.oci]\nmax-parallelism = \"4\"", 2, "whole number"),
    ("[worker.oci]\nplatforms = [\"linux/a/b/c\"]", 2, "linux/a/b/c"),
    ("[worker.oci]\nnetworkMode = \"slirp\"", 2, "there are auto, host, cni, bridge"),
    ("[worker.oci]\nlabels = 1", 2, "labels is a table: [worker.oci.labels]"),
    ("[worker.oci]\n[worker.oci.labels]\na = 1", 3, "a is a text"),
    ("[worker.oci]\nreservedSpace = \"10XB\"", 2, "a share of the disk"),
    ("[worker.oci]\n[[worker.oci.gcpolicy]]\nkeepDuration = \"2 days\"", 3, "48h"),
    ("[worker.oci]\n[[worker.oci.gcpolicy]]\nfilter = [\"a\"]", 3, "did you mean filters?"),
    ("[worker.oci]\ngcpolicy = 3", 2, "[[worker.oci.gcpolicy]]"),
    ("[worker.runc]\nenabled = true", 1, "[worker] has no setting \"runc\""),
    ("insecure-entitlements = [\"all\"]", 1, "no entitlement \"all\""),
    ("[log]\nlevel = \"loud\"", 2, "no log level"),
    ("[log]\nformat = \"xml\"", 2, "\"text\" or \"json\""),
    ("[grpc]\ngid = -1", 2, "0 at least"),
    ("[grpc]\naddress = \"unix:///a\"", 2, "address is a list"),
    ("[grpc.tls]\ncertificate = \"x\"", 2, "[grpc.tls] has no setting"),
    ("[dns]\nnameservers = [\"1.1.1.1\\noptions x\"]", 2, "cannot be in a resolv.conf"),
    ("[history]\nmaxAge = true", 2, "number of seconds"),
    ("[frontend.\"other.v0\"]\nenabled = true", 1, "no setting \"other.v0\""),
    ("[system]\nmaxRegistryConcurrency = 0", 2, "1 at least"),
  ])
  func mistakesHaveLines(_ text: String, _ line: Int, _ words: String) {
    let error = #expect(throws: ConfigError.self) { try BuildkitdFile(parsing: text, path: "/c.toml") }
    #expect(error?.line == line && error?.message.contains(words) == true, "\(String(describing: error))")
  }

  @Test func whatCannotBeDoneIsRefusedByADaemonAlone() throws {
    let file = try BuildkitdFile(parsing: "\nproxyNetwork = true\n", path: "/c.toml")
    #expect(file.refusals.map(\.line) == [2] && file.notices.isEmpty)
  }

  /// The numbers are what BuildKit v0.32's `buildctl debug workers -v` says.
  @Test func defaultCollectionIsBuildKits() {
    let settings = CollectionSettings()
    #expect(
      settings.rules(disk: 1 << 40) == [
        .init(filters: ["type==source.local", "type==exec.cachemount", "type==source.git.checkout"], keepDuration: 172_800_000_000_000, maxUsedSpace: 512_000_000),
        .init(keepDuration: 5_184_000_000_000_000, reservedSpace: 10_000_000_000, maxUsedSpace: 100_000_000_000, minFreeSpace: 205_000_000_000),
        .init(reservedSpace: 10_000_000_000, maxUsedSpace: 100_000_000_000, minFreeSpace: 205_000_000_000),
        .init(all: true, reservedSpace: 10_000_000_000, maxUsedSpace: 100_000_000_000, minFreeSpace: 205_000_000_000),
      ])
    #expect(settings.rules(disk: 20 << 30)?.last == .init(all: true, reservedSpace: 3_000_000_000, maxUsedSpace: 17_000_000_000, minFreeSpace: 5_000_000_000))
    var old = CollectionSettings()
    old.keepStorage = DiskSpace(bytes: 7)
    #expect(old.rules(disk: 1 << 40)?.last == .init(all: true, reservedSpace: 7))
    let isRead = old.apply(keepStorageFlag: "1,2,3"), isNot = old.apply(keepStorageFlag: "1,x")
    #expect(isRead && !isNot && old.rules(disk: 1)?.last == .init(all: true, reservedSpace: 1_000_000, maxUsedSpace: 3_000_000, minFreeSpace: 2_000_000))
  }

  @Test(arguments: [
    ("", 0, 0), ("512000000", 512_000_000, 0), ("512MB", 512 << 20, 0), ("10 g", 10 << 30, 0), ("1.5KiB", 1536, 0), ("7b", 7, 0), ("10%", 0, 10),
  ] as [(String, Int64, Int64)]) func spaces(_ text: String, _ bytes: Int64, _ percent: Int64) { #expect(DiskSpace(text) == DiskSpace(bytes: bytes, percent: percent)) }

  @Test(arguments: ["x", "-1", "10kx", "10kiBs", "%", "1e400g", "nan"]) func noSpaces(_ text: String) { #expect(DiskSpace(text) == nil) }
}
