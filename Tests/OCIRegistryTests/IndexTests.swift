import HostOS
import OCIModel
import OCIRegistry
import TestSupport
import Testing

/// Indexes put together from several repositories.
@Suite struct IndexTests {
  private static let attestedType = "vnd.docker.reference.type", attestedDigest = "vnd.docker.reference.digest"

  /// A repository with one image and what is attested of it, as a build with provenance pushes them.
  private func addAttested(_ seed: UInt64, _ platform: String, _ registry: TestRegistry, _ repository: String) throws -> (image: Digest, attestation: Digest) {
    let image = try RandomImage(seed: seed, platforms: [platform]), proof = try RandomImage(seed: seed + 1000)
    registry.add(image, to: repository)
    registry.add(proof, to: repository)
    var one = image.root, two = proof.root
    one.platform = try Platform(parsing: platform)
    two.platform = Platform(os: "unknown", architecture: "unknown")
    two.annotations = [Self.attestedType: "attestation-manifest", Self.attestedDigest: image.root.digest.description]
    registry.addManifest(ImageIndex(manifests: [one, two]).encoded, type: MediaType.ociIndex.rawValue, tag: "1", to: repository)
    return (image.root.digest, proof.root.digest)
  }

  @Test func anIndexIsFlattenedWithItsAttestations() async throws {
    try await withRegistry { registry, client in
      let (image, proof) = try addAttested(1, "linux/arm64", registry, "a")
      // An index within an index, and an entry that says nothing of its variant.
      let arm = try RandomImage(seed: 2, platforms: ["linux/arm/v6"])
      registry.add(arm, to: "a")
      var vague = arm.root
      vague.platform = Platform(os: "linux", architecture: "arm")
      let inner = try #require(registry.manifest("1", in: "a"))
      registry.addManifest(ImageIndex(manifests: [Descriptor(mediaType: .ociIndex, of: inner), vague]).encoded, type: MediaType.ociIndex.rawValue, tag: "outer", to: "a")
      let (isIndex, members) = try await client.members(of: registry.reference("a:outer"))
      #expect(isIndex && members.map(\.descriptor.digest) == [image, proof, arm.root.digest])
      #expect(members.map { $0.descriptor.platform?.description } == ["linux/arm64", "unknown/unknown", "linux/arm/v6"])
      #expect(members.map { $0.descriptor.attestedDigest } == [nil, image, nil])
      #expect(members.allSatisfy { $0.bytes.map { Digest.sha256(of: $0) } == $0.descriptor.digest })
    }
  }

  @Test func aManifestSaysItsPlatformByItsConfig() async throws {
    try await withRegistry { registry, client in
      registry.add(try RandomImage(seed: 3, platforms: ["linux/arm/v7"], docker: true), to: "a", tag: "1")
      let (isIndex, members) = try await client.members(of: registry.reference("a:1"))
      #expect(!isIndex && members.map { $0.descriptor.platform?.description } == ["linux/arm/v7"])
    }
  }

  /// The layer that all images share goes to another registry once, and is mounted within one.
  @Test func sharedLayersAreSentOnce() async throws {
    try await TestRegistry.run { other in
      try await withRegistry { registry, client in
        let platforms = ["linux/amd64", "linux/arm64", "linux/386", "linux/s390x"]
        registry.add(try RandomImage(seed: 4, platforms: platforms, layers: 2, shared: 1), to: "a", tag: "1")
        let members = try await client.members(of: registry.reference("a:1")).members
        try await client.copyMembers(members, to: other.reference("b:1"))
        // One config and one layer a platform, and the layer of all.
        #expect(other.requests.filter { $0.method == "PUT" && $0.path.contains("/blobs/uploads/") }.count == 9)
        #expect(other.requests.filter { $0.method == "PUT" && $0.path.contains("/manifests/") }.count == 4)
        try await client.copyMembers(members, to: registry.reference("c:1"))
        #expect(registry.requests.filter { $0.method == "PUT" && $0.path.contains("/blobs/") }.isEmpty)
        registry.clearRequests()
        try await client.copyMembers(members, to: registry.reference("c:1"))
        #expect(registry.requests.allSatisfy { $0.method == "HEAD" })
      }
    }
  }

