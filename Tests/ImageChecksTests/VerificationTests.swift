import ImageStores
import OCIModel
import OCIRegistry
import Testing

@testable import ImageChecks

private func findings(_ images: TestImages, _ depth: ImageVerification.Depth = .layers, platforms: [Platform] = []) async throws -> [String] {
  try await ImageVerification(images, .init(depth: depth, platforms: platforms)).run().findings.map { finding in
    "\(finding.severity.rawValue) \(finding.platform?.fullDescription ?? "-") \(finding.code.rawValue)\(finding.path.map { " \($0)" } ?? "")"
  }
}

@Suite struct VerificationTests {
  @discardableResult
  private func good(_ images: TestImages = TestImages(), _ platform: String = "linux/amd64", machine: UInt16 = 62) throws -> TestImages {
    try images.image(platform, layers: [[.program("bin/app", elf(machine: machine, interpreter: "/lib64/ld.so")), .program("lib64/ld.so", elf(machine: machine, type: 3))], [.text("etc/x", "1")]]) {
      $0.config.cmd = ["app"]
    }
    return images
  }

  @Test func goodImages() async throws {
    let images = try good(good(), "linux/arm64", machine: 183).index()
    for depth in [ImageVerification.Depth.shallow, .layers, .deep] { #expect(try await findings(images, depth) == []) }
    let report = try await ImageVerification(images).run()
    #expect(report.images.map { "\($0.platform?.description ?? "")" } == ["linux/amd64", "linux/arm64"])
    // One layer of three is both images'.
    #expect(report.layersRead == 3)
    #expect(try await findings(try good()) == [])
  }

  @Test func missingAndDamaged() async throws {
    func broken(_ change: (TestImages, ImageManifest) throws -> Void) throws -> TestImages {
      let images = try good(good(), "linux/arm64", machine: 183)
      guard case .manifest(let manifest)? = try images.documents[images.entries[1].digest]?.document() else { return images }
      images.index()
      try change(images, manifest)
      return images
    }
    let child = try broken { images, _ in images.documents[images.entries[1].digest] = nil }
    #expect(try await findings(child, .shallow) == ["error linux/arm64 missing-manifest"])
    let layer = try broken { images, manifest in images.blobs[manifest.layers[0].digest] = nil }
    for depth in [ImageVerification.Depth.shallow, .layers, .deep] { #expect(try await findings(layer, depth) == ["error linux/arm64 missing-layer"]) }
    let config = try broken { images, manifest in images.blobs[manifest.config.digest] = nil }
    for depth in [ImageVerification.Depth.shallow, .layers] { #expect(try await findings(config, depth) == ["error linux/arm64 missing-config"]) }
    let short = try broken { images, manifest in images.blobs[manifest.layers[0].digest]?.removeLast(100) }
    for depth in [ImageVerification.Depth.shallow, .layers, .deep] { #expect(try await findings(short, depth) == ["error linux/arm64 wrong-size"]) }
    let other = try broken { images, manifest in images.blobs[manifest.layers[0].digest]?[600] ^= 1 }
    #expect(try await findings(other, .shallow) == [])
    #expect(try await findings(other) == ["error linux/arm64 wrong-digest"])
  }

  @Test func configs() async throws {
    let images = TestImages()
    try images.image("linux/amd64", layers: [[.text("f", "1")]], listed: "linux/arm64")
    try images.image("linux/arm/v7", layers: [[.text("f", "1")]], listed: "linux/arm/v6") { $0.platform.variant = "v7" }
    try images.image("linux/s390x", layers: [[.text("f", "2")]]) { $0.diffIDs = [.sha256(of: "other")] }
    try images.image("linux/riscv64", layers: [[.text("f", "3")]]) { $0.diffIDs = [] }
    try images.image("linux/riscv64", layers: [[.text("f", "4")]])
    #expect(
      try await findings(images.index()) == [
        "warning linux/riscv64 duplicate-platform", "error linux/arm64 platform-mismatch", "error linux/arm/v6 platform-mismatch", "error linux/s390x wrong-diff-id",
        "error linux/riscv64 layer-count",
      ])
  }

  @Test func attestations() async throws {
    let images = try good()
    func attestation(_ about: Digest, subject: String) -> Descriptor {
      let layer = images.add(blob: Array(#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"\#(subject)"}}]}"#.utf8), .inToto)
      let config = images.add(blob: Array(#"{"architecture":"unknown","os":"unknown"}"#.utf8), .ociConfig)
      var descriptor = images.add(document: ImageManifest(config: config, layers: [layer]).encoded, .ociManifest)
      descriptor.platform = Platform(os: "unknown", architecture: "unknown")
      descriptor.annotations = ["vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "\(about)"]
      return descriptor
    }
    let image = images.entries[0].digest
    images.entries.append(attestation(image, subject: image.hex))
    #expect(try await findings(images.index(), .deep) == [])
    images.entries.append(attestation(.sha256(of: "nothing"), subject: Digest.sha256(of: "nothing").hex))
    images.entries.append(attestation(image, subject: Digest.sha256(of: "other").hex))
    #expect(try await findings(images.index()) == ["error - attestation-target"])
    #expect(try await findings(images, .deep) == ["error - attestation-target", "error unknown/unknown attestation-subject"])
  }

  @Test func programs() async throws {
    let images = TestImages()
    try images.image(
      "linux/arm64",
      layers: [
        [
          .program("bin/good", elf(machine: 183)), .program("bin/bad", elf()), .program("bin/thirty-two", elf(wide: false, machine: 40, flags: 0x500_0400)), .file("data/bad", elf()),
          .file("usr/lib/libx.so.1", elf(type: 3)), .file("srv/libx.so", elf(type: 3)), .program("usr/x86_64-linux-gnu/bin/ld", elf()), .program("bin/windows.exe", windows(0x8664)),
          .program("bin/lost", elf(machine: 183, interpreter: "/lib/ld-none.so")), .link("lib/ld.so", "gone"), .program("bin/linked", elf(machine: 183, interpreter: "/lib/ld.so")),
          .program("lib/foreign.so", elf(type: 3)), .program("bin/mixed", elf(machine: 183, interpreter: "/lib/foreign.so")), .program("bin/cut", Array(elf(machine: 183).prefix(60))),
        ]
      ])
    #expect(
      try await findings(images) == [
        "error linux/arm64 wrong-architecture /bin/bad", "warning linux/arm64 damaged-program /bin/cut", "error linux/arm64 missing-interpreter /bin/linked",
        "error linux/arm64 missing-interpreter /bin/lost", "error linux/arm64 missing-interpreter /bin/mixed", "warning linux/arm64 guest-architecture /bin/thirty-two",
        "error linux/arm64 wrong-architecture /lib/foreign.so", "error linux/arm64 wrong-architecture /usr/lib/libx.so.1",
        "note linux/arm64 foreign-files /usr/x86_64-linux-gnu/bin/ld",
      ])
  }

  struct Start: Sendable {
    var entrypoint: [String]?
    var cmd: [String]?
    var expected: String?
    init(_ entrypoint: [String]?, _ cmd: [String]?, _ expected: String?) { (self.entrypoint, self.cmd, self.expected) = (entrypoint, cmd, expected) }

    static let table = [
      Start(nil, nil, nil), Start(nil, ["/bin/app"], nil), Start(nil, ["app"], nil), Start(["app"], ["--flag"], nil), Start(["bin/app"], nil, nil), Start(["/bin/script"], nil, nil),
      Start(nil, ["none"], "error missing-command"), Start(["/bin/none"], ["app"], "error missing-command /bin/none"), Start([""], nil, "error missing-command"),
      Start(["./app"], nil, "error missing-command"), Start(["/etc"], nil, "error command-not-executable /etc"), Start(["/etc/plain"], nil, "error command-not-executable /etc/plain"),
      Start(["/bin/text"], nil, "error command-not-executable /bin/text"), Start(["/bin/lostscript"], nil, "error missing-interpreter /bin/lostscript"),
      Start(["/bin/dos"], nil, "error missing-interpreter /bin/dos"), Start(["/bin/env-app"], nil, nil), Start(["/bin/env-none"], nil, "error missing-interpreter /bin/env-none"),
      Start(nil, ["/bin/sh", "-c", "exec app --x; none"], nil), Start(nil, ["/bin/sh", "-c", "none && app"], "error missing-command"), Start(nil, ["/bin/sh", "-c", "echo $HOME"], nil),
      Start(nil, ["/bin/sh", "-c", "X=1 none"], nil), Start(nil, ["/bin/sh", "-c", "/opt/none"], "error missing-command /opt/none"),
      Start(nil, ["/bin/sh", "-c", "if true; then none; fi"], nil), Start(["tini", "--"], ["none"], "error missing-command"), Start(["tini", "--", "app"], nil, nil),
      Start(["/data/app"], nil, "warning missing-command"), Start(["/bin/amd"], nil, "error wrong-architecture /bin/amd"), Start(["/bin/win.exe"], nil, "error wrong-architecture /bin/win.exe"),
    ]
  }

  @Test(arguments: Start.table) func starts(_ start: Start) async throws {
    let images = TestImages()
    try images.image(
      "linux/arm64",
      layers: [
        [
          .program("bin/app", elf(machine: 183)), .program("bin/sh", elf(machine: 183)), .program("bin/env", elf(machine: 183)), .program("bin/tini", elf(machine: 183)), .text("etc/plain", "x"),
          .script("bin/text", "echo hello\n"), .script("bin/script", "#! /bin/sh -e\n"), .script("bin/lostscript", "#!/bin/bash\n"), .script("bin/dos", "#!/bin/sh\r\n"),
          .script("bin/env-app", "#!/usr/bin/env -S app -x\n"), .script("bin/env-none", "#!/usr/bin/env none\n"), .link("usr/bin/env", "/bin/env"), .directory("data"),
          .program("bin/win.exe", windows(0x8664)),
        ] + (start.entrypoint == ["/bin/amd"] ? [.program("bin/amd", elf())] : [])
      ]
    ) {
      ($0.config.entrypoint, $0.config.cmd) = (start.entrypoint, start.cmd)
      $0.config.env = ["PATH=/usr/bin:/bin"]
      $0.config.volumes = ["/data"]
    }
    #expect(try await findings(images).map { $0.replacing("linux/arm64 ", with: "") } == (start.expected.map { [$0] } ?? []))
  }

  private func windows(_ machine: UInt16) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64 + 24 + 240)
    (bytes[0], bytes[1], bytes[60]) = (0x4d, 0x5a, 64)
    bytes.replaceSubrange(64..<70, with: [0x50, 0x45, 0, 0, UInt8(machine & 0xff), UInt8(machine >> 8)])
    (bytes[84], bytes[88], bytes[89]) = (240, 0x0b, 0x02)
    return bytes
  }

  @Test func windowsImages() async throws {
    let images = TestImages()
    try images.image("windows/amd64", layers: [[.file("Files/app/app.exe", windows(0x8664)), .file("Files/app/arm.exe", windows(0xaa64)), .file("Files/tool", elf()), .file("Files/old.dll", windows(0x14c))]]) {
      $0.config.entrypoint = ["C:\\App\\App.exe"]
    }
    #expect(try await findings(images) == ["error windows/amd64 wrong-architecture /Files/app/arm.exe"])
    images.entries = []
    try images.image("windows/amd64", layers: [[.text("Files/x", "")]]) { $0.config.entrypoint = ["c:\\none.exe"] }
    #expect(try await findings(images) == ["warning windows/amd64 missing-command"])
  }

  @Test func onlySomePlatforms() async throws {
    let images = try good(good(), "linux/arm64", machine: 183).index()
    images.documents[images.entries[1].digest] = nil
    let report = try await ImageVerification(images, .init(platforms: [Platform(parsing: "linux/amd64")])).run()
    #expect(report.images.count == 1)
    await #expect(throws: ImageCheckError.self) { try await ImageVerification(images, .init(platforms: [Platform(parsing: "linux/s390x")])).run() }
  }
}

@Suite struct ComparisonTests {
  @Test func twoIndexes() async throws {
    let a = TestImages(), b = TestImages()
    let base: [TestFile] = [.text("etc/base", "1")]
    try a.image("linux/amd64", layers: [base, [.text("app", "1")]]) { ($0.config.env, $0.config.cmd, $0.config.labels) = (["PATH=/bin", "A=1"], ["x"], ["l": "1"]) }
    try b.image("linux/amd64", layers: [base, [.text("app", "2")], [.text("new", "1")]]) { ($0.config.env, $0.config.cmd) = (["A=2", "PATH=/bin"], ["x"]) }
    for images in [a, b] { try images.image("linux/arm64", layers: [base]) }
    try a.image("linux/386", layers: [base])
    try b.image("linux/s390x", layers: [base])
    let found = try await ImageComparison(a.index(), b.index(), .init(files: true)).run()
    #expect(found.onlyA.map(\.description) == ["linux/386"] && found.onlyB.map(\.description) == ["linux/s390x"] && !found.isEmpty)
    #expect(found.images.map(\.isEmpty) == [false, true])
    let amd64 = found.images[0]
    #expect(amd64.config == [FieldChange(name: "Env.A", a: "1", b: "2"), FieldChange(name: "Labels.l", a: "1", b: nil)])
    #expect(amd64.layers.map(\.state) == [.shared, .removed, .added, .added])
    #expect(amd64.files?.map { "\($0.kind.rawValue) \($0.path)" } == ["changed /app", "added /new"])
    #expect(try await ImageComparison(a, a).run().isEmpty)
  }

  @Test func platformsOfOne() async throws {
    let images = TestImages()
    try images.image("linux/amd64", layers: [[.text("f", "1")]])
    try images.image("linux/arm64", layers: [[.text("f", "1")]])
    let platforms = try [Platform(parsing: "linux/amd64"), Platform(parsing: "linux/arm64")]
    let found = try await ImageComparison(images.index(), images, .init(platforms: platforms, files: true)).run()
    #expect(found.images.count == 1 && found.images[0].config == [FieldChange(name: "architecture", a: "amd64", b: "arm64")] && found.images[0].files == [])
    #expect(!found.isEmpty)
    await #expect(throws: ImageCheckError.self) { try await ImageComparison(images, images, .init(platforms: [Platform(parsing: "linux/s390x")])).run() }
  }
}
