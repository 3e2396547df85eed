import ContentStore
import HostOS
import ImageStores
import OCIModel
import OCIRegistry
import TestSupport
import Testing

/// A registry, a folder for layouts and a local store, with one access to all of them.
struct Places {
  var registry: TestRegistry
  var access: ImageAccess
  var store: ContentStore
  var scratch: ScratchDirectory

  static func run<T>(_ body: (Places) async throws -> T) async throws -> T {
    let scratch = try ScratchDirectory("places")
    let store = try await ContentStore.open(root: scratch.file("store"))
    return try await TestRegistry.run { registry in
      var configuration = RegistryConfiguration(environment: [:])
      configuration.maximumRequestsPerHost = ImageAccess.requestsAtOnce
      // No pause between retries.
      let clock = RegistryClock(now: { 0 }, sleep: { _ in await Task.yield() }, random: { 0.5 })
      let client = RegistryClient(configuration, credentials: AnonymousCredentials(), clock: clock)
      do {
        let result = try await body(Places(registry: registry, access: ImageAccess(client: client, store: store), store: store, scratch: scratch))
        await client.shutdown()
        try await store.close()
        return result
      } catch {
        await client.shutdown()
        try? await store.close()
        throw error
      }
    }
  }

  enum Kind: String, CaseIterable, Sendable { case registry, layout, local }

  /// A place of that kind, with a tag.
  func location(_ kind: Kind, _ name: String) throws -> ImageLocation {
    switch kind {
    case .registry: try ImageLocation(parsing: "\(registry.host)/\(name):1")
    case .layout: try ImageLocation(parsing: "oci-layout://\(scratch.file(name)):1")
    case .local: try ImageLocation(parsing: "local:\(name):1")
    }
  }

  /// Puts an image there, past the code that is tested.
  func add(_ image: RandomImage, _ kind: Kind, _ name: String) async throws {
    switch kind {
    case .registry: registry.add(image, to: name, tag: "1")
    case .layout:
      for part in image.blobs + image.manifests { try scratch.write("\(name)/blobs/sha256/\(part.descriptor.digest.hex)", part.bytes) }
      try write([(image.root, "1")], name)
    case .local:
      for part in image.blobs + image.manifests { try await store.put(part.bytes) }
      try await LocalImages(store).tag(Reference(parsing: name + ":1"), image.root)
    }
  }

  /// The `index.json` of a layout.
  func write(_ entries: [(descriptor: OCIModel.Descriptor, tag: String?)], _ name: String) throws {
    try scratch.write("\(name)/oci-layout", #"{"imageLayoutVersion":"1.0.0"}"#)
    let manifests = entries.map { entry in
      var descriptor = entry.descriptor
      if let tag = entry.tag { descriptor.annotations[OCILayout.refName] = tag }
      return descriptor
    }
    try scratch.write("\(name)/index.json", ImageIndex(manifests: manifests).json.encoded())
  }

  /// Reads everything that a location names, checked.
  func readAll(_ location: ImageLocation) async throws -> Set<Digest> {
    let source = try access.source(location)
    return try await Self.read(try await source.root(), source)
  }
  private static func read(_ document: FetchedManifest, _ source: any ImageSource) async throws -> Set<Digest> {
    var found: Set<Digest> = [document.descriptor.digest]
    switch try document.document() {
    case .index(let index): for child in index.manifests { found.formUnion(try await read(try await source.manifest(child), source)) }
    case .manifest(let manifest):
      for blob in [manifest.config] + manifest.layers {
        _ = try await source.bytes(blob, limit: 1 << 20)
        found.insert(blob.digest)
      }
    }
    return found
  }
}

func digests(_ image: RandomImage) -> Set<Digest> { Set((image.blobs + image.manifests).map(\.descriptor.digest)) }

func expectImageError<T>(_ code: ImageStoreError.Code, _ fragment: String = "", _ body: () async throws -> T, at location: SourceLocation = #_sourceLocation) async {
  do {
    _ = try await body()
    Issue.record("no error", sourceLocation: location)
  } catch let error as ImageStoreError {
    #expect(error.code == code, "\(error)", sourceLocation: location)
    #expect(fragment.isEmpty || error.description.contains(fragment), "\(error)", sourceLocation: location)
  } catch { Issue.record("another error: \(error)", sourceLocation: location) }
}
