/// What the section `.ARM.attributes` says of a file ("Addenda to, and Errata in, the ABI for the Arm Architecture", build attributes).
package struct ARMAttributes: Sendable, Equatable {
  /// The architecture's version that the code was compiled for: 4 to 8. nil where it is not told.
  package var version: Int?

  static let maximumSections = 4096
  static let maximumSize = 1 << 16

  /// Finds the section by the section headers. nil where there is none, or where the file's parts that it takes cannot be had (`read` gives less).
  /// Throws what `read` throws.
  package init?(reading read: ByteReader) throws {
    let ident = try read(0, 52)
    guard ident.count == 52, ident.starts(with: [0x7f, 0x45, 0x4c, 0x46]), ident[4] == 1, let order = ELFBinary.ByteOrder(rawValue: ident[5]) else { return nil }
    let big = order == .big
    let header = FieldReader(bytes: ident, bigEndian: big, what: "ELF header")
    guard let offset = try? header.u32(32), let entry = try? Int(header.u16(46)), let count = try? Int(header.u16(48)), offset > 0, entry >= 40, entry <= 256,
      count > 0, count <= ARMAttributes.maximumSections
    else { return nil }
    let bytes = try read(UInt64(offset), entry * count)
    guard bytes.count == entry * count else { return nil }
    let table = FieldReader(bytes: bytes, bigEndian: big, what: "ELF section headers")
    for i in 0..<count {
      guard try table.u32(i * entry + 4) == 0x7000_0003 else { continue }
      let size = try Int(table.u32(i * entry + 20))
      guard size > 0, size <= ARMAttributes.maximumSize else { return nil }
      let content = try read(UInt64(try table.u32(i * entry + 16)), size)
      guard content.count == size else { return nil }
      self.init(parsing: content, bigEndian: big)
      return
    }
    return nil
  }

  /// The section's content. What cannot be understood of it is left out.
  package init(parsing bytes: [UInt8], bigEndian: Bool = false) {
    guard bytes.first == UInt8(ascii: "A") else { return }
    let fields = FieldReader(bytes: bytes, bigEndian: bigEndian, what: ".ARM.attributes")
    var at = 1
    while at < bytes.count, let length = try? Int(fields.u32(at)), length > 4, length <= bytes.count - at {
      let end = at + length
      let name = bytes[(at + 4)..<end].prefix { $0 != 0 }
      if name.elementsEqual("aeabi".utf8) { readSubsections(bytes, fields, at + 4 + name.count + 1, end) }
      at = end
    }
  }

  private mutating func readSubsections(_ bytes: [UInt8], _ fields: FieldReader, _ start: Int, _ end: Int) {
    var at = start
    while at < end {
      let begin = at
      guard let tag = ARMAttributes.number(bytes, &at, end), let size = try? Int(fields.u32(at)), size > at + 4 - begin, size <= end - begin else { return }
      at += 4
      // 1: of the whole file; others are of sections and symbols.
      if tag == 1 { readAttributes(bytes, &at, begin + size) }
      at = begin + size
    }
  }

  private mutating func readAttributes(_ bytes: [UInt8], _ at: inout Int, _ end: Int) {
    while at < end, let tag = ARMAttributes.number(bytes, &at, end) {
      switch tag {
      case 32:
        guard ARMAttributes.number(bytes, &at, end) != nil else { return }
        ARMAttributes.skipText(bytes, &at, end)
      case 4, 5: ARMAttributes.skipText(bytes, &at, end)
      case 33...: if tag % 2 == 1 { ARMAttributes.skipText(bytes, &at, end) } else if ARMAttributes.number(bytes, &at, end) == nil { return }
      default:
        guard let value = ARMAttributes.number(bytes, &at, end) else { return }
        if tag == 6 { version = ARMAttributes.version(value) }
      }
    }
  }

  /// Tag_CPU_arch.
  private static func version(_ value: UInt64) -> Int? {
    switch value {
    case 0...2: 4
    case 3...5: 5
    case 6...9, 11, 12: 6
    case 10, 13: 7
    case 14...: 8
    default: nil
    }
  }

  /// ULEB128.
  private static func number(_ bytes: [UInt8], _ at: inout Int, _ end: Int) -> UInt64? {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 63, by: 7) {
      guard at < end, at < bytes.count else { return nil }
      let byte = bytes[at]
      at += 1
      value |= UInt64(byte & 0x7f) << shift
      if byte & 0x80 == 0 { return value }
    }
    return nil
  }

  private static func skipText(_ bytes: [UInt8], _ at: inout Int, _ end: Int) {
    while at < end, at < bytes.count, bytes[at] != 0 { at += 1 }
    at += 1
  }
}
