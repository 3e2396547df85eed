/// GNU tar's sparse files: the old form (in the header block), pax 0.0 and 0.1 (in records), pax 1.0 (before the content).
extension TarReader {
  /// The map, when the entry is sparse; sets the entry's real name and size then.
  func sparseMap(_ entry: inout TarEntry, flag: UInt8, format: TarBlock.Format, block: [UInt8]?, records: [String: [UInt8]]) throws -> [SparseSegment]? {
    if flag == UInt8(ascii: "S") {
      guard format == .gnu, let block else { throw invalid("a sparse file that is not in GNU's form") }
      return try oldMap(&entry, block)
    }
    func text(_ key: String) -> String { records["GNU.sparse." + key].map { String(decoding: $0, as: UTF8.self) } ?? "" }
    let version = (text("major"), text("minor"))
    switch version {
    case ("1", "0"), ("0", "0"), ("0", "1"): break
    case ("", "") where !text("map").isEmpty: break
    default: return nil
    }
    if let name = records["GNU.sparse.name"], !name.isEmpty { entry.path = ByteString(name) }
    if let size = records["GNU.sparse.size"] ?? records["GNU.sparse.realsize"] {
      guard let size = PaxRecords.integer(size), size >= 0 else { throw invalid("the sparse file has no valid size") }
      entry.size = size
    }
    return version.0 == "1" ? try contentMap() : try SparseMap.parse(records["GNU.sparse.map"] ?? [], invalid)
  }

  private func oldMap(_ entry: inout TarEntry, _ block: [UInt8]) throws -> [SparseSegment] {
    guard let size = block.withUnsafeBufferPointer({ TarBlockReader(base: $0.baseAddress!).number(TarBlock.gnuRealSize) }), size >= 0 else {
      throw invalid("the sparse file has no valid size")
    }
    entry.size = size
    var out: [SparseSegment] = []
    var block = block
    var offset = TarBlock.gnuSparse.offset, count = 4
    var read = 0
    while true {
      for i in 0..<count where block[offset + i * 24] != 0 {
        let (start, length) = block.withUnsafeBufferPointer { bytes in
          let reader = TarBlockReader(base: bytes.baseAddress!)
          return (reader.number(at: offset + i * 24, 12), reader.number(at: offset + i * 24 + 12, 12))
        }
        guard let start, let length else { throw invalid("the sparse map has no valid numbers") }
        out.append(SparseSegment(offset: start, length: length))
      }
      // Then a flag says whether a block of 21 more follows.
      guard block[offset + count * 24] != 0 else { return out }
      read += TarBlock.size
      if read > limits.headerBytes { throw LayerArchiveError(.limit, "a sparse map of more than \(limits.headerBytes) bytes", path: entry.path) }
      block = try takeBlock()
      (offset, count) = (0, 21)
    }
  }

  /// Form 1.0: decimal numbers on lines, in blocks of their own before the content: how many, then offset and length of each.
  private func contentMap() throws -> [SparseSegment] {
    var pending: [UInt8] = []
    var at = 0
    var read = 0
    func number() throws -> Int64 {
      while true {
        if let newline = pending[at...].firstIndex(of: 0x0a) {
          defer { at = newline + 1 }
          guard let value = PaxRecords.integer(pending[at..<newline]), value >= 0 else { throw invalid("the sparse map has no valid numbers") }
          return value
        }
        read += TarBlock.size
        if read > limits.headerBytes { throw LayerArchiveError(.limit, "a sparse map of more than \(limits.headerBytes) bytes") }
        pending = Array(pending[at...]) + (try takeContentBlock())
        at = 0
        if pending.count > 2 * TarBlock.size { throw invalid("the sparse map has no valid numbers") }
      }
    }
    let count = try number()
    guard count <= Int64(limits.headerBytes) else { throw LayerArchiveError(.limit, "a sparse map of \(count) entries") }
    var out: [SparseSegment] = []
    for _ in 0..<count { out.append(SparseSegment(offset: try number(), length: try number())) }
    return out
  }
}

enum SparseMap {
  /// Forms 0.0 and 0.1: "offset,length,offset,length,…".
  static func parse(_ text: [UInt8], _ fail: (String) -> LayerArchiveError) throws -> [SparseSegment] {
    if text.isEmpty { return [] }
    var numbers: [Int64] = []
    for part in text.split(separator: 0x2c, omittingEmptySubsequences: false) {
      guard let value = PaxRecords.integer(part), value >= 0 else { throw fail("the sparse map has no valid numbers") }
      numbers.append(value)
    }
    guard numbers.count % 2 == 0 else { throw fail("the sparse map has an odd number of numbers") }
    return stride(from: 0, to: numbers.count, by: 2).map { SparseSegment(offset: numbers[$0], length: numbers[$0 + 1]) }
  }

  /// Checks that the segments are in order, apart, inside the file, and as long together as the stored content. Leaves out empty ones.
  static func normalised(_ map: [SparseSegment], size: Int64, stored: Int64, _ fail: (String) -> LayerArchiveError) throws -> [SparseSegment] {
    var end: Int64 = 0
    var total: Int64 = 0
    for segment in map {
      let (next, overflow) = segment.offset.addingReportingOverflow(segment.length)
      guard segment.offset >= end, segment.length >= 0, !overflow, next <= size else { throw fail("the sparse map is out of order or outside of the file") }
      end = next
      total += segment.length
    }
    guard total == stored else { throw fail("the sparse map says \(total) bytes, the content has \(stored)") }
    return map.filter { $0.length > 0 }
  }
}
