import OCIModel

/// Reads a tar archive from a stream, entry by entry: ustar, pax, GNU and star forms, v7. Where readers differ it does as Go's archive/tar, so that
/// what this program sees in a layer is what BuildKit and containerd see. Hostile bytes make it throw (`invalidArchive`, `truncated`, `limit`), and cost no
/// more memory than `TarLimits`. Blocks; one thread at a time.
///
///     while let entry = try reader.next() { while let chunk = try reader.nextChunk() { … } }
package final class TarReader {
  /// Content, and where in the file it belongs. Valid until the reader is used again.
  package struct Chunk {
    package let offset: Int64
    package let bytes: UnsafeRawBufferPointer
  }

  private let source: any ByteSource
  let limits: TarLimits
  private let globalHeaders: GlobalHeaders
  private let buffer: IOBuffer
  private var start = 0
  private var end = 0
  /// Bytes of the stream before `start`.
  private var position: Int64 = 0
  private var ended = false

  // The entry being read.
  private var stored: Int64 = 0
  private var padding = 0
  private var size: Int64 = 0
  private var segments: [SparseSegment] = []
  private var segment = 0
  private var segmentDone: Int64 = 0
  /// For `read(into:)`: the place in the expanded content, and a chunk not used up.
  private var logical: Int64 = 0
  private var leftover: Chunk?
  private var global: [String: [UInt8]] = [:]

  package init(_ source: any ByteSource, limits: TarLimits = .default, globalHeaders: GlobalHeaders = .apply, bufferSize: Int = 1 << 18) {
    (self.source, self.limits, self.globalHeaders) = (source, limits, globalHeaders)
    buffer = IOBuffer(max(bufferSize, 4 * TarBlock.size))
  }

  /// The next entry; what was not read of the one before is skipped. nil at the end of the archive (two zero blocks, or the stream's end between entries).
  package func next() throws -> TarEntry? {
    if ended { return nil }
    try skip(stored)
    stored = 0
    try skip(Int64(padding), mayEnd: true)
    (padding, segments, segment, segmentDone, logical, leftover, size) = (0, [], 0, 0, 0, nil, 0)
    var local: [String: [UInt8]] = [:]
    var longName: ByteString?, longLink: ByteString?
    while true {
      guard let header = try readHeader() else {
        ended = true
        return nil
      }
      switch header.flag {
      case UInt8(ascii: "x"):
        local = try readRecords(header)
      case UInt8(ascii: "g"):
        let records = try readRecords(header)
        if let entry = try globalEntry(records, header) { return entry }
      case UInt8(ascii: "L"):
        longName = try readLongName(header)
      case UInt8(ascii: "K"):
        longLink = try readLongName(header)
      default:
        return try finish(header, local, longName, longLink)
      }
    }
  }

  /// Where in the stream the content of the entry begins that `next` has just given.
  package var contentOffset: Int64 { position }

  /// The next stretch of the current entry's content; nil at its end. Holes are not given: they are what lies between the chunks, and up to the entry's size.
  package func nextChunk() throws -> Chunk? {
    if let chunk = leftover {
      leftover = nil
      return chunk
    }
    while segment < segments.count, segmentDone == segments[segment].length {
      segment += 1
      segmentDone = 0
    }
    guard segment < segments.count else { return nil }
    if start == end { try fill() }
    if start == end { throw truncated() }
    let n = Int(min(Int64(end - start), segments[segment].length - segmentDone))
    let chunk = Chunk(offset: segments[segment].offset + segmentDone, bytes: UnsafeRawBufferPointer(rebasing: buffer.all[start..<start + n]))
    segmentDone += Int64(n)
    stored -= Int64(n)
    advance(n)
    return chunk
  }

  /// Content with holes as zeros. 0 at the entry's end.
  package func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
    if target.isEmpty || logical == size { return 0 }
    let chunk = try nextChunk()
    let hole = (chunk?.offset ?? size) - logical
    if hole > 0 {
      let n = Int(min(hole, Int64(target.count)))
      UnsafeMutableRawBufferPointer(rebasing: target[..<n]).initializeMemory(as: UInt8.self, repeating: 0)
      leftover = chunk
      logical += Int64(n)
      return n
    }
    guard let chunk else { return 0 }
    let n = min(chunk.bytes.count, target.count)
    target.copyMemory(from: UnsafeRawBufferPointer(rebasing: chunk.bytes[..<n]))
    logical += Int64(n)
    if n < chunk.bytes.count { leftover = Chunk(offset: chunk.offset + Int64(n), bytes: UnsafeRawBufferPointer(rebasing: chunk.bytes[n...])) }
    return n
  }

  /// Reads to the end of the stream: a digest over it covers what follows the archive too.
  package func drain() throws {
    repeat { advance(end - start); try fill() } while start < end
  }

  // MARK: headers

  private struct Header {
    var flag: UInt8
    var entry: TarEntry
    var format: TarBlock.Format
    /// Old GNU sparse: the block as it is.
    var block: [UInt8]?
  }

  private func readHeader() throws -> Header? {
    guard try need(TarBlock.size, mayEnd: true) else { return nil }
    var block = TarBlockReader(base: UnsafePointer(buffer.bytes + start))
    if block.isZero {
      advance(TarBlock.size)
      guard try need(TarBlock.size, mayEnd: true) else { return nil }
      block = TarBlockReader(base: UnsafePointer(buffer.bytes + start))
      if block.isZero {
        advance(TarBlock.size)
        return nil
      }
      throw invalid("a zero block, then something else")
    }
    guard let format = block.format() else { throw invalid("not a tar header (its checksum is wrong)") }
    let header = try parse(block, format)
    advance(TarBlock.size)
    return header
  }

  private func parse(_ block: TarBlockReader, _ format: TarBlock.Format) throws -> Header {
    func number(_ field: TarBlock.Field, _ what: String) throws -> Int64 {
      guard let value = block.number(field) else { throw invalid("the header's \(what) is not a number that fits 63 bits") }
      return value
    }
    let flag = block.base[TarBlock.typeFlag]
    var entry = TarEntry(path: block.string(TarBlock.name), linkTarget: block.string(TarBlock.linkName))
    entry.size = try number(TarBlock.contentSize, "size")
    entry.mode = UInt32(truncatingIfNeeded: try number(TarBlock.mode, "mode") & 0xffff)
    entry.uid = try number(TarBlock.uid, "uid")
    entry.gid = try number(TarBlock.gid, "gid")
    entry.modified = Timestamp(seconds: try number(TarBlock.modified, "mtime"))
    var prefix = ByteString()
    if format != .v7 {
      entry.userName = block.string(TarBlock.userName)
      entry.groupName = block.string(TarBlock.groupName)
      entry.deviceMajor = try number(TarBlock.deviceMajor, "device number")
      entry.deviceMinor = try number(TarBlock.deviceMinor, "device number")
    }
    switch format {
    case .v7: break
    case .ustar: prefix = block.string(TarBlock.prefix)
    case .star:
      prefix = block.string(TarBlock.starPrefix)
      entry.accessed = Timestamp(seconds: try number(TarBlock.starAccessed, "atime"))
      entry.changed = Timestamp(seconds: try number(TarBlock.starChanged, "ctime"))
    case .gnu:
      let accessed = block.base[TarBlock.gnuAccessed.offset] == 0 ? .some(nil) : block.number(TarBlock.gnuAccessed).map { Optional($0) }
      let changed = block.base[TarBlock.gnuChanged.offset] == 0 ? .some(nil) : block.number(TarBlock.gnuChanged).map { Optional($0) }
      if let accessed, let changed {
        entry.accessed = accessed.map { Timestamp(seconds: $0) }
        entry.changed = changed.map { Timestamp(seconds: $0) }
      } else {
        // Go before 1.8 wrote a prefix there (golang.org/issue/12594).
        let text = block.string(TarBlock.prefix)
        if text.bytes.allSatisfy({ $0 < 0x80 }) { prefix = text }
      }
    }
    if !prefix.isEmpty { entry.path = ByteString(prefix.bytes + [0x2f] + entry.path.bytes) }
    let keep = flag == UInt8(ascii: "S") ? Array(UnsafeBufferPointer(start: block.base, count: TarBlock.size)) : nil
    return Header(flag: flag, entry: entry, format: format, block: keep)
  }

  /// The content of a header about headers, with its padding.
  private func readSpecial(_ header: Header) throws -> [UInt8] {
    guard header.entry.size >= 0 else { throw invalid("a negative size") }
    guard header.entry.size <= Int64(limits.headerBytes) else {
      throw LayerArchiveError(.limit, "an extended header of \(header.entry.size) bytes at byte \(position); at most \(limits.headerBytes) are read")
    }
    var out: [UInt8] = []
    out.reserveCapacity(Int(header.entry.size))
    try take(Int(header.entry.size)) { out.append(contentsOf: $0) }
    try skip(Int64(TarBlock.padding(header.entry.size)), mayEnd: true)
    return out
  }

  private func readRecords(_ header: Header) throws -> [String: [UInt8]] {
    let content = try readSpecial(header)
    return try content.withUnsafeBytes { try PaxRecords.parse($0, invalid) }
  }

  private func readLongName(_ header: Header) throws -> ByteString? {
    let content = try readSpecial(header)
    let name = ByteString(content.prefix { $0 != 0 })
    return name.isEmpty ? nil : name
  }

  private func globalEntry(_ records: [String: [UInt8]], _ header: Header) throws -> TarEntry? {
    switch globalHeaders {
    case .ignore: return nil
    case .report:
      var entry = TarEntry(path: header.entry.path, kind: .globalHeader)
      entry.records = records
      return entry
    case .apply:
      // An empty value takes back what an earlier global header said.
      for (key, value) in records { global[key] = value.isEmpty ? nil : value }
      let held = global.reduce(0) { $0 + $1.key.utf8.count + $1.value.count }
      if held > limits.headerBytes { throw LayerArchiveError(.limit, "global headers of more than \(limits.headerBytes) bytes") }
      return nil
    }
  }

  private func finish(_ header: Header, _ local: [String: [UInt8]], _ longName: ByteString?, _ longLink: ByteString?) throws -> TarEntry {
    var header = header
    let records = global.isEmpty ? local : global.merging(local) { $1 }
    try merge(records, into: &header.entry)
    if let longName { header.entry.path = longName }
    if let longLink { header.entry.linkTarget = longLink }
    header.entry.kind = TarReader.kind(header.flag, header.entry.path)
    let headerOnly: Bool
    switch header.entry.kind {
    case .file, .other: headerOnly = false
    default: headerOnly = true
    }
    guard headerOnly || header.entry.size >= 0 else { throw invalid("a negative size") }
    if headerOnly { header.entry.size = 0 }
    stored = header.entry.size
    padding = TarBlock.padding(stored)
    if let map = try sparseMap(&header.entry, flag: header.flag, format: header.format, block: header.block, records: records) {
      if headerOnly { throw invalid("a sparse map where there is no content") }
      segments = try SparseMap.normalised(map, size: header.entry.size, stored: stored, invalid)
      header.entry.sparse = segments
    } else {
      segments = stored > 0 ? [SparseSegment(offset: 0, length: stored)] : []
    }
    size = header.entry.size
    if size > limits.entrySize { throw LayerArchiveError(.limit, "the entry has \(size) bytes; at most \(limits.entrySize) are allowed", path: header.entry.path) }
    return header.entry
  }

  private static func kind(_ flag: UInt8, _ path: ByteString) -> TarEntry.Kind {
    switch flag {
    case UInt8(ascii: "0"), UInt8(ascii: "7"), UInt8(ascii: "S"): .file
    // Old archives have no directories but names with a slash at the end.
    case 0: path.bytes.last == 0x2f ? .directory : .file
    case UInt8(ascii: "1"): .hardLink
    case UInt8(ascii: "2"): .symbolicLink
    case UInt8(ascii: "3"): .characterDevice
    case UInt8(ascii: "4"): .blockDevice
    case UInt8(ascii: "5"): .directory
    case UInt8(ascii: "6"): .fifo
    default: .other(flag)
    }
  }

  private func merge(_ records: [String: [UInt8]], into entry: inout TarEntry) throws {
    for (key, value) in records {
      if let name = key.dropPrefix(PaxRecords.schily) {
        entry.xattrs[String(name)] = value
        continue
      }
      // The same attribute in both forms: star's form is the exact one.
      if let name = key.dropPrefix(PaxRecords.libarchive) {
        guard let (name, value) = PaxRecords.libarchiveXattr(name, value) else { throw invalid("the record \(key) is not in libarchive's form") }
        if records[PaxRecords.schily + name] == nil { entry.xattrs[name] = value }
        continue
      }
      if value.isEmpty { continue }
      switch key {
      case "path": entry.path = ByteString(value)
      case "linkpath": entry.linkTarget = ByteString(value)
      case "uname": entry.userName = ByteString(value)
      case "gname": entry.groupName = ByteString(value)
      case "uid": entry.uid = try parsed(key, PaxRecords.integer(value))
      case "gid": entry.gid = try parsed(key, PaxRecords.integer(value))
      case "size": entry.size = try parsed(key, PaxRecords.integer(value))
      case "mtime": entry.modified = try parsed(key, PaxRecords.time(value))
      case "atime": entry.accessed = try parsed(key, PaxRecords.time(value))
      case "ctime": entry.changed = try parsed(key, PaxRecords.time(value))
      case "SCHILY.devmajor": entry.deviceMajor = try parsed(key, PaxRecords.integer(value))
      case "SCHILY.devminor": entry.deviceMinor = try parsed(key, PaxRecords.integer(value))
      default: if !key.hasPrefix("GNU.sparse.") { entry.records[key] = value }
      }
    }
  }

  private func parsed<Value>(_ key: String, _ value: Value?) throws -> Value {
    guard let value else { throw invalid("the record \(key) has no valid value") }
    return value
  }

  // MARK: the stream

  func invalid(_ what: String) -> LayerArchiveError { LayerArchiveError(.invalidArchive, "invalid tar archive at byte \(position): \(what)") }
  private func truncated() -> LayerArchiveError { LayerArchiveError(.truncated, "the tar archive ends in the middle, after \(position + Int64(end - start)) bytes") }

  private func advance(_ count: Int) {
    start += count
    position += Int64(count)
  }

  /// Replaces the buffer, which is used up, by what comes next.
  private func fill() throws {
    start = 0
    end = 0
    end = try source.read(into: buffer.all)
  }

  /// Makes `count` bytes stand at `start`. False when the stream ends exactly here and may.
  private func need(_ count: Int, mayEnd: Bool) throws -> Bool {
    if end - start >= count { return true }
    if start > 0 {
      buffer.base.copyMemory(from: buffer.base + start, byteCount: end - start)
      end -= start
      start = 0
    }
    while end < count {
      let n = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.all[end...]))
      if n == 0 {
        if end == 0, mayEnd { return false }
        throw truncated()
      }
      end += n
    }
    return true
  }

  private func take(_ count: Int, _ body: (UnsafeRawBufferPointer) -> Void) throws {
    var left = count
    while left > 0 {
      if start == end { try fill() }
      if start == end { throw truncated() }
      let n = min(left, end - start)
      body(UnsafeRawBufferPointer(rebasing: buffer.all[start..<start + n]))
      advance(n)
      left -= n
    }
  }

  private func skip(_ count: Int64, mayEnd: Bool = false) throws {
    var left = count
    while left > 0 {
      // The last byte is read, so that a file that ends too early is seen.
      if start == end, left > 1, let file = source as? PositionedSource {
        file.skip(left - 1)
        position += left - 1
        left = 1
      }
      if start == end { try fill() }
      if start == end {
        // Some writers leave out the last padding.
        if mayEnd { return }
        throw truncated()
      }
      let n = Int(min(left, Int64(end - start)))
      advance(n)
      left -= Int64(n)
    }
  }

  // MARK: for sparse maps

  /// One block of the current entry's content (it counts as read).
  func takeContentBlock() throws -> [UInt8] {
    guard stored >= Int64(TarBlock.size) else { throw invalid("the sparse map is longer than the content") }
    stored -= Int64(TarBlock.size)
    return try takeBlock()
  }

  /// One block that belongs to the header.
  func takeBlock() throws -> [UInt8] {
    var block: [UInt8] = []
    try take(TarBlock.size) { block.append(contentsOf: $0) }
    return block
  }
}

extension String {
  func dropPrefix(_ prefix: String) -> Substring? { hasPrefix(prefix) ? dropFirst(prefix.count) : nil }
}
