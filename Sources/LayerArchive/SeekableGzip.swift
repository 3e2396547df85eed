import OCIModel

/// eStargz (stargz-snapshotter's docs/estargz.md): gzip in which every file's content begins a member of its own, every 4 MiB of it another, and whose last members are a
/// table of contents and a footer that says where that is. A reader can take one file out of the blob in a registry; whoever knows nothing of it sees plain gzip.
///
/// The archive's bytes are passed on untouched; the table follows the archive's end, where tar readers do not look. The output depends on the archive and the level alone.
final class SeekableGzip: ByteSink {
  static let tableName = "stargz.index.json"
  static let chunkSize = 4 << 20
  /// Members without a file's beginning may end anywhere.
  private static let longestMember = 5 << 20
  /// Of the headers before an entry: extended ones included.
  private static let longestHeaders = 4 << 20

  private enum Place {
    /// Within the 512 bytes of a header.
    case header
    /// Within what an extended header holds; it belongs to the next entry.
    case extensionContent(left: Int64)
    case content(left: Int64)
    case padding(left: Int)
    /// After the archive's end.
    case end
  }

  private let sink: any ByteSink
  private let encoder: LibdeflateEncoder
  private let member = IOBuffer(SeekableGzip.longestMember)
  private let output: IOBuffer
  private var filled = 0
  private var place = Place.header
  /// The headers of the entry that is being read.
  private var headers: [UInt8] = []
  private var block: [UInt8] = []
  private var file: OpenChunk?
  private var table = SeekableTable()
  private var offset: Int64 = 0
  private var hasher = DigestHasher(.sha256)

  /// The file whose content is being written: its row of the table, and what is known of the current chunk.
  private struct OpenChunk {
    var row: SeekableTable.Row
    var first: Int?
    var size: Int64
    var left: Int64
    var padding: Int
    var done: Int64 = 0
    var whole = DigestHasher(.sha256)
    var chunk = DigestHasher(.sha256)
    var chunkLeft: Int64 = 0
  }

  /// Of the whole archive as a gzip reader sees it, the table included. After `finish`.
  private(set) var diffID = Digest.sha256(of: "")
  private(set) var uncompressedSize: Int64 = 0
  /// Of the table's document.
  private(set) var tableDigest = Digest.sha256(of: "")

  /// `level` 0 to 9; nil and -1 are 6.
  init(into sink: any ByteSink, level: Int?) throws {
    self.sink = sink
    let level = level.map { $0 < 0 ? 6 : $0 } ?? 6
    encoder = try LibdeflateEncoder(level: level)
    output = IOBuffer(encoder.bound(Self.longestMember))
  }

  var annotations: [String: String] {
    ["containerd.io/snapshot/stargz/toc.digest": tableDigest.description, "io.containers.estargz.uncompressed-size": String(uncompressedSize)]
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes
    while !rest.isEmpty { rest = UnsafeRawBufferPointer(rebasing: rest[try step(rest)...]) }
  }

  func finish() throws {
    switch place {
    case .end: break
    case .header where block.isEmpty && headers.isEmpty: break
    default: throw LayerArchiveError(.truncated, "the archive ends in the middle of an entry")
    }
    try endMember()
    let start = offset
    let json = table.encoded
    tableDigest = .sha256(of: json)
    let archive = BytesSink()
    let tar = TarWriter(archive, style: .compact)
    try tar.begin(TarEntry(path: ByteString(text: Self.tableName), mode: 0, size: Int64(json.count)))
    try tar.write(json)
    try tar.finish()
    archive.bytes.withUnsafeBytes { hasher.update($0) }
    let input = IOBuffer(archive.bytes.count)
    archive.bytes.withUnsafeBytes { input.all.copyMemory(from: $0) }
    let room = IOBuffer(encoder.bound(input.all.count))
    let n = try encoder.encode(input.all, into: room.all)
    try sink.write(room.head(n))
    try sink.write(Self.footer(tableAt: start))
    (diffID, uncompressedSize) = (hasher.finish(), hasher.count)
    try sink.finish()
  }

  /// An empty gzip member whose extra field names the table's place: always 51 bytes.
  static func footer(tableAt offset: Int64) -> [UInt8] {
    let hex = String(offset, radix: 16)
    let place = Array((String(repeating: "0", count: max(0, 16 - hex.utf8.count)) + hex + "STARGZ").utf8)
    return [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, 0x53, 0x47, 22, 0] + place + [1, 0, 0, 0xff, 0xff] + [UInt8](repeating: 0, count: 8)
  }

  // MARK: - The archive on its way

