import ContentStore
import HostOS
import ImageStores
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

  private func at(_ places: Places, _ name: String) throws -> any ImageSource { try places.access.source(.registry(places.registry.reference(name))) }

  @Test func anIndexIsFlattenedWithItsAttestations() async throws {
    try await Places.run { places in
      let (image, proof) = try addAttested(1, "linux/arm64", places.registry, "a")
      // An index within an index, and an entry that says nothing of its variant.
      let arm = try RandomImage(seed: 2, platforms: ["linux/arm/v6"])
      places.registry.add(arm, to: "a")
      var vague = arm.root
      vague.platform = Platform(os: "linux", architecture: "arm")
      let inner = try #require(places.registry.manifest("1", in: "a"))
      places.registry.addManifest(ImageIndex(manifests: [Descriptor(mediaType: .ociIndex, of: inner), vague]).encoded, type: MediaType.ociIndex.rawValue, tag: "outer", to: "a")
      let (isIndex, members) = try await at(places, "a:outer").members()
      #expect(isIndex && members.map(\.descriptor.digest) == [image, proof, arm.root.digest])
      #expect(members.map { $0.descriptor.platform?.description } == ["linux/arm64", "unknown/unknown", "linux/arm/v6"])
      #expect(members.map { $0.descriptor.attestedDigest } == [nil, image, nil])
      #expect(members.allSatisfy { $0.bytes.map { Digest.sha256(of: $0) } == $0.descriptor.digest })
    }
  }

  @Test(arguments: Places.Kind.allCases) func aManifestSaysItsPlatformByItsConfig(_ kind: Places.Kind) async throws {
    try await Places.run { places in
      try await places.add(try RandomImage(seed: 3, platforms: ["linux/arm/v7"], docker: true), kind, "a")
      let (isIndex, members) = try await places.access.source(places.location(kind, "a")).members()
      #expect(!isIndex && members.map { $0.descriptor.platform?.description } == ["linux/arm/v7"])
    }
  }

  /// The layer that all images share goes to another registry once, and is mounted within one.
  @Test func sharedLayersAreSentOnce() async throws {
    try await TestRegistry.run { other in
      try await Places.run { places in
        let platforms = ["linux/amd64", "linux/arm64", "linux/386", "linux/s390x"], registry = places.registry
        registry.add(try RandomImage(seed: 4, platforms: platforms, layers: 2, shared: 1), to: "a", tag: "1")
        let members = try await at(places, "a:1").members().members
        func copy(to reference: Reference) async throws { try await ImageTransfer().copy(members, to: places.access.destination(.registry(reference))) }
        try await copy(to: other.reference("b:1"))
        // One config and one layer a platform, and the layer of all.
        #expect(other.requests.filter { $0.method == "PUT" && $0.path.contains("/blobs/uploads/") }.count == 9)
        #expect(other.requests.filter { $0.method == "PUT" && $0.path.contains("/manifests/") }.count == 4)
        try await copy(to: registry.reference("c:1"))
        #expect(registry.requests.filter { $0.method == "PUT" && $0.path.contains("/blobs/") }.isEmpty)
        registry.clearRequests()
        try await copy(to: registry.reference("c:1"))
        #expect(registry.requests.allSatisfy { $0.method == "HEAD" })
      }
    }
  }

  /// Images of three kinds of places under one name in each kind: what is there afterwards is whole.
  @Test(arguments: Places.Kind.allCases) func anIndexOfAllKinds(_ to: Places.Kind) async throws {
    try await Places.run { places in
      var members: [IndexMember] = [], wanted: Set<Digest> = []
      for (i, kind) in Places.Kind.allCases.enumerated() {
        let image = try RandomImage(seed: UInt64(50 + i), platforms: [["linux/amd64", "linux/arm64", "linux/s390x"][i], "windows/amd64"])
        try await places.add(image, kind, "part\(i)")
        members += try await places.access.source(places.location(kind, "part\(i)")).members().members
        wanted.formUnion(digests(image).subtracting([image.root.digest]))
      }
      let destination = try places.access.destination(places.location(to, "all"))
      try await ImageTransfer().copy(members, to: destination)
      let bytes = ImageIndex(manifests: IndexComposition(members.map(\.descriptor)).imagesFirst).encoded
      try await destination.put(manifest: FetchedManifest(descriptor: Descriptor(mediaType: .ociIndex, of: bytes), bytes: bytes), tagged: true)
      #expect(try await places.readAll(places.location(to, "all")) == wanted.union([.sha256(of: bytes)]))
    }
  }

  /// Cut off at every request, by a refusal and by broken connections: the tag is what it was, or new with everything behind it.
  @Test(arguments: [TestFault.Action.status(403), .reset]) func theTagIsOldOrWhole(_ action: TestFault.Action) async throws {
    var cut = 0
    while true {
      let isDone = try await Places.run { places -> Bool in
        let registry = places.registry
        _ = try addAttested(5, "linux/amd64", registry, "a")
        _ = try addAttested(6, "linux/arm64", registry, "b")
        let old = try RandomImage(seed: 7)
        registry.add(old, to: "list", tag: "1")
        registry.inject(TestFault(nil, "/v2/", skip: cut, times: 100_000, action))
        var failed = false
        do {
          let members = try await at(places, "a:1").members().members + at(places, "b:1").members().members
          let destination = try places.access.destination(.registry(registry.reference("list:1")))
          try await ImageTransfer().copy(members, to: destination)
          let bytes = ImageIndex(manifests: IndexComposition(members.map(\.descriptor)).imagesFirst).dockerEncoded
          try await destination.put(manifest: FetchedManifest(descriptor: Descriptor(mediaType: .ociIndex, of: bytes), bytes: bytes), tagged: true)
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

  /// 20 sources of seven platforms each: whatever waits for nothing goes out at once. Each kind of request is held back until all of its kind have come, so that a
  /// program that sends one after another never gets there.
  @Test func onlyWhatDependsWaits() async throws {
    let platforms = ["linux/amd64", "linux/arm64", "linux/386", "linux/arm/v6", "linux/ppc64le", "linux/s390x", "linux/riscv64"]
    try await Places.run { places in
      let registry = places.registry
      registry.set { $0.latencyMilliseconds = 100 }
      var blobs: Set<Digest> = []
      for i in 0..<20 {
        let image = try RandomImage(seed: UInt64(100 + i), platforms: platforms, layers: 1, shared: 1)
        registry.add(image, to: "s\(i)", tag: "1")
        blobs.formUnion(image.blobs.map(\.descriptor.digest))
      }
      var gates = [registry.gate("GET", "/manifests/1", until: 20), registry.gate("GET", "/manifests/sha256:", until: 140)]
      let members = try await withThrowingTaskGroup(of: [IndexMember].self) { group in
        for i in 0..<20 { group.addTask { try await at(places, "s\(i):1").members().members } }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      gates += [registry.gate("HEAD", "/v2/all/manifests/sha256:", until: 140), registry.gate("HEAD", "/v2/all/blobs/", until: blobs.count), registry.gate("POST", "/v2/all/blobs/uploads/", until: blobs.count)]
      gates += [registry.gate("PUT", "/v2/all/manifests/sha256:", until: 140)]
      registry.clearRequests()
      let destination = try places.access.destination(.registry(registry.reference("all:1")))
      try await ImageTransfer().copy(members, to: destination)
      let bytes = ImageIndex(manifests: IndexComposition(members.map(\.descriptor)).imagesFirst).encoded
      try await destination.put(manifest: FetchedManifest(descriptor: Descriptor(mediaType: .ociIndex, of: bytes), bytes: bytes), tagged: true)
      #expect(gates.map(\.wasReached) == Array(repeating: true, count: 6), "\(gates.map(\.arrived)), \(blobs.count) blobs")
      // Is the manifest there, is the blob there, mount it, put the manifest; then look at the tag and give it.
      #expect(registry.requests.count == 140 + 2 * blobs.count + 140 + 2)
      #expect(registry.requests.last { $0.method == "PUT" }?.path == "/v2/all/manifests/1")
      #expect(!registry.requests.contains { $0.method == "PUT" && $0.path.contains("/blobs/") } && registry.manifest("1", in: "all") == bytes)
    }
  }
}
