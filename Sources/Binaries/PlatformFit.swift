package import OCIModel

/// Why an executable is not what an image of some platform should hold.
package struct Misfit: Sendable, Equatable {
  package enum Kind: String, Sendable {
    /// For another machine, word size, byte order or operating system: it does not run there.
    case foreign
    /// For a machine that processors of the platform often can be as well: 386 on amd64, arm on arm64.
    case guest
    /// For the machine, but for an ABI or a processor that the platform does not promise.
    case abi
  }
  package var kind: Kind
  /// "is for linux/amd64 (ELF, 64-bit, little-endian, machine 62)".
  package var message: String
}

extension ExecutableFile {
  /// nil when the file fits the platform, or is a script. `arm` is what is known of an ARM file's attributes.
  package func misfit(on wanted: Platform, arm: ARMAttributes? = nil) -> Misfit? {
    let wanted = wanted.normalized
    switch self {
    case .script: return nil
    case .pe(let pe): return pe.misfit(on: wanted)
    case .elf(let elf): return elf.misfit(on: wanted, arm: arm)
    }
  }
}

extension ELFBinary {
  /// "ELF, 64-bit, little-endian, machine 62".
  package var summary: String {
    "ELF, \(fileClass == .bits64 ? "64" : "32")-bit, \(byteOrder == .little ? "little" : "big")-endian, machine \(machine)"
  }

  /// EF_ARM_ABI_FLOAT_HARD and _SOFT of an EABI version 5 file; nil where the flags do not say.
  package var isHardFloat: Bool? {
    guard machine == 40, flags >> 24 == 5 else { return nil }
    return flags & 0x400 != 0 ? true : flags & 0x200 != 0 ? false : nil
  }

  func misfit(on wanted: Platform, arm: ARMAttributes?) -> Misfit? {
    if wanted.os == "windows" { return Misfit(kind: .foreign, message: "is a program for Linux (\(summary))") }
    guard let own = platform else { return Misfit(kind: .foreign, message: "is for no known platform (\(summary))") }
    guard own.architecture == wanted.architecture else {
      let guests: [String: Set<String>] = ["amd64": ["386", "amd64p32"], "arm64": ["arm"]]
      return Misfit(kind: guests[wanted.architecture]?.contains(own.architecture) ?? false ? .guest : .foreign, message: "is for \(own.architecture) (\(summary)), not \(wanted.architecture)")
    }
    return abiMisfit(wanted, arm)
  }

  private func abiMisfit(_ wanted: Platform, _ arm: ARMAttributes?) -> Misfit? {
    switch wanted.architecture {
    case "arm":
      let version = wanted.variant.hasPrefix("v") ? Int(wanted.variant.dropFirst().prefix(1)) : nil
      if flags >> 24 != 5, flags >> 24 != 4 { return Misfit(kind: .abi, message: "has the ARM ABI of version \(flags >> 24): Linux runs programs of the EABI, 4 or 5") }
      if let version, version < 6, isHardFloat == true { return Misfit(kind: .abi, message: "passes floating-point numbers in registers that \(wanted.variant) need not have (hard-float EABI)") }
      if let version, let needed = arm?.version, needed > version { return Misfit(kind: .abi, message: "was compiled for ARMv\(needed), and the platform is \(wanted)") }
    case "ppc64le":
      if flags & 3 == 1 { return Misfit(kind: .abi, message: "has the ELF ABI v1, where ppc64le has v2") }
    case "mips", "mipsle", "mips64", "mips64le":
      if flags >> 28 == 9 || flags >> 28 == 10 { return Misfit(kind: .abi, message: "was compiled for release 6 of MIPS, which no older processor runs") }
    case "riscv64":
      if flags & 8 != 0 { return Misfit(kind: .abi, message: "has the ABI of RV64E, which Linux does not run") }
    default: break
    }
    return nil
  }
}

extension PEBinary {
  package var summary: String { "PE\(is64Bit ? "32+" : "32"), machine 0x\(String(machine, radix: 16))" }

  func misfit(on wanted: Platform) -> Misfit? {
    guard wanted.os == "windows" else { return Misfit(kind: .foreign, message: "is a program for Windows (\(summary))") }
    // Managed code says 386 and runs anywhere; ARM64EC and ARM64X files are for both.
    if isManaged || machine == 0xa641 || machine == 0xa64e { return nil }
    guard let own = platform else { return Misfit(kind: .foreign, message: "is for no known platform (\(summary))") }
    if own.architecture == wanted.architecture { return nil }
    let guests: [String: Set<String>] = ["amd64": ["386"], "arm64": ["386", "amd64", "arm"]]
    return Misfit(kind: guests[wanted.architecture]?.contains(own.architecture) ?? false ? .guest : .foreign, message: "is for \(own.architecture) (\(summary)), not \(wanted.architecture)")
  }
}
