import OCIModel

/// Writes a tar archive. The bytes depend on the entries alone, and are those that Go's archive/tar writes for the same entries: a layer made here has the
/// diff ID that BuildKit gives it. What a ustar header cannot say goes into pax records, sorted by key. Blocks; one thread at a time.
package final class TarWriter {
  package enum Style: Sendable {
    /// As Go's FormatPAX, which BuildKit's layers have: times to the nanosecond, access and change times when given. An entry that needs no records otherwise has a long name
    /// split between name and prefix, where that is possible; else it is in a record.
    case pax
    /// As Go writes when no format is asked for: modification times rounded to seconds, no other times, long names split between name and prefix where that is possible.
    case compact
  }

  private let sink: any ByteSink
  private let style: Style
  private let buffer = IOBuffer(1 << 20)
  private var filled = 0
  private var left: Int64 = 0
  private var padding = 0
  private var path = ByteString()
  /// Bytes of the archive so far.
  package private(set) var count: Int64 = 0

  private let isWindows: Bool

  /// `sink` is finished with the archive. `isWindows`: the entries are a tree's, and are written as a Windows layer has them (`WindowsLayer`).
  package init(_ sink: any ByteSink, style: Style = .pax, isWindows: Bool = false) { (self.sink, self.style, self.isWindows) = (sink, style, isWindows) }

  /// Begins an entry; exactly `entry.size` bytes of content follow when it is a file. A directory's path gets its slash, unless the entry is given on `asItIs`. `entry.sparse` is not written: the
  /// content is given with its holes as zeros.
  package func begin(_ entry: TarEntry, style: Style? = nil, asItIs: Bool = false) throws {
    var entry = entry
    if !asItIs, entry.kind == .directory, entry.path.bytes.last != 0x2f { entry.path.bytes.append(0x2f) }
    guard isWindows else { return try put(entry, style ?? self.style) }
    try beginWindows()
    WindowsLayer.wrap(&entry)
    try put(entry, .pax)
  }

  private func beginWindows() throws {
    guard count == 0 else { return }
    for entry in WindowsLayer.beginning { try put(entry, .pax) }
  }

  private func put(_ entry: TarEntry, _ style: Style) throws {
    try endEntry()
    path = entry.path
    let encoder = try TarHeaderEncoder(entry, style)
    if !encoder.records.isEmpty || entry.kind == .globalHeader {
      let content = PaxRecords.format(encoder.records)
      if content.count > TarLimits.default.headerBytes { throw LayerArchiveError(.unrepresentable, "its extended header would have \(content.count) bytes", path: path) }
      try put { encoder.extendedHeader(TarBlockWriter($0), size: Int64(content.count)) }
      try content.withUnsafeBytes { try append($0) }
      try pad(TarBlock.padding(Int64(content.count)))
      if entry.kind == .globalHeader { return }
    }
    try put { encoder.header(TarBlockWriter($0)) }
    left = encoder.contentSize
    padding = TarBlock.padding(left)
  }

  /// A stretch of the current entry's content.
  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    guard Int64(bytes.count) <= left else { throw LayerArchiveError(.changedWhileRead, "more content than the \(left) bytes that are left of its size", path: path) }
    left -= Int64(bytes.count)
    try append(bytes)
  }

  package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

  /// The current entry's whole content, from a file at its beginning. A file that is shorter or longer than its entry says is an error (`changedWhileRead`).
  func writeContent(of file: OpenFile) throws {
    while true {
      if filled == buffer.all.count { try flush() }
      // One byte more than expected is asked for: so a file that grew is seen.
      let room = min(Int64(buffer.all.count - filled), left + 1)
      let n = SystemCalls.read(file.fd, buffer.base + filled, Int(room))
      if n < 0 { throw LayerArchiveError.system(Int32(-n), "read", path) }
      if n == 0 { break }
      guard Int64(n) <= left else { throw LayerArchiveError(.changedWhileRead, "the file grew while it was archived", path: path) }
      filled += n
      count += Int64(n)
      left -= Int64(n)
    }
    if left > 0 { throw LayerArchiveError(.changedWhileRead, "the file became \(left) bytes shorter while it was archived", path: path) }
  }

  /// The whole content from a source.
  package func writeContent(of source: any ByteSource) throws {
    while left > 0 {
      if filled == buffer.all.count { try flush() }
      let room = Int(min(Int64(buffer.all.count - filled), left))
      let n = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.all[filled..<filled + room]))
      if n == 0 { throw LayerArchiveError(.changedWhileRead, "its content is \(left) bytes shorter than its size", path: path) }
      filled += n
      count += Int64(n)
      left -= Int64(n)
    }
  }

  /// Ends the archive (two zero blocks, no more) and finishes the sink.
  package func finish() throws {
    if isWindows { try beginWindows() }
    try endEntry()
    try pad(2 * TarBlock.size)
    try flush()
    try sink.finish()
  }

  private func endEntry() throws {
    if left > 0 { throw LayerArchiveError(.changedWhileRead, "\(left) bytes of its content were not written", path: path) }
    if padding > 0 { try pad(padding) }
    padding = 0
  }

  private func put(_ body: (UnsafeMutablePointer<UInt8>) -> Void) throws {
    if buffer.all.count - filled < TarBlock.size { try flush() }
    body(buffer.bytes + filled)
    filled += TarBlock.size
    count += Int64(TarBlock.size)
  }

  private func append(_ bytes: UnsafeRawBufferPointer) throws {
    count += Int64(bytes.count)
    if bytes.count > buffer.all.count - filled { try flush() }
    if bytes.count >= buffer.all.count { return try sink.write(bytes) }
    guard let base = bytes.baseAddress else { return }
    (buffer.base + filled).copyMemory(from: base, byteCount: bytes.count)
    filled += bytes.count
  }

  private func pad(_ zeros: Int) throws {
    if buffer.all.count - filled < zeros { try flush() }
    UnsafeMutableRawBufferPointer(rebasing: buffer.all[filled..<filled + zeros]).initializeMemory(as: UInt8.self, repeating: 0)
    filled += zeros
    count += Int64(zeros)
  }

  private func flush() throws {
    if filled == 0 { return }
    try sink.write(buffer.head(filled))
    filled = 0
  }
}

