package import OCIModel

/// What an ELF file's header and program headers say: for which machine, and what it needs to start.
/// (System V ABI, "Object Files"; the machine numbers are the ABI supplements'.)
package struct ELFBinary: Sendable, Equatable {
  package enum Class: UInt8, Sendable { case bits32 = 1, bits64 = 2 }
  package enum ByteOrder: UInt8, Sendable { case little = 1, big = 2 }
  /// `e_type`, of which only two can be executed.
  package enum Kind: Sendable, Equatable { case executable, sharedOrPositionIndependent, other(UInt16) }
  package enum Linkage: Sendable, Equatable {
    /// Nothing but the kernel is needed; `static-pie` included.
    case fixed
    /// The kernel starts this interpreter (`PT_INTERP`), which must exist under the root that it runs in.
    case dynamic(interpreter: String)
  }

  package let machine: UInt16
  package let fileClass: Class
  package let byteOrder: ByteOrder
  package let kind: Kind
  /// `e_flags`: on ARM, MIPS and RISC-V the ABI.
  package let flags: UInt32
  package let linkage: Linkage

  package var isStatic: Bool { linkage == .fixed }

  // Bounds on what a hostile file can make us read.
  static let maximumProgramHeaders = 1024
  static let maximumInterpreterLength = 4096

  /// Reads the header and program headers through `read`, never more than some tens of kilobytes.
  /// Throws `BinaryError`, or what `read` throws.
  package init(reading read: ByteReader) throws {
    let ident = try read(0, 64)
    guard ident.count >= 4, ident[0] == 0x7f, ident[1] == 0x45, ident[2] == 0x4c, ident[3] == 0x46 else {
      throw BinaryError(.notAnExecutable, "not an ELF file")
    }
    guard ident.count >= 52 else { throw BinaryError(.truncated, "ELF header cut short at \(ident.count) bytes") }
    guard let fileClass = Class(rawValue: ident[4]), let byteOrder = ByteOrder(rawValue: ident[5]), ident[6] == 1 else {
      throw BinaryError(.malformed, "ELF header with unknown class, byte order or version")
    }
    let wide = fileClass == .bits64
    guard ident.count >= (wide ? 64 : 52) else { throw BinaryError(.truncated, "ELF header cut short at \(ident.count) bytes") }
    let header = FieldReader(bytes: ident, bigEndian: byteOrder == .big, what: "ELF header")
    self.fileClass = fileClass
    self.byteOrder = byteOrder
    machine = try header.u16(18)
    kind = switch try header.u16(16) {
    case 2: .executable
    case 3: .sharedOrPositionIndependent
    case let other: .other(other)
    }
    flags = try header.u32(wide ? 48 : 36)
    let tableOffset = wide ? try header.u64(32) : UInt64(try header.u32(28))
    let entrySize = Int(try header.u16(wide ? 54 : 42))
    let count = Int(try header.u16(wide ? 56 : 44))
    linkage = try Self.linkage(read, header, tableOffset: tableOffset, entrySize: entrySize, count: count, wide: wide)
  }

  /// Reads a whole file held in memory, or a prefix of one that holds its headers.
  package init(parsing bytes: [UInt8]) throws {
    try self.init { offset, count in
      guard offset < UInt64(bytes.count) else { return [] }
      let start = Int(offset)
      return Array(bytes[start..<min(bytes.count, start + count)])
    }
  }

  private static func linkage(_ read: ByteReader, _ header: FieldReader, tableOffset: UInt64, entrySize: Int, count: Int, wide: Bool) throws -> Linkage {
    guard count > 0 else { return .fixed }
    guard entrySize >= (wide ? 56 : 32), entrySize <= 256, count <= maximumProgramHeaders else {
      throw BinaryError(.malformed, "ELF program headers: \(count) of \(entrySize) bytes")
    }
    guard tableOffset <= UInt64(Int64.max) else { throw BinaryError(.malformed, "ELF program headers at offset \(tableOffset)") }
    let bytes = try read(tableOffset, count * entrySize)
    guard bytes.count == count * entrySize else { throw BinaryError(.truncated, "ELF program headers lie outside the file") }
    let table = FieldReader(bytes: bytes, bigEndian: header.bigEndian, what: "ELF program headers")
    for i in 0..<count {
      let at = i * entrySize
      guard try table.u32(at) == 3 else { continue }  // PT_INTERP
      let offset = wide ? try table.u64(at + 8) : UInt64(try table.u32(at + 4))
      let size = wide ? try table.u64(at + 32) : UInt64(try table.u32(at + 16))
      guard size >= 2, size <= UInt64(maximumInterpreterLength), offset <= UInt64(Int64.max) else {
        throw BinaryError(.malformed, "ELF interpreter name of \(size) bytes at offset \(offset)")
      }
      let name = try read(offset, Int(size))
      guard name.count == Int(size) else { throw BinaryError(.truncated, "ELF interpreter name lies outside the file") }
      guard name.last == 0, let text = String(validating: name.prefix { $0 != 0 }, as: UTF8.self), !text.isEmpty else {
        throw BinaryError(.malformed, "ELF interpreter name is not a terminated UTF-8 string")
      }
      return .dynamic(interpreter: text)
    }
    return .fixed
  }

  /// The platform whose kernel runs this file natively; nil for a machine with no such name. The header does not say which ARM
  /// version a program was compiled for: `arm` comes without variant, except big-endian `armbe`.
  package var platform: Platform? {
    let little = byteOrder == .little, wide = fileClass == .bits64
    let architecture: String? = switch machine {
    case 3: little && !wide ? "386" : nil
    case 62: !little ? nil : wide ? "amd64" : "amd64p32"
    case 40: wide ? nil : little ? "arm" : "armbe"
    case 183: !wide ? nil : little ? "arm64" : "arm64be"
    case 8: mipsArchitecture
    case 20: wide || little ? nil : "ppc"
    case 21: !wide ? nil : little ? "ppc64le" : "ppc64"
    case 22: little ? nil : wide ? "s390x" : "s390"
    case 43: wide && !little ? "sparc64" : nil
    case 2: !wide && !little ? "sparc" : nil
    case 243: !little ? nil : wide ? "riscv64" : "riscv"
    case 258: wide && little ? "loong64" : nil
    default: nil
    }
    return architecture.map { Platform(os: "linux", architecture: $0) }
  }

  private var mipsArchitecture: String {
    let little = byteOrder == .little
    if fileClass == .bits64 { return little ? "mips64le" : "mips64" }
    let n32 = flags & 0x20 != 0  // EF_MIPS_ABI2
    return n32 ? (little ? "mips64p32le" : "mips64p32") : (little ? "mipsle" : "mips")
  }
}
