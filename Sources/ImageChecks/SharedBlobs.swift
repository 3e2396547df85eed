internal import ImageStores
internal import LayerArchive
internal import NIOCore
internal import OCIModel
internal import OCIRegistry

/// Blobs of images that are being looked at: each is read, or asked for, once, however many images have it; a layer's files are dropped when the last image has them.
actor SharedBlobs {
  private static let atOnce = 4

  private let source: any ImageSource
  private let limits: ScanLimits
  private let hashesFiles: Bool
  private var scans: [Digest: Task<Result<LayerScan, Problem>, any Error>] = [:]
  private var presences: [Digest: Task<Result<Int64?, Problem>, any Error>] = [:]
  private var uses: [Digest: Int] = [:]
  private let limiter = ConcurrencyLimiter(SharedBlobs.atOnce)
  private(set) var layersRead = 0
  private(set) var bytesRead: Int64 = 0

  init(source: any ImageSource, limits: ScanLimits, hashesFiles: Bool = false) { (self.source, self.limits, self.hashesFiles) = (source, limits, hashesFiles) }

  /// How often each layer will be asked for and released.
  func expect(_ layers: [Descriptor]) { for layer in layers { uses[layer.digest, default: 0] += 1 } }

  func release(_ layers: [Descriptor]) {
    for layer in layers {
      uses[layer.digest, default: 1] -= 1
      if uses[layer.digest, default: 0] <= 0 { scans[layer.digest] = nil }
    }
  }

  /// The layer, read as a file system's layer, from `other` where that has it.
  func scan(_ layer: Descriptor, from other: (any ImageSource)? = nil) async throws -> Result<LayerScan, Problem> {
    let task = scans[layer.digest] ?? Task { [source = other ?? source, limits, hashesFiles, limiter] in
      try await limiter.run {
        do {
          let scan = try await LayerScan.read(layer, from: source, hashesFiles: hashesFiles, limits: limits)
          if let broken = scan.broken { throw broken }
          return .success(scan)
        } catch { return .failure(try await Problem.of(error, source)) }
      }
    }
    let isNew = scans[layer.digest] == nil
    scans[layer.digest] = task
    let result = try await Self.value(task)
    if isNew {
      layersRead += 1
      if case .success(let scan) = result { bytesRead += scan.size }
    }
    return result
  }

  /// Whether the blob is there, and its size where that is told.
  func presence(_ blob: Descriptor) async throws -> Result<Int64?, Problem> {
    let task = presences[blob.digest] ?? Task { [source] in
      do {
        switch try await source.presence(of: blob) {
        case .absent: return .failure(Problem(.missing, "it is not there"))
        case .present(let size): return .success(size)
        }
      } catch { return .failure(try await Problem.of(error, source)) }
    }
    presences[blob.digest] = task
    return try await Self.value(task)
  }

  /// Reads a blob for its digest alone.
  func digest(_ blob: Descriptor) async throws -> Result<(digest: Digest, size: Int64), Problem> {
    do {
      var hasher = DigestHasher(blob.digest.algorithm)
      for try await part in try await source.content(of: blob, from: 0) { hasher.update(part.readableBytesView) }
      bytesRead += hasher.count
      return .success((hasher.finish(), hasher.count))
    } catch { return .failure(try await Problem.of(error, source)) }
  }

  private static func value<T: Sendable>(_ task: Task<T, any Error>) async throws -> T {
    try await withTaskCancellationHandler { try await task.value } onCancel: { task.cancel() }
  }
}
