import Binaries
import OCIModel
import Testing

private func header(wide: Bool, big: Bool = false, machine: UInt16, flags: UInt32 = 0) -> [UInt8] {
  func integer(_ value: Int, _ size: Int) -> [UInt8] {
    let bytes = (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    return big ? bytes.reversed() : bytes
  }
  let word = wide ? 8 : 4
  var bytes: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, big ? 2 : 1, 1] + [UInt8](repeating: 0, count: 9)
  bytes += integer(2, 2) + integer(Int(machine), 2) + integer(1, 4) + integer(0, word) + integer(0, word) + integer(0, word) + integer(Int(flags), 4)
  return bytes + [UInt8](repeating: 0, count: 12)
}

@Suite struct FitTests {
  @Test(arguments: [
    ("linux/amd64", true, false, 62, 0, nil), ("linux/arm64", true, false, 62, 0, "foreign"), ("linux/amd64", false, false, 3, 0, "guest"), ("linux/amd64", false, false, 62, 0, "guest"),
    ("linux/arm64", false, false, 40, 0x500_0400, "guest"), ("linux/arm64", true, true, 183, 0, "foreign"), ("linux/arm/v7", false, false, 40, 0x500_0400, nil),
    ("linux/arm/v7", true, false, 183, 0, "foreign"), ("linux/arm/v5", false, false, 40, 0x500_0400, "abi"), ("linux/arm/v5", false, false, 40, 0x500_0200, nil),
    ("linux/arm/v6", false, false, 40, 0x500_0400, nil), ("linux/arm/v7", false, false, 40, 0, "abi"), ("linux/ppc64le", true, false, 21, 2, nil), ("linux/ppc64le", true, false, 21, 1, "abi"),
    ("linux/ppc64le", true, true, 21, 1, "foreign"), ("linux/mips64le", true, false, 8, 0x8000_0007, nil), ("linux/mips64le", false, false, 8, 0x8000_0027, "foreign"),
    ("linux/mips64le", false, false, 8, 0x7000_1007, "foreign"), ("linux/mips64le", true, false, 8, 0xa000_0007, "abi"), ("linux/riscv64", true, false, 243, 5, nil),
    ("linux/riscv64", false, false, 243, 1, "foreign"), ("linux/s390x", true, true, 22, 0, nil), ("windows/amd64", true, false, 62, 0, "foreign"), ("linux/386", true, false, 62, 0, "foreign"),
    ("linux/amd64", true, false, 9999, 0, "foreign"),
  ] as [(String, Bool, Bool, Int, Int, String?)])
  func elf(platform: String, wide: Bool, big: Bool, machine: Int, flags: Int, misfit: String?) throws {
    let file = try ExecutableFile(parsing: header(wide: wide, big: big, machine: UInt16(machine), flags: UInt32(flags)))
    let found = file.misfit(on: try Platform(parsing: platform))
    #expect(found?.kind.rawValue == misfit, "\(found?.message ?? "")")
  }

  @Test func attributes() throws {
    // As GNU as writes them: CPU name "7-A", architecture v7, profile A, and others.
    let inner: [UInt8] = [5] + Array("7-A".utf8) + [0, 6, 10, 7, 0x41, 8, 1, 9, 2, 10, 4, 67] + Array("2.09".utf8) + [0, 32, 1, 0]
    let file: [UInt8] = [1] + size(inner.count + 5) + inner
    let section: [UInt8] = [0x41] + size(file.count + 4 + 6) + Array("aeabi".utf8) + [0] + file
    #expect(ARMAttributes(parsing: section).version == 7)
    for length in 0..<section.count { _ = ARMAttributes(parsing: Array(section.prefix(length))) }
    for i in section.indices { for value in [0, 1, 0x7f, 0x80, 0xff] as [UInt8] { var bad = section; bad[i] = value; _ = ARMAttributes(parsing: bad) } }
    let program = try ExecutableFile(parsing: header(wide: false, machine: 40, flags: 0x500_0400))
    #expect(program.misfit(on: try Platform(parsing: "linux/arm/v6"), arm: ARMAttributes(parsing: section))?.kind == .abi)
    #expect(program.misfit(on: try Platform(parsing: "linux/arm/v7"), arm: ARMAttributes(parsing: section)) == nil)

    // The same through section headers, in a file.
    var whole = header(wide: false, machine: 40, flags: 0x500_0400)
    whole = Array(whole.prefix(52)) + section
    let table = whole.count
    whole += [UInt8](repeating: 0, count: 40) + size(0) + size(0x7000_0003) + [UInt8](repeating: 0, count: 8) + size(52) + size(section.count) + [UInt8](repeating: 0, count: 16)
    whole.replaceSubrange(32..<36, with: size(table))
    whole.replaceSubrange(46..<50, with: [40, 0, 2, 0])
    let read: ByteReader = { offset, count in offset < UInt64(whole.count) ? Array(whole[Int(offset)...].prefix(count)) : [] }
    #expect(try ARMAttributes(reading: read)?.version == 7)
  }

  private func size(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }

  @Test(arguments: [
    ("usr/aarch64-linux-gnu/lib", true), ("usr/lib/gcc-cross/aarch64-linux-gnu/12", true), ("root/go/pkg/tool/linux_arm64", true), ("app/node_modules/@esbuild/linux-arm64/bin", true),
    ("usr/local/bin", false), ("opt/arm64", false), ("usr/lib/x86_64-linux-gnu", false), ("opt/prebuilds/linuxmusl-arm64", true), ("opt/x/android-arm64", true),
  ]) func foldersOfPlatforms(path: String, isAtHome: Bool) throws {
    let file = try ExecutableFile(parsing: header(wide: true, machine: 183))
    #expect(file.isAtHome(in: path.split(separator: "/").map(String.init)) == isAtHome)
  }
}
