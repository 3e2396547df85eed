import ContentStore
import HostOS
import ImageStores
import OCIModel
import OCIRegistry
import TestSupport
import Testing

@Suite struct TransferTests {
  static let ways = Places.Kind.allCases.flatMap { from in Places.Kind.allCases.map { (from, $0) } }

  @Test(arguments: ways) func anImageGoesFromAnywhereToAnywhere(from: Places.Kind, to: Places.Kind) async throws {
    try await Places.run { places in
      let image = try RandomImage(seed: 5, platforms: ["linux/amd64", "linux/arm64", "windows/amd64"], layers: 3, shared: 1)
      try await places.add(image, from, "one")
      let (source, target) = (try places.location(from, "one"), try places.location(to, "two"))
      let transfer = ImageTransfer()
      let reader = try places.access.source(source)
      let root = try await reader.root()
      #expect(root.descriptor == image.root && root.bytes == image.rootBytes)
      let written = try await transfer.copy(root, from: reader, to: places.access.destination(target))
      #expect(written == image.root)
      #expect(try await places.readAll(target) == digests(image))
      // A second copy changes nothing.
      try await transfer.copy(root, from: reader, to: places.access.destination(target))
      #expect(try await places.readAll(target) == digests(image))
    }
  }

  @Test(arguments: Places.Kind.allCases) func platformsAreChosen(to: Places.Kind) async throws {
    try await Places.run { places in
      let image = try RandomImage(seed: 6, platforms: ["linux/amd64", "linux/arm64"], layers: 1)
      try await places.add(image, .layout, "one")
      let reader = try places.access.source(places.location(.layout, "one"))
      let root = try await reader.root(), target = try places.location(to, "two")
      let arm = PlatformMatcher(anyOf: [try Platform(parsing: "linux/arm64")])
      let written = try await ImageTransfer().copy(root, from: reader, to: places.access.destination(target), platforms: .only(arm))
      #expect(written.digest != image.root.digest)
      let found = try await places.readAll(target)
      #expect(found == [written.digest, image.manifests[1].descriptor.digest, image.blobs[2].descriptor.digest, image.blobs[3].descriptor.digest])
      await expectImageError(.notFound, "wanted platform") {
        try await ImageTransfer().copy(root, from: reader, to: places.access.destination(target), platforms: .only(PlatformMatcher(anyOf: [try Platform(parsing: "linux/s390x")])))
      }
      guard to != .registry else { return }
      let sparse = try places.location(to, "three")
      #expect(try await ImageTransfer().copy(root, from: reader, to: places.access.destination(sparse), platforms: .sparse(arm)).digest == image.root.digest)
      let source = try places.access.source(sparse)
      guard case .index(let index) = try await source.root().document() else { return }
      _ = try await source.manifest(index.manifests[1])
      await #expect(throws: (any Error).self) { try await source.manifest(index.manifests[0]) }
      // Then the rest.
      try await ImageTransfer().copy(root, from: reader, to: places.access.destination(sparse))
      #expect(try await places.readAll(sparse) == digests(image))
    }
  }

  /// The shared layer goes to a registry once though three manifests ask for it, and is mounted from a neighbour.
  @Test func eachBlobGoesOnce() async throws {
    try await Places.run { places in
      let image = try RandomImage(seed: 7, platforms: ["linux/amd64", "linux/arm64", "linux/386"], layers: 2, shared: 1)
      try await places.add(image, .local, "one")
      let reader = try places.access.source(places.location(.local, "one"))
      let root = try await reader.root()
      try await ImageTransfer().copy(root, from: reader, to: places.access.destination(places.location(.registry, "two")))
      func count(_ method: String, _ part: String) -> Int { places.registry.requests.filter { $0.method == method && $0.path.contains(part) }.count }
      #expect(count("PUT", "/blobs/uploads/") == image.blobs.count)
      #expect(places.registry.requests.last { $0.method == "PUT" }?.path == "/v2/two/manifests/1")
      places.registry.clearRequests()
      let neighbour = try places.access.source(places.location(.registry, "two"))
      try await ImageTransfer().copy(try await neighbour.root(), from: neighbour, to: places.access.destination(places.location(.registry, "three")))
      #expect(count("PUT", "/blobs/uploads/") == 0 && count("GET", "/blobs/") == 0)
    }
  }

  @Test func localImagesByTheirIds() async throws {
    try await Places.run { places in
      let image = try RandomImage(seed: 8)
      try await places.add(image, .local, "one")
      for name in ["one:1", "one@\(image.root.digest)", "\(image.root.digest)", image.root.digest.hex] {
        #expect(try await places.access.source(.local(name)).root().descriptor == image.root, "\(name)")
      }
      #expect(try await LocalImageNames(places.store).find(String(image.root.digest.hex.prefix(12))).descriptor == image.root)
      await expectImageError(.notFound, "No such image: two") { try await places.access.source(.local("two")).root() }
      await expectImageError(.unsupported) { try places.access.destination(.local("one@\(image.root.digest)")) }
      await expectImageError(.unsupported, "not opened the local store") { try ImageAccess(client: places.access.client, store: nil).source(.local("one")) }
    }
  }
}