  /// Cut off at every request, by a refusal and by broken connections: the tag is what it was, or new with everything behind it.
  @Test(arguments: [TestFault.Action.status(403), .reset]) func theTagIsOldOrWhole(_ action: TestFault.Action) async throws {
    var cut = 0
    while true {
      let isDone = try await withRegistry { registry, client -> Bool in
        _ = try addAttested(5, "linux/amd64", registry, "a")
        _ = try addAttested(6, "linux/arm64", registry, "b")
        let old = try RandomImage(seed: 7)
        registry.add(old, to: "list", tag: "1")
        registry.inject(TestFault(nil, "/v2/", skip: cut, times: 100_000, action))
        var failed = false
        do {
          let members = try await client.members(of: registry.reference("a:1")).members + client.members(of: registry.reference("b:1")).members
          try await client.copyMembers(members, to: registry.reference("list:1"))
          let bytes = ImageIndex(manifests: IndexComposition(members.map(\.descriptor)).imagesFirst).dockerEncoded
          try await client.pushManifest(bytes, mediaType: .ociIndex, to: registry.reference("list:1"))
        } catch { failed = true }
        let now = try #require(registry.manifest("1", in: "list"))
        if now == old.rootBytes { return false }
        guard case .index(let index) = try ImageDocument(parsing: now, mediaType: .ociIndex) else { return true }
        #expect(index.manifests.count == 4)
        for entry in index.manifests {
          let child = try #require(registry.manifest(entry.digest.description, in: "list"))
          guard case .manifest(let manifest) = try ImageDocument(parsing: child, mediaType: entry.mediaType) else { continue }
          for blob in [manifest.config] + manifest.layers { #expect(registry.blob(blob.digest, in: "list") != nil) }
        }
        return !failed
      }
      if isDone { break }
      cut += 1
      try #require(cut < 500)
    }
    #expect(cut > 20)
  }

  /// Sources and platforms cost no more time than one of each: what waits for nothing goes out at once.
  @Test func manySourcesAreReadAtOnce() async throws {
    var options = TestRegistryOptions()
    options.latencyMilliseconds = 100
    try await withRegistry(options, configure: { $0.maximumRequestsPerHost = 200 }) { registry, client in
      for i in 0..<20 { registry.add(try RandomImage(seed: UInt64(100 + i), platforms: ["linux/amd64", "linux/arm64", "linux/s390x"], layers: 1), to: "s\(i)", tag: "1") }
      let clock = ContinuousClock()
      let start = clock.now
      let members = try await withThrowingTaskGroup(of: [IndexMember].self) { group in
        for i in 0..<20 { group.addTask { try await client.members(of: registry.reference("s\(i):1")).members } }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      #expect(members.count == 60)
      // The probe, the indexes, their manifests: three round trips, with room for a slow machine.
      #expect(clock.now - start < .milliseconds(1500))
      #expect(registry.requests.count == 81)
    }
  }
}

@Suite struct ManifestListStoreTests {
  /// A file that docker 28.2 wrote.
  private static let file = #"{"Ref":"127.0.0.1:5944/dk/arm64:1","Descriptor":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"sha256:8f4e630b3b304113adc115d11978f9307b915bf9a17aba9c79e8a878fbb7891f","size":426,"platform":{"architecture":"arm64","os":"linux"}},"Raw":"eyJzY2hlbWFWZXJzaW9uIjoyLCJtZWRpYVR5cGUiOiJhcHBsaWNhdGlvbi92bmQuZG9ja2VyLmRpc3RyaWJ1dGlvbi5tYW5pZmVzdC52Mitqc29uIiwiY29uZmlnIjp7Im1lZGlhVHlwZSI6ImFwcGxpY2F0aW9uL3ZuZC5kb2NrZXIuY29udGFpbmVyLmltYWdlLnYxK2pzb24iLCJzaXplIjozOTMsImRpZ2VzdCI6InNoYTI1NjpjZDc5MjBhZDIwMjliZmZjMTQzMTEyOGRiYTk5MjBjMzlmN2JlMmUxMTZlYmJjYWMxMDg3YWExMTdkMWU3ZDhmIn0sImxheWVycyI6W3sibWVkaWFUeXBlIjoiYXBwbGljYXRpb24vdm5kLmRvY2tlci5pbWFnZS5yb290ZnMuZGlmZi50YXIuZ3ppcCIsInNpemUiOjk4OTA2MCwiZGlnZXN0Ijoic2hhMjU2OjYyZGRhMWE3OTQ2NGYxMWUyMTkzNDc3ZTFkYzQ4NjliMjRlMzdmMjFmMmI1NjcyM2U0ZTJhODkxYjY4OWQzOWUifV19","SchemaV2Manifest":{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":393,"digest":"sha256:cd7920ad2029bffc1431128dba9920c39f7be2e116ebbcac1087aa117d1e7d8f"},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":989060,"digest":"sha256:62dda1a79464f11e2193477e1dc4869b24e37f21f2b56723e4e2a891b689d39e"}]}}"#

  @Test func dockersFilesAreReadAndWritten() throws {
    let entry = try ManifestListEntry(parsing: Array(Self.file.utf8))
    #expect(entry.reference.description == "127.0.0.1:5944/dk/arm64:1" && entry.bytes.count == 426 && entry.descriptor.platform?.description == "linux/arm64")
    #expect(String(decoding: entry.file, as: UTF8.self) == Self.file)
    // Without the raw manifest, as older clients wrote it; and with digest and platform alone, as still older ones did.
    var object = try #require(try JSONValue(parsing: Self.file).objectValue)
    object["Raw"] = nil
    #expect(try ManifestListEntry(parsing: JSONValue.object(object).encoded()).bytes == entry.bytes)
    (object["Digest"], object["Platform"], object["Descriptor"]) = (.string(entry.descriptor.digest.description), entry.descriptor.platform?.json, nil)
    #expect(try ManifestListEntry(parsing: JSONValue.object(object).encoded()) == entry)
    for (member, value) in [("Ref", JSONValue.null), ("Ref", "A"), ("Digest", "x"), ("SchemaV2Manifest", ["a": 1])] {
      var broken = object
      broken[member] = value
      #expect(throws: OCIError.self, "\(member)") { try ManifestListEntry(parsing: JSONValue.object(broken).encoded()) }
    }
  }

  @Test func listsHaveAnOrder() throws {
    let scratch = try ScratchDirectory()
    let store = ManifestListStore(root: scratch.path + "/docker/manifests")
    let list = try Reference(parsing: "reg:5000/me/app:1")
    #expect(try store.entries(list).isEmpty)
    #expect(try store.entry(list, list) == nil)
    func entry(_ name: String, of origin: String? = nil, at position: Int? = nil, wantsIndex: Bool = false) throws -> ManifestListEntry {
      let bytes = Array("{\"schemaVersion\":2,\"name\":\"\(name)<\"}".utf8)
      let descriptor = Descriptor(mediaType: .ociManifest, of: bytes, annotations: ["a": name], platform: Platform(os: "linux", architecture: "amd64"))
      var reference = try Reference(parsing: name)
      if origin != nil { reference = reference.repository.with(digest: descriptor.digest) }
      return ManifestListEntry(reference: reference, descriptor: descriptor, bytes: bytes, origin: try origin.map { try Reference(parsing: $0) }, position: position, wantsIndex: wantsIndex)
    }
    // Made so that digests and positions disagree.
    let all = try [entry("z:1"), entry("b:1"), entry("m:1", of: "m:9", at: 2), entry("m:2", of: "m:9", at: 0, wantsIndex: true), entry("m:3", of: "m:9", at: 1)]
    try store.save(all, in: list)
    #expect(try store.entries(list) == [all[1], all[3], all[4], all[2], all[0]])
    #expect(try store.entry(list, all[3].reference) == all[3])
    #expect(try Directory.open(store.root).entries().map(\.name) == ["reg-5000_me_app-1"])
    #expect(try Directory.open(store.root + "/reg-5000_me_app-1").entries().map(\.name).contains("docker.io_library_z-1"))
    try Files.writeAtomically(Array("{}".utf8), to: store.root + "/reg-5000_me_app-1/x", durable: false)
    #expect((#expect(throws: RegistryError.self) { try store.entries(list) })?.description.contains("reg-5000_me_app-1/x") == true)
    try store.remove(list)
    #expect(try store.entries(list).isEmpty)
    try store.remove(list)
  }

  @Test func placeIsDockers() {
    #expect(ManifestListStore.defaultRoot(["HOME": "/h"]) == "/h/.docker/manifests")
    #expect(ManifestListStore.defaultRoot(["HOME": "/h", "DOCKER_CONFIG": "/c"]) == "/c/manifests")
    #expect(ManifestListStore.defaultRoot([:]) == nil)
  }
}
