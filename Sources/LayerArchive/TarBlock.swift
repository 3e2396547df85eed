/// The header block: fields at fixed places in 512 bytes.
enum TarBlock {
  static let size = 512
  static func padding(_ count: Int64) -> Int { Int((512 - count % 512) % 512) }

  struct Field { let offset: Int; let count: Int; init(_ offset: Int, _ count: Int) { (self.offset, self.count) = (offset, count) } }
  static let name = Field(0, 100), mode = Field(100, 8), uid = Field(108, 8), gid = Field(116, 8), contentSize = Field(124, 12), modified = Field(136, 12)
  static let checksum = Field(148, 8), linkName = Field(157, 100), userName = Field(265, 32), groupName = Field(297, 32)
  static let deviceMajor = Field(329, 8), deviceMinor = Field(337, 8), prefix = Field(345, 155)
  static let typeFlag = 156
  // GNU: no prefix, but times, a sparse map of four and the real size.
  static let gnuAccessed = Field(345, 12), gnuChanged = Field(357, 12), gnuSparse = Field(386, 97), gnuRealSize = Field(483, 12)
  // star: a shorter prefix, then times.
  static let starPrefix = Field(345, 131), starAccessed = Field(476, 12), starChanged = Field(488, 12)

  enum Format { case v7, ustar, star, gnu }
}

/// Reads a header block's fields.
struct TarBlockReader {
  let base: UnsafePointer<UInt8>

  var isZero: Bool {
    let words = UnsafeRawPointer(base)
    var sum: UInt64 = 0
    for i in 0..<64 { sum |= words.loadUnaligned(fromByteOffset: i * 8, as: UInt64.self) }
    return sum == 0
  }

  /// Checks the sum (of unsigned bytes, or of signed ones as old Suns wrote it). nil: this is no header.
  func format() -> TarBlock.Format? {
    guard let expected = octal(TarBlock.checksum) else { return nil }
    var unsigned: Int64 = 0
    var high: Int64 = 0
    for i in 0..<512 {
      unsigned &+= Int64(base[i])
      high &+= Int64(base[i] >> 7)
    }
    // The field itself counts as spaces.
    for i in 148..<156 {
      unsigned += 32 - Int64(base[i])
      high -= Int64(base[i] >> 7)
    }
    guard expected == unsigned || expected == unsigned - high * 256 else { return nil }
    if matches(257, "ustar\0") { return matches(508, "tar\0") ? .star : .ustar }
    if matches(257, "ustar  \0") { return .gnu }
    return .v7
  }

  private func matches(_ offset: Int, _ text: StaticString) -> Bool {
    for i in 0..<text.utf8CodeUnitCount where base[offset + i] != text.utf8Start[i] { return false }
    return true
  }

  func string(_ field: TarBlock.Field) -> ByteString {
    let bytes = UnsafeBufferPointer(start: base + field.offset, count: field.count)
    return ByteString(Array(bytes[..<(bytes.firstIndex(of: 0) ?? bytes.count)]))
  }

  /// Octal text, or base 256 when the first bit is set. nil: neither, or beyond 63 bits.
  func number(_ field: TarBlock.Field) -> Int64? { number(at: field.offset, field.count) }

  func number(at offset: Int, _ count: Int) -> Int64? {
    guard base[offset] & 0x80 != 0 else { return octal(at: offset, count) }
    let invert: UInt8 = base[offset] & 0x40 != 0 ? 0xff : 0
    var value: UInt64 = 0
    for i in 0..<count {
      var byte = base[offset + i] ^ invert
      if i == 0 { byte &= 0x7f }
      if value >> 56 != 0 { return nil }
      value = value << 8 | UInt64(byte)
    }
    if value >> 63 != 0 { return nil }
    return invert == 0 ? Int64(value) : ~Int64(value)
  }

  private func octal(_ field: TarBlock.Field) -> Int64? { octal(at: field.offset, field.count) }

  /// Spaces and NULs around it mean nothing; nothing but those is 0.
  private func octal(at offset: Int, _ count: Int) -> Int64? {
    var from = offset, to = offset + count
    while from < to, base[from] == 0x20 || base[from] == 0 { from += 1 }
    while to > from, base[to - 1] == 0x20 || base[to - 1] == 0 { to -= 1 }
    var value: Int64 = 0
    while from < to, base[from] != 0 {
      guard base[from] >= 0x30, base[from] <= 0x37, value >> 60 == 0 else { return nil }
      value = value << 3 | Int64(base[from] - 0x30)
      from += 1
    }
    return value
  }
}

/// Fills a header block, as Go's archive/tar does: layers are compared with those by their bytes.
struct TarBlockWriter {
  let base: UnsafeMutablePointer<UInt8>

  init(_ base: UnsafeMutablePointer<UInt8>) {
    self.base = base
    UnsafeMutableRawPointer(base).initializeMemory(as: UInt8.self, repeating: 0, count: TarBlock.size)
  }

  /// Cut to the field when longer; then without slashes at the end, so that no reader takes a file for a directory.
  func put(_ bytes: [UInt8], _ field: TarBlock.Field) {
    let n = min(bytes.count, field.count)
    for i in 0..<n { base[field.offset + i] = bytes[i] }
    guard bytes.count > field.count, bytes[n - 1] == 0x2f else { return }
    var end = n - 1
    while end > 0, bytes[end - 1] == 0x2f { end -= 1 }
    base[field.offset + end] = 0
  }

  static func fitsOctal(_ value: Int64, _ field: TarBlock.Field) -> Bool { value >= 0 && (field.count >= 22 || value < 1 << Int64((field.count - 1) * 3)) }

  /// With leading zeros and a NUL at the end; 0 when it does not fit (a pax record says it then).
  func put(_ value: Int64, _ field: TarBlock.Field) { putOctal(TarBlockWriter.fitsOctal(value, field) ? value : 0, field.offset, digits: field.count - 1) }

  private func putOctal(_ value: Int64, _ offset: Int, digits: Int) {
    var rest = value
    for i in stride(from: digits - 1, through: 0, by: -1) {
      base[offset + i] = 0x30 + UInt8(rest & 7)
      rest >>= 3
    }
  }

  /// ustar's magic, then the checksum.
  func seal() {
    let magic: StaticString = "ustar\u{0}00"
    for i in 0..<8 { base[257 + i] = magic.utf8Start[i] }
    var sum: Int64 = 8 * 32
    for i in 0..<512 { sum += Int64(base[i]) }
    putOctal(sum, TarBlock.checksum.offset, digits: 6)
    base[TarBlock.checksum.offset + 7] = 0x20
  }
}
