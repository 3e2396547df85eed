package import OCIModel

/// What the headers of a Windows executable say (Microsoft's "PE Format").
package struct PEBinary: Sendable, Equatable {
  package let machine: UInt16
  /// PE32+ (64-bit address space) rather than PE32.
  package let is64Bit: Bool
  package let isLibrary: Bool
  package let subsystem: UInt16
  /// It has a CLR header: .NET runs it, on whatever machine.
  package let isManaged: Bool

  /// Throws `BinaryError`, or what `read` throws. Reads less than a kilobyte.
  package init(reading read: ByteReader) throws {
    let dos = try read(0, 64)
    guard dos.count >= 2, dos[0] == 0x4d, dos[1] == 0x5a else { throw BinaryError(.notAnExecutable, "not a PE file") }
    let stub = FieldReader(bytes: dos, bigEndian: false, what: "DOS header")
    let offset = UInt64(try stub.u32(60))
    guard offset >= 4, offset <= 1 << 28 else { throw BinaryError(.malformed, "PE header at offset \(offset)") }
    let bytes = try read(offset, 24 + 70)
    guard bytes.count >= 4, bytes[0] == 0x50, bytes[1] == 0x45, bytes[2] == 0, bytes[3] == 0 else {
      throw BinaryError(.notAnExecutable, "a DOS file without a PE header")
    }
    let header = FieldReader(bytes: bytes, bigEndian: false, what: "PE header")
    machine = try header.u16(4)
    let optionalSize = try header.u16(20)
    isLibrary = try header.u16(22) & 0x2000 != 0
    guard optionalSize >= 70 else { throw BinaryError(.malformed, "PE optional header of \(optionalSize) bytes: not an image") }
    switch try header.u16(24) {
    case 0x10b: is64Bit = false
    case 0x20b: is64Bit = true
    case let magic: throw BinaryError(.malformed, "PE optional header with magic \(magic)")
    }
    subsystem = try header.u16(24 + 68)
    // The fifteenth data directory, of images that have so many (the number is the field before the first).
    let count = 24 + (is64Bit ? 108 : 92)
    let directory = count + 4 + 14 * 8
    let more = try read(offset, directory + 8)
    let wide = FieldReader(bytes: more, bigEndian: false, what: "PE header")
    isManaged = Int(optionalSize) >= directory + 8 - 24 && more.count == directory + 8 ? try wide.u32(count) > 14 && wide.u32(directory) != 0 : false
  }

  package init(parsing bytes: [UInt8]) throws {
    try self.init { offset, count in
      guard offset < UInt64(bytes.count) else { return [] }
      let start = Int(offset)
      return Array(bytes[start..<min(bytes.count, start + count)])
    }
  }

  package var platform: Platform? {
    let architecture: String? = switch machine {
    case 0x14c: "386"
    case 0x8664: "amd64"
    case 0x1c4: "arm"
    case 0xaa64: "arm64"
    case 0x5064: "riscv64"
    case 0x6264: "loong64"
    default: nil
    }
    return architecture.map { Platform(os: "windows", architecture: $0) }
  }
}

/// An executable file of either kind, told apart by its first bytes.
package enum ExecutableFile: Sendable, Equatable {
  case elf(ELFBinary)
  case pe(PEBinary)
  /// `#!`: what runs it, as written, and the one argument that the kernel passes on.
  case script(interpreter: String, argument: String?)

  /// Throws `BinaryError.notAnExecutable` for anything else.
  package init(reading read: ByteReader) throws {
    let start = try read(0, 256)
    if start.starts(with: [0x7f, 0x45, 0x4c, 0x46]) {
      self = .elf(try ELFBinary(reading: read))
    } else if start.starts(with: [0x4d, 0x5a]) {
      self = .pe(try PEBinary(reading: read))
    } else if start.starts(with: [0x23, 0x21]) {
      // BINPRM_BUF_SIZE: the kernel looks at the first 256 bytes and no further.
      guard let line = String(validating: start.dropFirst(2).prefix { $0 != 0x0a && $0 != 0 }, as: UTF8.self) else {
        throw BinaryError(.malformed, "script whose first line is not UTF-8")
      }
      let words = line.split(maxSplits: 1) { $0 == " " || $0 == "\t" }
      guard let interpreter = words.first else { throw BinaryError(.malformed, "script that names no interpreter") }
      var argument = words.count > 1 ? String(words[1]) : ""
      while argument.last == " " || argument.last == "\t" { argument.removeLast() }
      self = .script(interpreter: String(interpreter), argument: argument.isEmpty ? nil : argument)
    } else {
      throw BinaryError(.notAnExecutable, "neither an ELF nor a PE file nor a script")
    }
  }

  package init(parsing bytes: [UInt8]) throws {
    try self.init { offset, count in
      guard offset < UInt64(bytes.count) else { return [] }
      let start = Int(offset)
      return Array(bytes[start..<min(bytes.count, start + count)])
    }
  }

  package var platform: Platform? {
    switch self {
    case .elf(let elf): elf.platform
    case .pe(let pe): pe.platform
    case .script: nil
    }
  }
}
