internal import ContentStore
internal import HostOS
internal import LayerArchive
internal import OCIModel
internal import Synchronization

/// The images of a docker archive (`manifest.json`). Its layers are tar archives, as a rule uncompressed: in the store they are blobs compressed with gzip, as in a
/// registry; compressed ones stay as they are. Each must be the one that the image's config says.
struct DockerArchiveLoad: Sendable {
  let load: ImageLoad
  let files: ArchiveFiles
  let cancelled: ImageLoad.Flag

  private struct Image: Sendable {
    var names: [Reference]
    var config: [UInt8]
    var platform: Platform
    var layers: [(name: String, diffID: Digest)]
  }

  func images() async throws -> [ImageLoad.Loaded] {
    let images = try await Blocking.run { try parsed() }
    var seen = Set<Digest>()
    let layers = images.flatMap(\.layers).filter { seen.insert($0.diffID).inserted }
    let blobs = Mutex<[Digest: OCIModel.Descriptor]>([:])
    try await ImageLoad.inParallel(layers) { layer in
      let blob = try await take(layer.name, layer.diffID)
      blobs.withLock { $0[layer.diffID] = blob }
    }
    let descriptors = blobs.withLock { $0 }
    var out: [ImageLoad.Loaded] = []
    for image in images {
      let config = try await load.store.put(image.config, mediaType: .dockerConfig)
      let manifest = ImageManifest(mediaType: .dockerManifest, config: config, layers: image.layers.compactMap { descriptors[$0.diffID] })
      out.append(ImageLoad.Loaded(names: image.names, descriptor: try await load.store.put(manifest.encoded, mediaType: .dockerManifest), platforms: [image.platform], absent: []))
    }
    return out
  }

  // MARK: - What the archive promises

  private func parsed() throws -> [Image] {
    let json = try JSONValue(parsing: files.document("manifest.json", limit: DocumentLimits.manifest))
    guard let entries = json.arrayValue, !entries.isEmpty else { throw ArchiveFiles.invalid("its manifest.json names no image") }
    guard entries.count <= DocumentLimits.descriptors else { throw ArchiveFiles.invalid("its manifest.json names more than \(DocumentLimits.descriptors) images") }
    let images = try entries.map(image)
    if load.platforms.isEmpty { return images }
    for wanted in load.platforms where !images.contains(where: { PlatformMatcher(exactly: wanted).matches($0.platform) }) {
      throw ImageToolsError.noSuchPlatform("the archive", wanted, has: images.map(\.platform))
    }
    return images.filter { image in load.platforms.contains { PlatformMatcher(exactly: $0).matches(image.platform) } }
  }

  private func image(_ entry: JSONValue) throws -> Image {
    guard let name = entry["Config"]?.stringValue else { throw ArchiveFiles.invalid("an image in manifest.json has no Config") }
    let bytes = try files.document(name, limit: DocumentLimits.config)
    let config = try ImageConfig(parsing: bytes)
    let layers = (entry["Layers"]?.arrayValue ?? []).compactMap(\.stringValue)
    guard layers.count == config.diffIDs.count, layers.count <= DocumentLimits.descriptors else {
      throw ArchiveFiles.invalid("\(name.prefix(200)) lists \(config.diffIDs.count) layers, and manifest.json \(layers.count)")
    }
    for layer in layers where files[layer] == nil { throw ArchiveFiles.invalid("it has no file \(layer.prefix(200)), a layer of \(name.prefix(200))") }
    // docker's empty platform is Linux on the processor that it had.
    let own = config.platform
    let platform = Platform(os: own.os.isEmpty ? "linux" : own.os, architecture: own.architecture.isEmpty ? "amd64" : own.architecture, variant: own.variant, osVersion: own.osVersion, osFeatures: own.osFeatures)
    let names = try (entry["RepoTags"]?.arrayValue ?? []).compactMap(\.stringValue).map { text in
      do { return try Reference(parsing: text).with(digest: nil).withDefaultTag } catch { throw ArchiveFiles.invalid("it names an image so that nobody could: \(error)") }
    }
    return Image(names: names, config: bytes, platform: platform.normalized, layers: Array(zip(layers, config.diffIDs)).map { (name: $0.0, diffID: $0.1) })
  }

  // MARK: - Layers

  private func take(_ name: String, _ diffID: Digest) async throws -> OCIModel.Descriptor {
    guard let file = files[name] else { throw ArchiveFiles.invalid("it has no file \(name.prefix(200))") }
    let (files, store, cancelled, progress) = (files, load.store, cancelled, load.progress)
    let shown = OCIModel.Descriptor(mediaType: .dockerLayer, digest: diffID, size: file.size)
    do {
      let compression = try await Blocking.run { try DetectingSource(files.source(file)).compression }
      if compression == .none {
        return try await Blocking.run {
          let writer = try store.writer()
          do {
            let sink = FunctionSink { try writer.write($0) }
            let counting = ReportingSource(files.source(file)) { progress(shown, $0) }
            let (result, found) = try LayerWriter.convert(counting, to: LayerForm(.gzip), into: sink, isCancelled: { cancelled.isSet })
            guard found == diffID else { throw Self.other(name, diffID, found) }
            _ = try writer.commit(expecting: result.digest)
            return result.descriptor(docker: true)
          } catch {
            writer.abort()
            throw error
          }
        }
      }
      // First what it is, then the copy: nothing wrong is written.
      let blob = try await Blocking.run { () throws -> OCIModel.Descriptor in
        let packed = HashingSource(files.source(file))
        let plain = HashingSource(try DetectingSource(packed, limits: .default.packed(file.size)), algorithm: diffID.algorithm)
        let buffer = IOBuffer(1 << 20)
        repeat { if cancelled.isSet { throw CancellationError() } } while try plain.read(into: buffer.all) > 0
        repeat {} while try packed.read(into: buffer.all) > 0
        guard plain.digest == diffID else { throw Self.other(name, diffID, plain.digest) }
        return OCIModel.Descriptor(mediaType: compression.mediaType(docker: true), digest: packed.digest, size: file.size)
      }
      try await load.take(blob, file, of: files, cancelled)
      return blob
    } catch let error as LayerArchiveError {
      throw ArchiveFiles.invalid("\(name.prefix(200)) cannot be read", error)
    }
  }

  private static func other(_ name: String, _ diffID: Digest, _ found: Digest) -> ImageToolsError {
    ArchiveFiles.invalid("\(name.prefix(200)) is the layer \(found), where the image's config says \(diffID)")
  }
}

/// Tells how far a source was read.
private final class ReportingSource: ByteSource {
  private let source: any ByteSource
  private let report: (Int64) -> Void
  private var count: Int64 = 0
  init(_ source: any ByteSource, _ report: @escaping (Int64) -> Void) { (self.source, self.report) = (source, report) }
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let n = try source.read(into: buffer)
    count += Int64(n)
    report(count)
    return n
  }
}
