internal import CHostOS

/// Owners (and modes) that this process cannot give to files, remembered in an attribute of the files, so that everything that asks for a file's status
/// beneath a `Directory` is told the owner it has in its image (CHostOS/owners.c). For the whole process; set before it looks at a tree.
package enum OwnerRecords {
  package enum Need: Int32, Sendable {
    /// Files are given to whom they belong.
    case none = 0
    /// A user namespace with too few ids to give files to.
    case few = 1
    /// An ordinary user without a user namespace: his own files pass for root's.
    case alone = 2
  }

  package static var need: Need {
    get { Need(rawValue: hostos_owners()) ?? .none }
    set { hostos_set_owners(newValue.rawValue) }
  }

  /// What this process needs. `hasNamespaces`: it is where `Namespaces.enterIfNeeded` leads to.
  package static func needed(hasNamespaces: Bool) -> Need {
    if hasNamespaces { return HostFacts.inUserNamespace && (HostFacts.idMap.count < 2 || HostFacts.groupIDMap.count < 2) ? .few : .none }
    return HostFacts.mayGiveFilesAway ? .none : .alone
  }

  /// Whether files in a directory can carry records. Blocks.
  package static func work(in directory: String) -> Bool {
    guard let scratch = try? Files.makeTemporaryDirectory(in: directory, prefix: "probe-") else { return false }
    defer { try? Files.removeTree(scratch) }
    guard let folder = try? Directory.open(scratch) else { return false }
    let text: [UInt8] = [0x30]
    return withExtendedLifetime(folder) { text.withUnsafeBytes { hostos_xattr_set_plain(folder.descriptor.raw, "", "user.manifold.probe", $0.baseAddress, 1) } } == 0
  }
}

extension HostFacts {
  /// CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER; tried, since a security module may forbid what they allow.
  static var mayGiveFilesAway: Bool {
    let file = Descriptor(owning: hostos_memory_file())
    guard withExtendedLifetime(file, { hostos_chown_plain(file.raw, "", 1, 1) }) == 0 else { return false }
    guard let text = Files.text("/proc/self/status"), let line = text.split(separator: "\n").first(where: { $0.hasPrefix("CapEff:") }),
      let capabilities = UInt64(line.dropFirst(7).filter { !$0.isWhitespace }, radix: 16)
    else { return isRoot }
    return capabilities & 0b1011 == 0b1011
  }
}

extension Directory {
  /// The mode on the disk, whatever it locks out (`setMode` remembers what would).
  package func setDiskMode(_ path: String, _ mode: UInt32) throws {
    let (directory, name) = try parent(of: path)
    try checked(try withPath(name, "chmod") { name in directory.with { hostos_chmod_plain($0, name, mode & 0o7777) } }, "chmod", path)
  }
}
