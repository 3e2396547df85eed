internal import OCIModel

/// Where files for other platforms are at home.
extension ExecutableFile {
  /// Whether a folder on the way names the file's own platform, as cross compilers' and packages with files for several platforms do: `aarch64-linux-gnu`,
  /// `linux_arm64`. Nobody would run what lies there but for that platform.
  package func isAtHome(in folders: [String]) -> Bool {
    guard let own = platform else { return false }
    let words = ExecutableFile.names[own.architecture] ?? [own.architecture]
    return folders.contains { folder in
      let name = folder.lowercased()
      return words.contains { word in
        if name.hasPrefix(word + "-") { return ["linux", "mingw", "elf", "none", "musl", "gnu"].contains { name.contains($0) } }
        return [own.os, "linux", "linuxmusl", "alpine", "android", "windows", "win32", "win"].contains { system in
          name == "\(system)-\(word)" || name == "\(system)_\(word)" || name.hasSuffix("-\(system)-\(word)")
        }
      }
    }
  }

  /// What compilers and package managers call architectures.
  private static let names: [String: [String]] = [
    "amd64": ["x86_64", "amd64", "x64"], "386": ["i386", "i486", "i586", "i686", "386", "x86", "ia32"], "arm64": ["aarch64", "arm64"],
    "arm": ["arm", "armv6", "armv7", "armv7l", "armv6l", "armhf", "armel"], "ppc64le": ["powerpc64le", "ppc64le", "ppc64el"], "s390x": ["s390x"], "riscv64": ["riscv64"],
    "mips64le": ["mips64el", "mips64le"], "loong64": ["loongarch64", "loong64"],
  ]
}
