import CHostOS

/// What a filesystem says of itself.
package struct FileSystemFacts: Sendable, Equatable {
  package enum Kind: String, Sendable {
    case ext, xfs, btrfs, zfs, f2fs, bcachefs, tmpfs, ramfs, overlay, fuse, ecryptfs, bindShare, nfs, smb, ceph, afs, lustre, gpfs, gfs2, ocfs2, beegfs, coda, other

    /// Shared between machines: locks, renames or attributes cannot be relied on.
    package var isNetwork: Bool {
      switch self {
      case .nfs, .smb, .ceph, .afs, .lustre, .gpfs, .gfs2, .ocfs2, .beegfs, .coda, .bindShare: true
      default: false
      }
    }
  }

  package var kind: Kind
  package var magic: UInt64
  package var totalBytes: UInt64
  package var availableBytes: UInt64
  package var totalInodes: UInt64
  package var freeInodes: UInt64

  /// Of the filesystem that holds `path`. Blocks; call through Blocking.run.
  package static func of(_ path: String) throws -> FileSystemFacts {
    let descriptor = try Descriptor.open(path, flags: .path)
    var fs = hostos_fs()
    try checked(withExtendedLifetime(descriptor) { hostos_fs_facts(descriptor.raw, &fs) }, "statfs", path)
    return FileSystemFacts(
      kind: kind(fs.type), magic: fs.type, totalBytes: fs.total, availableBytes: fs.available, totalInodes: fs.inodes, freeInodes: fs.free_inodes)
  }

  /// Waits until all that was written to the filesystem is on the disk. Blocks; call through Blocking.run.
  package static func sync(_ path: String) throws {
    let descriptor = try Descriptor.open(path)
    try checked(withExtendedLifetime(descriptor) { hostos_sync_fs(descriptor.raw) }, "syncfs", path)
  }

  // From statfs(2) and linux/magic.h.
  static func kind(_ magic: UInt64) -> Kind {
    switch magic {
    case 0xEF53: .ext
    case 0x5846_5342: .xfs
    case 0x9123_683E: .btrfs
    case 0x2FC1_2FC1: .zfs
    case 0xF2F5_2010: .f2fs
    case 0xCA45_1A4E: .bcachefs
    case 0x0102_1994: .tmpfs
    case 0x8584_58F6: .ramfs
    case 0x794C_7630: .overlay
    case 0x6573_5546: .fuse
    case 0xF15F: .ecryptfs
    case 0x0102_1997, 0x786F_4256: .bindShare  // 9p and vboxsf: a host's directory in a virtual machine
    case 0x6969: .nfs
    case 0x517B, 0xFE53_4D42, 0xFF53_4D42: .smb
    case 0x00C3_6400: .ceph
    case 0x5346_414F, 0x6B41_4653: .afs
    case 0x0BD0_0BD0: .lustre
    case 0x4750_4653: .gpfs
    case 0x0116_1970: .gfs2
    case 0x7461_636F: .ocfs2
    case 0x1983_0326: .beegfs
    case 0x7375_7245: .coda
    default: .other
    }
  }
}