/// What an entry's header says directly, and what its pax records must say.
struct TarHeaderEncoder {
  private let entry: TarEntry
  private let isPlain: Bool
  let records: [String: [UInt8]]
  let contentSize: Int64

  init(_ entry: TarEntry, _ style: TarWriter.Style) throws {
    var entry = entry
    switch entry.kind {
    case .file, .other: contentSize = entry.size
    default: contentSize = 0
    }
    entry.size = contentSize
    if style == .compact {
      entry.modified = Timestamp(seconds: entry.modified.seconds + (entry.modified.nanoseconds >= 500_000_000 ? 1 : 0))
      (entry.accessed, entry.changed) = (nil, nil)
    }
    self.entry = entry
    var plain = true
    var records: [String: [UInt8]] = [:]
    if entry.kind == .globalHeader {
      (self.records, isPlain) = (entry.records, false)
      return
    }
    guard contentSize >= 0 else { throw LayerArchiveError(.unrepresentable, "a negative size", path: entry.path) }
    try TarHeaderEncoder.checkName(entry)

    for (name, value) in entry.xattrs { records[PaxRecords.schily + name] = value }
    for (key, value) in entry.records { records[key] = value }
    if !records.isEmpty { plain = false }
    func text(_ value: ByteString, _ field: TarBlock.Field, _ key: String) throws {
      if value.containsNUL { throw LayerArchiveError(.unrepresentable, "its \(key) contains a NUL", path: entry.path) }
      guard value.count > field.count || value.bytes.contains(where: { $0 >= 0x80 }) else { return }
      records[key] = value.bytes
      if key != "path" || TarHeaderEncoder.split(value) == nil { plain = false }
    }
    func number(_ value: Int64, _ field: TarBlock.Field, _ key: String?) throws {
      if TarBlockWriter.fitsOctal(value, field) { return }
      guard let key else { throw LayerArchiveError(.unrepresentable, "the device number \(value) does not fit a tar header", path: entry.path) }
      records[key] = Array(String(value).utf8)
      plain = false
    }
    try text(entry.path, TarBlock.name, "path")
    try text(entry.linkTarget, TarBlock.linkName, "linkpath")
    try text(entry.userName, TarBlock.userName, "uname")
    try text(entry.groupName, TarBlock.groupName, "gname")
    try number(entry.uid, TarBlock.uid, "uid")
    try number(entry.gid, TarBlock.gid, "gid")
    try number(entry.size, TarBlock.contentSize, "size")
    try number(entry.deviceMajor, TarBlock.deviceMajor, nil)
    try number(entry.deviceMinor, TarBlock.deviceMinor, nil)
    if !TarBlockWriter.fitsOctal(entry.modified.seconds, TarBlock.modified) || entry.modified.nanoseconds != 0 {
      records["mtime"] = PaxRecords.format(entry.modified)
      plain = false
    }
    if let accessed = entry.accessed { records["atime"] = PaxRecords.format(accessed) }
    if let changed = entry.changed { records["ctime"] = PaxRecords.format(changed) }
    if entry.accessed != nil || entry.changed != nil { plain = false }
    self.records = plain ? [:] : records
    isPlain = plain
  }

