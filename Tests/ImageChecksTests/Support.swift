import ImageStores
import LayerArchive
import NIOCore
import OCIModel
import OCIRegistry

/// A program's file: an ELF header, one program header, and perhaps an interpreter's name, which may lie far behind.
func elf(
  wide: Bool = true, big: Bool = false, machine: UInt16 = 62, type: UInt16 = 2, flags: UInt32 = 0, interpreter: String? = nil, interpreterAt: Int? = nil, tableAt: Int? = nil
) -> [UInt8] {
  func integer(_ value: Int, _ size: Int) -> [UInt8] {
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    return big ? bytes.reversed() : bytes
  }
  let header = wide ? 64 : 52, entry = wide ? 56 : 32, word = wide ? 8 : 4
  let name: [UInt8] = interpreter.map { Array($0.utf8) + [0] } ?? []
  let table = tableAt ?? header
  let place = interpreterAt ?? table + entry
  var bytes: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, big ? 2 : 1, 1] + [UInt8](repeating: 0, count: 9)
  bytes += integer(Int(type), 2) + integer(Int(machine), 2) + integer(1, 4) + integer(0x1000, word) + integer(table, word) + integer(0, word) + integer(Int(flags), 4)
  for value in [header, entry, 1, 0, 0, 0] { bytes += integer(value, 2) }
  var program = integer(interpreter == nil ? 1 : 3, 4)
  if wide { program += integer(4, 4) }
  for value in [place, 0, 0, name.count, 0] { program += integer(value, word) }
  if !wide { program += integer(4, 4) }
  program += integer(1, word)
  for (part, at) in [(program, table), (name, place)].sorted(by: { $0.1 < $1.1 }) where !part.isEmpty {
    if bytes.count < at { bytes += [UInt8](repeating: 0, count: at - bytes.count) }
    bytes.replaceSubrange(at..<min(bytes.count, at + part.count), with: part)
  }
  return bytes
}

/// What goes into a layer.
enum TestFile {
  case file(String, [UInt8], mode: UInt32 = 0o644)
  case directory(String)
  case link(String, String)
  case hard(String, String)

  static func text(_ path: String, _ text: String, mode: UInt32 = 0o644) -> TestFile { .file(path, Array(text.utf8), mode: mode) }
  static func program(_ path: String, _ bytes: [UInt8]) -> TestFile { .file(path, bytes, mode: 0o755) }
  static func script(_ path: String, _ text: String) -> TestFile { .text(path, text, mode: 0o755) }
}

func tar(_ files: [TestFile]) throws -> [UInt8] {
  let sink = BytesSink()
  let writer = TarWriter(sink)
  for file in files {
    func name(_ text: String) -> ByteString { ByteString(Array(text.utf8)) }
    switch file {
    case .file(let path, let bytes, let mode):
      try writer.begin(TarEntry(path: name(path), mode: mode, size: Int64(bytes.count)))
      if !bytes.isEmpty { try writer.write(bytes) }
    case .directory(let path): try writer.begin(TarEntry(path: name(path), kind: .directory, mode: 0o755))
    case .link(let path, let target): try writer.begin(TarEntry(path: name(path), kind: .symbolicLink, linkTarget: name(target), mode: 0o777))
    case .hard(let path, let target): try writer.begin(TarEntry(path: name(path), kind: .hardLink, linkTarget: name(target)))
    }
  }
  try writer.finish()
  return sink.bytes
}

/// Images in memory: an index of them, or one. @unchecked: made and broken by the test before anybody reads, but for `reads`, which is not relied on.
final class TestImages: ImageSource, @unchecked Sendable {
  var blobs: [Digest: [UInt8]] = [:]
  var documents: [Digest: FetchedManifest] = [:]
  var top: FetchedManifest?
  /// Descriptors of the images, in the order in which they were added.
  var entries: [Descriptor] = []

  let location = ImageLocation.local("test")

  @discardableResult
  func add(blob: [UInt8], _ type: MediaType) -> Descriptor {
    let descriptor = Descriptor(mediaType: type, of: blob)
    blobs[descriptor.digest] = blob
    return descriptor
  }

  @discardableResult
  func add(document: [UInt8], _ type: MediaType) -> Descriptor {
    let descriptor = Descriptor(mediaType: type, of: document)
    documents[descriptor.digest] = FetchedManifest(descriptor: descriptor, bytes: document)
    return descriptor
  }

  /// An image of uncompressed layers.
  @discardableResult
  func image(_ platform: String, layers: [[TestFile]], listed: String? = nil, _ change: (inout ImageConfig) -> Void = { _ in }) throws -> Descriptor {
    var config = ImageConfig(platform: try Platform(parsing: platform))
    let archives = try layers.map { try tar($0) }
    config.diffIDs = archives.map { Digest.sha256(of: $0) }
    change(&config)
    let configDescriptor = add(blob: config.json.encoded(), .ociConfig)
    let manifest = ImageManifest(config: configDescriptor, layers: archives.map { add(blob: $0, .ociLayer) })
    var descriptor = add(document: manifest.encoded, .ociManifest)
    descriptor.platform = try Platform(parsing: listed ?? platform)
    entries.append(descriptor)
    return descriptor
  }

  @discardableResult
  func index() -> TestImages {
    top = documents[add(document: ImageIndex(manifests: entries).encoded, .ociIndex).digest]
    return self
  }

  func root() async throws -> FetchedManifest {
    guard let top = top ?? entries.first.flatMap({ documents[$0.digest] }) else { throw ImageStoreError(.notFound, "none") }
    return top
  }
  func manifest(_ descriptor: Descriptor) async throws -> FetchedManifest {
    guard let found = documents[descriptor.digest] else { throw ImageStoreError(.notFound, "no manifest \(descriptor.digest)") }
    return found
  }
  func content(of descriptor: Descriptor, from offset: Int64) async throws -> BlobContent {
    guard let bytes = blobs[descriptor.digest] else { throw ImageStoreError(.notFound, "no blob \(descriptor.digest)") }
    return BlobContent {
      var rest = bytes[...]
      return {
        if rest.isEmpty { return nil }
        let part = rest.prefix(70_000)
        rest = rest.dropFirst(part.count)
        return ByteBuffer(bytes: part)
      }
    }
  }
  func presence(of descriptor: Descriptor) async throws -> BlobPresence { blobs[descriptor.digest].map { .present(size: Int64($0.count)) } ?? .absent }
}