  /// Takes some of the bytes and answers how many.
  private func step(_ bytes: UnsafeRawBufferPointer) throws -> Int {
    switch place {
    case .header:
      let n = min(bytes.count, TarBlock.size - block.count)
      block.append(contentsOf: bytes[..<n])
      if block.count == TarBlock.size { try header() }
      return n
    case .extensionContent(let left):
      let n = Int(min(Int64(bytes.count), left))
      headers.append(contentsOf: bytes[..<n])
      place = left == Int64(n) ? .header : .extensionContent(left: left - Int64(n))
      return n
    case .content: return try content(bytes)
    case .padding(let left):
      let n = min(bytes.count, left)
      try put(UnsafeRawBufferPointer(rebasing: bytes[..<n]))
      place = left == n ? .header : .padding(left: left - n)
      return n
    case .end:
      try put(bytes)
      return bytes.count
    }
  }

  private func header() throws {
    defer { block.removeAll(keepingCapacity: true) }
    if block.allSatisfy({ $0 == 0 }) {
      guard headers.isEmpty else { throw LayerArchiveError(.truncated, "the archive ends after an extended header") }
      place = .end
      return try block.withUnsafeBytes { try put($0) }
    }
    headers += block
    guard headers.count <= Self.longestHeaders else { throw LayerArchiveError(.limit, "the headers of one entry have more than \(Self.longestHeaders) bytes") }
    let flag = block[TarBlock.typeFlag]
    switch flag {
    case UInt8(ascii: "x"), UInt8(ascii: "L"), UInt8(ascii: "K"):
      let size = block.withUnsafeBufferPointer { $0.baseAddress.flatMap { TarBlockReader(base: $0).number(TarBlock.contentSize) } } ?? -1
      guard size >= 0, size <= Int64(Self.longestHeaders) else { throw LayerArchiveError(.limit, "an extended header has \(size) bytes") }
      let padded = size + Int64(TarBlock.padding(size))
      if padded > 0 { place = .extensionContent(left: padded) }
    case UInt8(ascii: "g"), UInt8(ascii: "S"):
      throw LayerArchiveError(.unsupported, "eStargz has no form for an entry of type '\(Character(UnicodeScalar(flag)))'; use compression gzip or zstd for this image")
    default: try begin()
    }
  }

  private func begin() throws {
    guard let entry = try TarReader(BytesSource(headers), bufferSize: headers.count).next() else {
      throw LayerArchiveError(.invalidArchive, "an entry's header says nothing")
    }
    if entry.sparse != nil { throw LayerArchiveError(.unsupported, "eStargz has no form for a sparse entry; use compression gzip or zstd for this image", path: entry.path) }
    guard entry.path.components != [ByteString(text: Self.tableName)] else {
      throw LayerArchiveError(.unrepresentable, "a layer with a file \(Self.tableName) at its root cannot be made eStargz: the name is the table's own", path: entry.path)
    }
    var row = try table.row(entry)
    try headers.withUnsafeBytes { try put($0) }
    headers.removeAll(keepingCapacity: true)
    place = .header
    guard entry.kind == .file, entry.size > 0 else {
      if entry.kind == .file { row.digest = Digest.sha256(of: "").description }
      return table.rows.append(row)
    }
    file = OpenChunk(row: row, size: entry.size, left: entry.size, padding: TarBlock.padding(entry.size))
    place = .content(left: entry.size)
  }

  private func content(_ bytes: UnsafeRawBufferPointer) throws -> Int {
    guard var file else { throw LayerArchiveError(.invalidArchive, "content without a file") }
    if file.chunkLeft == 0 {
      try endMember()
      file.chunkLeft = min(Int64(Self.chunkSize), file.left)
      file.row.offset = offset
      file.row.chunkOffset = file.done
      // The last chunk goes to the file's end and says no size, unless it is a whole one.
      file.row.chunkSize = file.left >= Int64(Self.chunkSize) ? file.chunkLeft : 0
      file.chunk = DigestHasher(.sha256)
    }
    let n = Int(min(Int64(bytes.count), file.chunkLeft))
    let part = UnsafeRawBufferPointer(rebasing: bytes[..<n])
    file.whole.update(part)
    file.chunk.update(part)
    try put(part)
    file.left -= Int64(n)
    file.chunkLeft -= Int64(n)
    file.done += Int64(n)
    if file.chunkLeft == 0 {
      file.row.chunkDigest = file.chunk.finish().description
      table.rows.append(file.row)
      if file.first == nil { file.first = table.rows.count - 1 }
      file.row = SeekableTable.Row(name: file.row.name, type: "chunk")
    }
    if file.left == 0 {
      if let first = file.first { table.rows[first].digest = file.whole.finish().description }
      place = file.padding > 0 ? .padding(left: file.padding) : .header
      self.file = nil
    } else {
      self.file = file
      place = .content(left: file.left)
    }
    return n
  }

  // MARK: - Members

  private func put(_ bytes: UnsafeRawBufferPointer) throws {
    hasher.update(bytes)
    var rest = bytes
    while !rest.isEmpty {
      if filled == member.all.count { try endMember() }
      let n = min(rest.count, member.all.count - filled)
      (member.base + filled).copyMemory(from: rest.baseAddress!, byteCount: n)
      filled += n
      rest = UnsafeRawBufferPointer(rebasing: rest[n...])
    }
  }

