import Binaries
import OCIModel
import Testing

/// A file with one program header, of any kind.
private func elf(
  wide: Bool = true, big: Bool = false, machine: UInt16 = 62, type: UInt16 = 2, flags: UInt32 = 0, interpreter: [UInt8]? = nil, headers: UInt16 = 1,
  tableAt: UInt64? = nil
) -> [UInt8] {
  func integer(_ value: UInt64, _ size: Int) -> [UInt8] {
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    return big ? bytes.reversed() : bytes
  }
  let header = wide ? 64 : 52, entry = wide ? 56 : 32, word = wide ? 8 : 4
  var bytes: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, big ? 2 : 1, 1] + [UInt8](repeating: 0, count: 9)
  bytes += integer(UInt64(type), 2) + integer(UInt64(machine), 2) + integer(1, 4) + integer(0x1000, word)
  bytes += integer(tableAt ?? UInt64(header), word) + integer(0, word) + integer(UInt64(flags), 4)
  for value in [header, entry, Int(headers), 0, 0, 0] { bytes += integer(UInt64(value), 2) }
  bytes += integer(interpreter == nil ? 1 : 3, 4)
  if wide { bytes += integer(4, 4) }
  for value in [header + entry, 0, 0, interpreter?.count ?? 0, 0] { bytes += integer(UInt64(value), word) }
  if !wide { bytes += integer(4, 4) }
  bytes += integer(1, word)
  return bytes + (interpreter ?? [])
}

@Suite struct ELFTests {
  @Test(arguments: [
    (true, false, 62, 0, "linux/amd64"), (false, false, 3, 0, "linux/386"), (true, false, 183, 0, "linux/arm64"), (false, false, 40, 0x5000400, "linux/arm"),
    (false, true, 40, 0, "linux/armbe"), (true, false, 21, 2, "linux/ppc64le"), (true, true, 21, 1, "linux/ppc64"), (true, true, 22, 0, "linux/s390x"),
    (true, false, 8, 0x8000_0007, "linux/mips64le"), (true, true, 8, 0, "linux/mips64"), (false, false, 8, 0, "linux/mipsle"),
    (false, false, 8, 0x20, "linux/mips64p32le"), (true, false, 243, 5, "linux/riscv64"), (true, false, 258, 0x43, "linux/loong64"),
    (false, false, 62, 0, "linux/amd64p32"),
  ]) func platforms(wide: Bool, big: Bool, machine: Int, flags: Int, platform: String) throws {
    let binary = try ELFBinary(parsing: elf(wide: wide, big: big, machine: UInt16(machine), flags: UInt32(flags)))
    #expect(binary.platform?.description == platform)
    #expect(binary.isStatic)
  }

  @Test func noPlatformForContradictions() throws {
    #expect(try ELFBinary(parsing: elf(big: true, machine: 62)).platform == nil)
    #expect(try ELFBinary(parsing: elf(wide: false, machine: 183)).platform == nil)
    #expect(try ELFBinary(parsing: elf(machine: 9999)).platform == nil)
  }

  @Test(arguments: [true, false], [true, false]) func interpreters(wide: Bool, big: Bool) throws {
    let binary = try ELFBinary(parsing: elf(wide: wide, big: big, type: 3, interpreter: Array("/lib/ld.so.1\0".utf8)))
    #expect(binary.linkage == .dynamic(interpreter: "/lib/ld.so.1"))
    #expect(binary.kind == .sharedOrPositionIndependent)
    #expect(!binary.isStatic)
  }

  @Test func hostileHeaders() {
    let good = elf(interpreter: Array("/lib/ld.so\0".utf8))
    // Every prefix either parses or is refused; none traps.
    for length in 0..<good.count { #expect(throws: BinaryError.self) { try ELFBinary(parsing: Array(good.prefix(length))) } }
    for index in good.indices {
      for value in [0, 1, 0x7f, 0xff] as [UInt8] {
        var bad = good
        bad[index] = value
        _ = try? ELFBinary(parsing: bad)
      }
    }
    for (bytes, code) in [
      (elf(tableAt: .max), BinaryError.Code.malformed), (elf(tableAt: 1 << 40), .truncated), (elf(headers: 0xffff), .malformed),
      (elf(interpreter: Array("unterminated".utf8)), .malformed), (elf(interpreter: [0xff, 0]), .malformed), (elf(interpreter: [0, 0]), .malformed),
      (elf(interpreter: [UInt8](repeating: 0x61, count: 5000)), .malformed), ([], .notAnExecutable), (Array("#!/bin/sh".utf8), .notAnExecutable),
    ] {
      #expect { try ELFBinary(parsing: bytes) } throws: { ($0 as? BinaryError)?.code == code }
    }
  }
}

@Suite struct ExecutableFileTests {
  private func pe(machine: UInt16, magic: UInt16 = 0x20b) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64 + 24 + 70)
    func put(_ value: UInt16, at: Int) { (bytes[at], bytes[at + 1]) = (UInt8(value & 0xff), UInt8(value >> 8)) }
    bytes[0] = 0x4d
    bytes[1] = 0x5a
    put(64, at: 60)
    bytes[64] = 0x50
    bytes[65] = 0x45
    put(machine, at: 68)
    put(240, at: 84)
    put(0x2022, at: 86)
    put(magic, at: 88)
    put(3, at: 88 + 68)
    return bytes
  }

  @Test func windowsPrograms() throws {
    for (machine, platform) in [(0x8664, "windows/amd64"), (0xaa64, "windows/arm64"), (0x14c, "windows/386")] as [(UInt16, String)] {
      let binary = try PEBinary(parsing: pe(machine: machine))
      #expect(binary.platform?.description == platform)
      #expect(binary.is64Bit && binary.isLibrary && binary.subsystem == 3)
    }
    let good = pe(machine: 0x8664)
    for length in 0..<good.count { #expect(throws: BinaryError.self) { try PEBinary(parsing: Array(good.prefix(length))) } }
    #expect(throws: BinaryError.self) { try PEBinary(parsing: pe(machine: 0x8664, magic: 7)) }
  }

  @Test func scripts() throws {
    #expect(try ExecutableFile(parsing: Array("#! /usr/bin/env  python3 -u \nx".utf8)) == .script(interpreter: "/usr/bin/env", argument: " python3 -u"))
    #expect(try ExecutableFile(parsing: Array("#!/bin/sh".utf8)) == .script(interpreter: "/bin/sh", argument: nil))
    #expect(throws: BinaryError.self) { try ExecutableFile(parsing: Array("#!\n".utf8)) }
    #expect(throws: BinaryError.self) { try ExecutableFile(parsing: [0x7f]) }
  }
}
