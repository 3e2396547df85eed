internal import HostOS
package import LayerArchive
package import OCIModel
package import OCIRegistry

/// A layer that was read once, from its first to its last byte.
package struct LayerScan: Sendable {
  /// Of the bytes that came.
  package var digest: Digest
  package var size: Int64
  /// Of what they unpack to; nil when they do not.
  package var diffID: Digest?
  package var compression: Compression
  /// In the archive's order; what could be read when `failure` is there.
  package var entries: [LayerEntry]
  /// Why it could not be read to its end.
  package var failure: LayerArchiveError?
  /// Why not all bytes came.
  package var broken: (any Error)?

  /// Reads a layer as it arrives. `hashesFiles` for comparisons: files' content and attributes are looked at too. Throws `CancellationError` alone;
  /// all else is in the result.
  package static func read(
    _ descriptor: OCIModel.Descriptor, from source: any BlobSource, hashesFiles: Bool = false, limits: ScanLimits = .default
  ) async throws -> LayerScan {
    let pipe = BlobPipe()
    let content = try await source.content(of: descriptor, from: 0)
    return try await withThrowingTaskGroup(of: LayerScan?.self) { group in
      group.addTask {
        await pipe.fill(from: content)
        return nil
      }
      group.addTask {
        defer { pipe.abandon() }
        return try await Blocking.run { read(pipe, descriptor, hashesFiles: hashesFiles, limits: limits) }
      }
      var out: LayerScan?
      for try await scan in group { out = scan ?? out }
      try Task.checkCancellation()
      guard var out else { throw CancellationError() }
      out.broken = pipe.error
      if out.broken is CancellationError { throw CancellationError() }
      return out
    }
  }

  /// The same of bytes that are here. Blocks.
  package static func read(_ source: any ByteSource, _ descriptor: OCIModel.Descriptor, hashesFiles: Bool, limits: ScanLimits) -> LayerScan {
    let packed = HashingSource(source, algorithm: descriptor.digest.algorithm)
    let reader = LayerEntryReader(hashesFiles: hashesFiles, limits: limits, unpacking: .default.packed(descriptor.size))
    var scan = LayerScan(digest: .sha256(of: ""), size: 0, compression: .none, entries: [])
    do {
      let plain = try DetectingSource(packed, limits: .default.packed(descriptor.size))
      scan.compression = plain.compression
      let hashing = HashingSource(plain)
      try reader.read(hashing)
      scan.diffID = hashing.digest
    } catch let error as LayerArchiveError { scan.failure = error } catch { scan.failure = LayerArchiveError(.system, "\(error)") }
    // To the last byte, whatever it is: the digest is of all.
    let rest = IOBuffer(1 << 18)
    while let count = try? packed.read(into: rest.all), count > 0, packed.size <= descriptor.size {}
    (scan.digest, scan.size, scan.entries) = (packed.digest, packed.size, reader.entries)
    return scan
  }
}

/// Turns an archive into entries.
final class LayerEntryReader {
  private let hashesFiles: Bool
  private let limits: ScanLimits
  private let unpacking: DecompressionLimits
  private(set) var entries: [LayerEntry] = []
  private var nameBytes = 0
  private var fileBytes: Int64 = 0
  private var contentBytes: Int64 = 0

  init(hashesFiles: Bool, limits: ScanLimits, unpacking: DecompressionLimits) { (self.hashesFiles, self.limits, self.unpacking) = (hashesFiles, limits, unpacking) }

  func read(_ source: any ByteSource) throws {
    let tar = TarReader(source, globalHeaders: .ignore)
    while let entry = try tar.next() {
      guard let read = try make(entry, tar) else { continue }
      entries.append(read)
      nameBytes += read.path.count + entry.linkTarget.count
      if entries.count > limits.entries { throw LayerArchiveError(.limit, "the layer has more than \(limits.entries) entries") }
      if nameBytes > limits.nameBytes { throw LayerArchiveError(.limit, "the layer's names have more than \(limits.nameBytes) bytes") }
    }
    try tar.drain()
  }

  /// Lexically, as when a layer is unpacked: "a/../b" is "b", and what leads above the root stays at it.
  static func cleaned(_ path: ByteString) -> [ByteString] {
    var out: [ByteString] = []
    for part in path.components { if part == ".." { _ = out.popLast() } else { out.append(part) } }
    return out
  }