  private func endMember() throws {
    if filled == 0 { return }
    let n = try encoder.encode(UnsafeMutableRawBufferPointer(rebasing: member.all[..<filled]), into: output.all)
    try sink.write(output.head(n))
    offset += Int64(n)
    filled = 0
  }
}

/// eStargz's table of contents, as its reference writer lays it out.
struct SeekableTable {
  struct Row {
    var name: String
    var type: String
    var size: Int64 = 0
    var modified = ""
    var linkName = ""
    var mode: Int64 = 0
    var uid: Int64 = 0
    var gid: Int64 = 0
    var userName = ""
    var groupName = ""
    var offset: Int64 = 0
    var deviceMajor: Int64 = 0
    var deviceMinor: Int64 = 0
    var xattrs: [String: [UInt8]] = [:]
    var digest = ""
    var chunkOffset: Int64 = 0
    var chunkSize: Int64 = 0
    var chunkDigest = ""

    init(name: String, type: String) { (self.name, self.type) = (name, type) }
  }
  var rows: [Row] = []
  /// A name is written where it differs from the last one of its id.
  private var users: [Int64: String] = [:]
  private var groups: [Int64: String] = [:]

  mutating func row(_ entry: TarEntry) throws -> Row {
    let type: String
    switch entry.kind {
    case .file: type = "reg"
    case .directory: type = "dir"
    case .symbolicLink: type = "symlink"
    case .hardLink: type = "hardlink"
    case .characterDevice: type = "char"
    case .blockDevice: type = "block"
    case .fifo: type = "fifo"
    case .globalHeader, .other: throw LayerArchiveError(.unsupported, "eStargz has no form for an entry of its type; use compression gzip or zstd for this image", path: entry.path)
    }
    var row = Row(name: String(decoding: entry.path.bytes, as: UTF8.self), type: type)
    if entry.kind == .file { row.size = entry.size }
    let seconds = entry.modified.seconds + (entry.modified.nanoseconds >= 500_000_000 ? 1 : 0)
    if entry.modified.seconds != 0 { row.modified = Timestamp(seconds: seconds).description }
    if entry.kind == .symbolicLink || entry.kind == .hardLink { row.linkName = String(decoding: entry.linkTarget.bytes, as: UTF8.self) }
    if entry.kind == .characterDevice || entry.kind == .blockDevice { (row.deviceMajor, row.deviceMinor) = (entry.deviceMajor, entry.deviceMinor) }
    (row.mode, row.uid, row.gid, row.xattrs) = (Int64(entry.mode), entry.uid, entry.gid, entry.xattrs)
    row.userName = Self.changed(&users, entry.uid, entry.userName)
    row.groupName = Self.changed(&groups, entry.gid, entry.groupName)
    return row
  }

  private static func changed(_ names: inout [Int64: String], _ id: Int64, _ name: ByteString) -> String {
    let text = String(decoding: name.bytes, as: UTF8.self)
    if text.isEmpty || names[id] == text { return "" }
    names[id] = text
    return text
  }

  var encoded: [UInt8] {
    JSONValue.object(JSONObject([("version", .number("1")), ("entries", rows.isEmpty ? .null : .array(rows.map(\.json)))])).encoded(.indented("\t"))
  }
}

extension SeekableTable.Row {
  fileprivate var json: JSONValue {
    var out = JSONObject([("name", .string(name)), ("type", .string(type))])
    func number(_ key: String, _ value: Int64) { if value != 0 { out[key] = .number(String(value)) } }
    func text(_ key: String, _ value: String) { if !value.isEmpty { out[key] = .string(value) } }
    number("size", size)
    text("modtime", modified)
    text("linkName", linkName)
    number("mode", mode)
    number("uid", uid)
    number("gid", gid)
    text("userName", userName)
    text("groupName", groupName)
    number("offset", offset)
    number("devMajor", deviceMajor)
    number("devMinor", deviceMinor)
    if !xattrs.isEmpty {
      out["xattrs"] = .object(
        JSONObject(xattrs.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { ($0.key, .string(SeekableTable.base64($0.value))) }))
    }
    text("digest", digest)
    number("chunkOffset", chunkOffset)
    number("chunkSize", chunkSize)
    text("chunkDigest", chunkDigest)
    return .object(out)
  }
}

extension SeekableTable {
  /// RFC 4648, section 4.
  static func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var out: [UInt8] = []
    out.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits: UInt32 = 0
      for byte in group { bits = bits << 8 | UInt32(byte) }
      bits <<= UInt32(8 * (3 - group.count))
      for i in 0..<4 { out.append(i <= group.count ? digits[Int(bits >> UInt32(18 - 6 * i)) & 63] : UInt8(ascii: "=")) }
    }
    return String(decoding: out, as: UTF8.self)
  }
}
