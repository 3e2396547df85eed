import OCIModel

/// An architecture as binfmt_misc and QEMU know it.
package struct ForeignArchitecture: Sendable, Equatable {
  /// Go's name.
  package let name: String
  /// QEMU's name: the program is `qemu-NAME-static` or `qemu-NAME`.
  package let qemuName: String
  let is64Bit: Bool
  let bigEndian: Bool
  /// ELF's e_machine.
  let machine: UInt16

  package static let all: [ForeignArchitecture] = [
    .init(name: "386", qemuName: "i386", is64Bit: false, bigEndian: false, machine: 3),
    .init(name: "amd64", qemuName: "x86_64", is64Bit: true, bigEndian: false, machine: 62),
    .init(name: "arm", qemuName: "arm", is64Bit: false, bigEndian: false, machine: 40),
    .init(name: "armbe", qemuName: "armeb", is64Bit: false, bigEndian: true, machine: 40),
    .init(name: "arm64", qemuName: "aarch64", is64Bit: true, bigEndian: false, machine: 183),
    .init(name: "arm64be", qemuName: "aarch64_be", is64Bit: true, bigEndian: true, machine: 183),
    .init(name: "mips", qemuName: "mips", is64Bit: false, bigEndian: true, machine: 8),
    .init(name: "mipsle", qemuName: "mipsel", is64Bit: false, bigEndian: false, machine: 8),
    .init(name: "mips64", qemuName: "mips64", is64Bit: true, bigEndian: true, machine: 8),
    .init(name: "mips64le", qemuName: "mips64el", is64Bit: true, bigEndian: false, machine: 8),
    .init(name: "ppc", qemuName: "ppc", is64Bit: false, bigEndian: true, machine: 20),
    .init(name: "ppc64", qemuName: "ppc64", is64Bit: true, bigEndian: true, machine: 21),
    .init(name: "ppc64le", qemuName: "ppc64le", is64Bit: true, bigEndian: false, machine: 21),
    .init(name: "riscv64", qemuName: "riscv64", is64Bit: true, bigEndian: false, machine: 243),
    .init(name: "s390x", qemuName: "s390x", is64Bit: true, bigEndian: true, machine: 22),
    .init(name: "sparc64", qemuName: "sparc64", is64Bit: true, bigEndian: true, machine: 43),
    .init(name: "loong64", qemuName: "loongarch64", is64Bit: true, bigEndian: false, machine: 258),
  ]

  package static func named(_ name: String) -> ForeignArchitecture? { all.first { $0.name == name } }

  /// The first 20 bytes of an executable ELF file: class, byte order, type "executable" and machine.
  package var magic: [UInt8] {
    var bytes: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, is64Bit ? 2 : 1, bigEndian ? 2 : 1, 1] + [UInt8](repeating: 0, count: 9)
    for value in [2, machine] { bytes += bigEndian ? [UInt8(value >> 8), UInt8(value & 0xff)] : [UInt8(value & 0xff), UInt8(value >> 8)] }
    return bytes
  }
  /// Which bits of them count: not the operating system's ABI and its version, and type 2 (executable) as well as 3 (position-independent).
  package var mask: [UInt8] {
    [UInt8](repeating: 0xff, count: 7) + [UInt8](repeating: 0, count: 9) + (bigEndian ? [0xff, 0xfe] : [0xfe, 0xff]) + [0xff, 0xff]
  }

  /// The line that makes binfmt_misc run this architecture's programs by `interpreter`, opened now (F), with the program's own name (P) and its
  /// credentials (C), so that busybox and setuid programs are what they are natively.
  package func registration(interpreter: String) -> String? {
    // The first character separates the fields.
    guard let separator = ":|,;!%".first(where: { !interpreter.contains($0) }), interpreter.utf8.count < 128 else { return nil }
    func escaped(_ bytes: [UInt8]) -> String {
      bytes.map { byte in
        let hex = String(byte, radix: 16)
        return "\\x" + (hex.count == 1 ? "0" : "") + hex
      }.joined()
    }
    return ["", "manifold-" + qemuName, "M", "", escaped(magic), escaped(mask), interpreter, "PCF"].joined(separator: String(separator))
  }

  /// A whole program of this architecture that does nothing but end with status 0, for trying whether such programs run here.
  package var trialProgram: [UInt8]? {
    let instructions: [UInt32], flags: UInt32
    switch name {
    case "386": return elf([0x31, 0xdb, 0x31, 0xc0, 0x40, 0xcd, 0x80])  // xor ebx,ebx; xor eax,eax; inc eax; int 0x80
    case "amd64": return elf([0x31, 0xff, 0xb8, 0x3c, 0x00, 0x00, 0x00, 0x0f, 0x05])  // xor edi,edi; mov eax,60; syscall
    case "s390x": return elf([0xa7, 0x29, 0x00, 0x00, 0x0a, 0x01])  // lghi r2,0; svc 1
    case "arm": (instructions, flags) = ([0xe3a0_0000, 0xe3a0_7001, 0xef00_0000], 0x0500_0000)  // mov r0,#0; mov r7,#1; svc 0
    case "arm64": (instructions, flags) = ([0xd280_0000, 0xd280_0ba8, 0xd400_0001], 0)  // mov x0,#0; mov x8,#93; svc 0
    case "riscv64": (instructions, flags) = ([0x0000_0513, 0x05d0_0893, 0x0000_0073], 4)  // li a0,0; li a7,93; ecall
    case "ppc64le": (instructions, flags) = ([0x3860_0000, 0x3800_0001, 0x4400_0002], 2)  // li r3,0; li r0,1; sc
    case "mips64le": (instructions, flags) = ([0x2404_0000, 0x2402_13c2, 0x0000_000c], 0x8000_0000)  // li a0,0; li v0,5058; syscall
    default: return nil
    }
    return elf(instructions.flatMap { i in (0..<4).map { UInt8(truncatingIfNeeded: i >> (8 * $0)) } }, flags: flags)
  }

  /// An ELF file of one segment that holds `code` and starts with it.
  func elf(_ code: [UInt8], flags: UInt32 = 0) -> [UInt8] {
    func integer(_ value: UInt64, _ size: Int) -> [UInt8] {
      let bytes = (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
      return bigEndian ? bytes.reversed() : bytes
    }
    let header = is64Bit ? 64 : 52, entry = is64Bit ? 56 : 32, address = is64Bit ? 8 : 4
    let base: UInt64 = 0x10000, start = UInt64(header + entry), size = start + UInt64(code.count), alignment: UInt64 = 0x10000
    var bytes = magic
    bytes += integer(1, 4) + integer(base + start, address) + integer(UInt64(header), address) + integer(0, address) + integer(UInt64(flags), 4)
    for value in [header, entry, 1, 0, 0, 0] { bytes += integer(UInt64(value), 2) }
    bytes += integer(1, 4)
    if is64Bit { bytes += integer(5, 4) }
    for value in [0, base, base, size, size] { bytes += integer(value, address) }
    if !is64Bit { bytes += integer(5, 4) }
    bytes += integer(alignment, address)
    return bytes + code
  }
}