  private func make(_ entry: TarEntry, _ tar: TarReader) throws -> LayerEntry? {
    let components = Self.cleaned(entry.path)
    guard let name = components.last else { return nil }
    if components.count > limits.depth { throw LayerArchiveError(.limit, "deeper than \(limits.depth) directories", path: ByteString(entry.path.bytes.prefix(200))) }
    let parent = components.dropLast().reduce(ByteString()) { $0.appending($1) }
    let path = parent.appending(name)
    if name.hasPrefix(Whiteout.prefix) {
      if name == Whiteout.opaque { return LayerEntry(path: parent, change: .opaque) }
      if name.hasPrefix(Whiteout.metaPrefix) { return nil }
      let hidden = ByteString(name.bytes.dropFirst(Whiteout.prefix.count))
      guard !hidden.isEmpty, hidden != ".", hidden != ".." else { throw LayerArchiveError(.invalidEntry, "a whiteout that names nothing", path: path) }
      return LayerEntry(path: parent.appending(hidden), change: .whiteout)
    }
    var facts = FileFacts(kind: .file, mode: entry.mode & 0o7777, uid: entry.uid, gid: entry.gid)
    switch entry.kind {
    case .file: try readContent(entry, tar, &facts)
    case .directory: facts.kind = .directory
    case .symbolicLink:
      facts.kind = .symbolicLink
      if entry.linkTarget.isEmpty || entry.linkTarget.count > limits.linkBytes { throw LayerArchiveError(.invalidEntry, "a symbolic link of \(entry.linkTarget.count) bytes", path: path) }
      facts.target = entry.linkTarget
    case .characterDevice where entry.deviceMajor == 0 && entry.deviceMinor == 0: return LayerEntry(path: path, change: .whiteout)
    case .characterDevice, .blockDevice:
      facts.kind = entry.kind == .blockDevice ? .blockDevice : .characterDevice
      (facts.deviceMajor, facts.deviceMinor) = (entry.deviceMajor, entry.deviceMinor)
    case .fifo: facts.kind = .fifo
    case .hardLink:
      let target = Self.cleaned(entry.linkTarget)
      if target.count > limits.depth { throw LayerArchiveError(.limit, "a hard link to what is deeper than \(limits.depth) directories", path: path) }
      return LayerEntry(path: path, change: .hardLink(target: target.reduce(ByteString()) { $0.appending($1) }))
    case .other(let flag): throw LayerArchiveError(.unsupported, "an entry of type '\(Unicode.Scalar(flag).escaped(asASCII: true))', which layers never have", path: path)
    case .globalHeader: return nil
    }
    if hashesFiles { facts.attributes = entry.xattrs }
    return LayerEntry(path: path, change: .add(facts))
  }

  private func readContent(_ entry: TarEntry, _ tar: TarReader, _ facts: inout FileFacts) throws {
    facts.size = entry.size
    try checkSize(of: entry)
    guard entry.size > 0 || facts.isExecutable || hashesFiles else { return }
    var capture = ProgramCapture(size: entry.size, isExecutable: facts.isExecutable)
    var hasher = DigestHasher()
    while let chunk = try tar.nextChunk() {
      capture.feed(chunk.offset, chunk.bytes)
      contentBytes += Int64(chunk.bytes.count)
      guard hashesFiles else { continue }
      Self.hashZeros(chunk.offset - hasher.count, &hasher)
      hasher.update(chunk.bytes)
    }
    facts.program = capture.program()
    guard hashesFiles else { return }
    Self.hashZeros(entry.size - hasher.count, &hasher)
    facts.content = hasher.finish()
  }

  private static func hashZeros(_ count: Int64, _ hasher: inout DigestHasher) {
    var left = count
    while left > 0 {
      let part = min(left, Int64(zeros.count))
      hasher.update(zeros.prefix(Int(part)))
      left -= part
    }
  }
  private static let zeros = [UInt8](repeating: 0, count: 1 << 16)

  /// Holes take no room in the archive, and time here.
  private func checkSize(of entry: TarEntry) throws {
    let (total, overflow) = fileBytes.addingReportingOverflow(entry.size)
    fileBytes = overflow ? .max : total
    let stored = entry.sparse?.reduce(0) { $0 + $1.length } ?? entry.size
    try unpacking.check(fileBytes, from: contentBytes + stored, path: entry.path)
  }
}
