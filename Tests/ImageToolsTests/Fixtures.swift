import ContentStore
import HostOS
import ImageTools
import LayerArchive
import OCIModel
import Testing

let amd64 = Platform(os: "linux", architecture: "amd64")
let arm64 = Platform(os: "linux", architecture: "arm64")
let armv7 = Platform(os: "linux", architecture: "arm", variant: "v7")

/// A store of its own, gone afterwards.
func withStore<T>(_ body: (ContentStore, String) async throws -> T) async throws -> T {
  let root = try Files.makeTemporaryDirectory(prefix: "manifold-images-")
  defer { try? Files.removeTree(root) }
  let store = try await ContentStore.open(root: root + "/store")
  let result = try await body(store, root)
  try await store.close()
  return result
}

/// A tar archive of files, and links ("name" → "->target").
func tar(_ files: [(String, [UInt8])], links: [(String, String)] = []) throws -> [UInt8] {
  let sink = BytesSink()
  let writer = TarWriter(sink)
  for (name, bytes) in files {
    try writer.begin(TarEntry(path: ByteString(text: name), size: Int64(bytes.count)))
    try writer.write(bytes)
  }
  for (name, target) in links { try writer.begin(TarEntry(path: ByteString(text: name), kind: .symbolicLink, linkTarget: ByteString(text: target))) }
  try writer.finish()
  return sink.bytes
}

func packed(_ bytes: [UInt8], _ compression: Compression) throws -> [UInt8] {
  let sink = BytesSink()
  let compressor = try compression.compressor(into: sink)
  try compressor.write(bytes)
  try compressor.finish()
  return sink.bytes
}

/// One platform's image: a config and two layers, one of them shared by all.
struct MadeImage {
  var platform: Platform
  /// Uncompressed.
  var layers: [[UInt8]]
  var config: [UInt8]
  init(_ platform: Platform, _ name: String = "app") throws {
    self.platform = platform
    layers = [try tar([("etc/name", Array("shared".utf8))]), try tar([("bin/app", Array("\(name) for \(platform)".utf8))])]
    var config = ImageConfig(platform: platform)
    config.created = Timestamp(seconds: 1_700_000_000)
    config.config.cmd = ["/bin/app"]
    config.config.labels = ["of": name]
    config.diffIDs = layers.map { Digest.sha256(of: $0) }
    config.history = [.init(createdBy: "COPY shared"), .init(createdBy: "CMD [\"/bin/app\"]", emptyLayer: true), .init(createdBy: "COPY app")]
    self.config = config.json.encoded()
  }

  /// The blobs by their paths in a layout, and the manifest.
  func blobs() throws -> (manifest: OCIModel.Descriptor, all: [(OCIModel.Descriptor, [UInt8])]) {
    let gzipped = try layers.map { try packed($0, .gzip) }
    let parts = gzipped.map { (OCIModel.Descriptor(mediaType: .ociLayerGzip, of: $0), $0) }
    let configuration = OCIModel.Descriptor(mediaType: .ociConfig, of: config)
    let manifest = ImageManifest(config: configuration, layers: parts.map(\.0)).encoded
    var descriptor = OCIModel.Descriptor(mediaType: .ociManifest, of: manifest)
    descriptor.platform = platform
    return (descriptor, parts + [(configuration, config), (descriptor, manifest)])
  }
}

func path(_ descriptor: OCIModel.Descriptor) -> String { "blobs/sha256/\(descriptor.digest.hex)" }

/// An index in the store, with an attestation for its first image.
func put(_ platforms: [Platform], named names: [String], attested: Bool = false, in store: ContentStore) async throws -> OCIModel.Descriptor {
  var entries: [OCIModel.Descriptor] = []
  for platform in platforms {
    let made = try MadeImage(platform).blobs()
    for (descriptor, bytes) in made.all { try await store.put(bytes, mediaType: descriptor.mediaType) }
    entries.append(made.manifest)
  }
  if attested {
    let config = try await store.put(Array("{}".utf8), mediaType: .ociConfig), statement = try await store.put(Array(#"{"predicate":1}"#.utf8), mediaType: .inToto)
    let manifest = try await store.put(ImageManifest(config: config, layers: [statement]).encoded, mediaType: .ociManifest)
    entries.append(
      OCIModel.Descriptor(
        mediaType: .ociManifest, digest: manifest.digest, size: manifest.size,
        annotations: ["vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": entries[0].digest.description],
        platform: Platform(os: "unknown", architecture: "unknown")))
  }
  let root = try await store.put(ImageIndex(manifests: entries).encoded, mediaType: .ociIndex)
  if !names.isEmpty { try await LocalImages(store).tag(try names.map { try Reference(parsing: $0) }, root) }
  return root
}

func archive(_ store: ContentStore, _ name: String, platforms: [Platform] = [], form: ImageArchive.Form = .both) async throws -> [UInt8] {
  let found = try await StoredImages(store).find(name)
  let selection = try ImageSelection(found.image, platforms: platforms, name: name, store: store)
  let docker = selection.images.first { $0.platform == amd64 } ?? selection.images.first
  let sink = BytesSink()
  try ImageArchive([.init(names: [try #require(found.reference)], selection: selection, docker: docker)], form: form, store: store).write(into: sink)
  return sink.bytes
}

func load(_ bytes: [UInt8], into store: ContentStore, _ root: String, platforms: [Platform] = []) async throws -> [ImageLoad.Loaded] {
  let path = root + "/archive-\(UInt64.random(in: .min ... .max))"
  try Files.writeAtomically(bytes, to: path, durable: false)
  defer { try? Files.removeTree(path) }
  return try await ImageLoad(store, platforms: platforms).load(try HostOS.Descriptor.open(path))
}