  private static func checkName(_ entry: TarEntry) throws {
    if entry.path.isEmpty { throw LayerArchiveError(.unrepresentable, "an entry without a name") }
    switch entry.kind {
    case .file, .characterDevice, .blockDevice, .fifo:
      if entry.path.bytes.last == 0x2f { throw LayerArchiveError(.unrepresentable, "only a directory's name ends with a slash", path: entry.path) }
    default: break
    }
    for name in entry.xattrs.keys where name.isEmpty || name.utf8.contains(0x3d) || name.utf8.contains(0) {
      throw LayerArchiveError(.unrepresentable, "the extended attribute \"\(name)\" cannot be named in a tar archive", path: entry.path)
    }
  }

  /// ustar's prefix and name, when the path is longer than the name's field and can be cut at a slash.
  static func split(_ path: ByteString) -> (prefix: [UInt8], name: [UInt8])? {
    let bytes = path.bytes
    var length = bytes.count
    guard length > TarBlock.name.count, !bytes.contains(where: { $0 >= 0x80 }) else { return nil }
    if length > TarBlock.prefix.count + 1 { length = TarBlock.prefix.count + 1 } else if bytes[length - 1] == 0x2f { length -= 1 }
    guard let slash = bytes[..<length].lastIndex(of: 0x2f) else { return nil }
    let rest = bytes.count - slash - 1
    guard slash > 0, rest > 0, rest <= TarBlock.name.count, slash <= TarBlock.prefix.count else { return nil }
    return (Array(bytes[..<slash]), Array(bytes[(slash + 1)...]))
  }

  private func ascii(_ text: ByteString) -> [UInt8] { text.bytes.filter { $0 < 0x80 && $0 != 0 } }

  func header(_ block: TarBlockWriter) {
    if isPlain, let (prefix, name) = TarHeaderEncoder.split(entry.path) {
      block.put(name, TarBlock.name)
      block.put(prefix, TarBlock.prefix)
    } else {
      block.put(ascii(entry.path), TarBlock.name)
    }
    block.base[TarBlock.typeFlag] = flag
    block.put(ascii(entry.linkTarget), TarBlock.linkName)
    block.put(Int64(entry.mode), TarBlock.mode)
    block.put(entry.uid, TarBlock.uid)
    block.put(entry.gid, TarBlock.gid)
    block.put(entry.size, TarBlock.contentSize)
    block.put(entry.modified.seconds, TarBlock.modified)
    block.put(ascii(entry.userName), TarBlock.userName)
    block.put(ascii(entry.groupName), TarBlock.groupName)
    block.put(entry.deviceMajor, TarBlock.deviceMajor)
    block.put(entry.deviceMinor, TarBlock.deviceMinor)
    block.seal()
  }

  func extendedHeader(_ block: TarBlockWriter, size: Int64) {
    let global = entry.kind == .globalHeader
    var name = Array((global ? entry.path.isEmpty ? ByteString("GlobalHead.0.0") : entry.path : recordsName).bytes.filter { $0 < 0x80 && $0 != 0 }.prefix(TarBlock.name.count))
    while name.last == 0x2f { name.removeLast() }
    block.put(name, TarBlock.name)
    block.base[TarBlock.typeFlag] = UInt8(ascii: global ? "g" : "x")
    for field in [TarBlock.mode, TarBlock.uid, TarBlock.gid, TarBlock.modified] { block.put(0, field) }
    block.put(size, TarBlock.contentSize)
    block.seal()
  }

  /// DIRECTORY/PaxHeaders.0/NAME, cleaned as Go's path.Join does.
  private var recordsName: ByteString {
    let slash = entry.path.bytes.lastIndex(of: 0x2f)
    let directory = ByteString(slash.map { Array(entry.path.bytes[..<$0]) } ?? [])
    let file = slash.map { ByteString(Array(entry.path.bytes[($0 + 1)...])) } ?? entry.path
    var parts: [ByteString] = []
    let absolute = entry.path.bytes.first == 0x2f
    for part in directory.components + ["PaxHeaders.0"] + file.components {
      if part == "..", let last = parts.last, last != ".." { parts.removeLast() } else if part != ".." || !absolute { parts.append(part) }
    }
    let joined = parts.reduce(ByteString()) { $0.appending($1) }
    return absolute ? ByteString([0x2f] + joined.bytes) : joined
  }

  private var flag: UInt8 {
    switch entry.kind {
    case .file: UInt8(ascii: "0")
    case .hardLink: UInt8(ascii: "1")
    case .symbolicLink: UInt8(ascii: "2")
    case .characterDevice: UInt8(ascii: "3")
    case .blockDevice: UInt8(ascii: "4")
    case .directory: UInt8(ascii: "5")
    case .fifo: UInt8(ascii: "6")
    case .globalHeader: UInt8(ascii: "g")
    case .other(let flag): flag
    }
  }
}
