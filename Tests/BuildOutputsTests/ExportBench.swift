import BuildInterface
import BuildProgress
import BuildSnapshots
import ContentStore
import HostOS
import LayerArchive
import OCIModel
import OCIRegistry
import TestSupport
import Testing

@testable import BuildOutputs

/// Stores and a client for one test, in a directory of its own.
struct ExportBench {
  let scratch: ScratchDirectory
  let store: ContentStore
  let refs: RefStore
  let registry: RegistryClient
  let progress = RecordingSink()

  static func run<T>(snapshotter: RefStore.Snapshotter = .plain, _ body: (ExportBench) async throws -> T) async throws -> T {
    let scratch = try ScratchDirectory("outputs")
    let store = try await ContentStore.open(root: scratch.file("root"), migrations: RefStore.migrations)
    let refs = try await RefStore.open(store: store, snapshotter: snapshotter)
    var configuration = RegistryConfiguration(environment: [:])
    configuration.certificateDirectories = []
    configuration.retry.maximumAttempts = 2
    let bench = ExportBench(scratch: scratch, store: store, refs: refs, registry: RegistryClient(configuration))
    do {
      let result = try await body(bench)
      await bench.end()
      return result
    } catch {
      await bench.end()
      throw error
    }
  }

  private func end() async {
    await registry.shutdown()
    try? await refs.close()
    try? await store.close()
  }

  struct Destination: ExportService {
    let target: ExportTarget
    func target(id: String) async throws -> ExportTarget { target }
  }

  func environment(_ target: ExportTarget = .file(path: "/nonexistent/none")) -> ExportEnvironment {
    ExportEnvironment(
      store: store, images: LocalImages(store), refs: refs, registry: registry, destinations: Destination(target: target), progress: progress)
  }

  @discardableResult
  func export(_ type: String, _ attributes: [String: String] = [:], _ source: ExportSource, to target: ExportTarget = .file(path: "/nonexistent/none")) async throws -> [String: String] {
    try await Exporters.make(ExportRequest(type: type, attributes: attributes)).export(source, in: environment(target))
  }

  /// The lines shown, each once, in their order.
  var lines: [String] {
    var out: [String] = []
    for event in progress.events {
      for status in event.statuses where !out.contains(status.id) { out.append(status.id) }
    }
    return out
  }
  var vertices: [ProgressVertex] { progress.events.flatMap(\.vertices) }

  /// A ref of layers whose blobs are given and lie in the store.
  func ref(layers: [(bytes: [UInt8], type: MediaType)]) async throws -> ImmutableRef? {
    guard !layers.isEmpty else { return nil }
    var described: [(descriptor: OCIModel.Descriptor, diffID: Digest)] = []
    for (bytes, type) in layers {
      let descriptor = try await store.put(bytes, mediaType: type)
      described.append((descriptor, try Self.diffID(bytes)))
    }
    return try await refs.layers(on: nil, described, provider: NoProvider())
  }

  static func diffID(_ blob: [UInt8]) throws -> Digest { .sha256(of: try DetectingSource(BytesSource(blob)).readToEnd(limit: 1 << 24)) }

  /// A ref made as a step makes one.
  func ref(description: String = "step", _ body: @escaping @Sendable (Directory) throws -> Void) async throws -> ImmutableRef {
    let mutable = try await refs.newMutable(parent: nil, description: description)
    try await mutable.withMounted(body)
    return try await mutable.commit()
  }
}

struct NoProvider: LayerProvider {
  func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore) async throws { throw StoreError(.notFound, "\(descriptor.digest) is nowhere") }
}

/// Layers that are in a registry.
struct FromRegistry: RegistryLayerProvider {
  let client: RegistryClient
  let reference: Reference
  var repository: Reference? { reference.repository }
  func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore) async throws { try await client.fetchBlob(descriptor, from: reference, into: store) }
}

extension ExportSource.Target {
  init(_ id: String, _ ref: ImmutableRef?, config: String? = nil) throws {
    let platform = try Platform(parsing: id)
    let text = config ?? ImageConfig(platform: platform).json.encodedString()
    self.init(id: id, platform: platform, ref: ref, imageConfig: Array(text.utf8))
  }
}

/// A tar archive's entries.
struct ReadTar {
  var entries: [TarEntry] = []
  var contents: [String: [UInt8]] = [:]
  init(_ bytes: [UInt8]) throws {
    let reader = TarReader(BytesSource(bytes))
    while let entry = try reader.next() {
      entries.append(entry)
      if entry.kind == .file {
        var content = [UInt8](repeating: 0, count: Int(entry.size))
        var done = 0
        while done < content.count { done += try content.withUnsafeMutableBytes { try reader.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[done...])) } }
        contents[entry.path.text] = content
      }
    }
  }
}

enum Golden {
  static func bytes(_ name: String, file: String = #filePath) throws -> [UInt8] {
    let folder = file.split(separator: "/").dropLast().joined(separator: "/")
    return try Files.read("/\(folder)/Golden/\(name)", limit: 1 << 24)
  }
}
