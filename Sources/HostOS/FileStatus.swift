import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

package enum FileKind: UInt8, Sendable, Hashable, Codable {
  case regular, directory, symbolicLink, characterDevice, blockDevice, fifo, socket, unknown

  init(mode: UInt32) {
    switch mode & 0o170000 {
    case 0o100000: self = .regular
    case 0o040000: self = .directory
    case 0o120000: self = .symbolicLink
    case 0o020000: self = .characterDevice
    case 0o060000: self = .blockDevice
    case 0o010000: self = .fifo
    case 0o140000: self = .socket
    default: self = .unknown
    }
  }

  /// The bits of a mode that say the kind.
  package var typeBits: UInt32 {
    switch self {
    case .regular: 0o100000
    case .directory: 0o040000
    case .symbolicLink: 0o120000
    case .characterDevice: 0o020000
    case .blockDevice: 0o060000
    case .fifo: 0o010000
    case .socket: 0o140000
    case .unknown: 0
    }
  }

  /// From the type of a directory entry; `unknown` where the filesystem does not say.
  init(entryType: UInt8) { self.init(mode: UInt32(entryType) << 12) }
}

package struct DeviceNumber: Sendable, Hashable, Codable {
  package var major: UInt32
  package var minor: UInt32
  package init(major: UInt32, minor: UInt32) { (self.major, self.minor) = (major, minor) }
}

/// What stat(2) says. Times are nanoseconds since 1970, saturating.
package struct FileStatus: Sendable, Hashable {
  package var device: UInt64
  package var inode: UInt64
  /// Type and permission bits.
  package var mode: UInt32
  package var links: UInt64
  package var uid: UInt32
  package var gid: UInt32
  package var rdev: DeviceNumber
  package var size: Int64
  /// Bytes on disk.
  package var allocated: Int64
  package var atime: Int64
  package var mtime: Int64
  package var ctime: Int64

  package var kind: FileKind { FileKind(mode: mode) }
  /// The twelve bits that chmod sets.
  package var permissions: UInt32 { mode & 0o7777 }
  /// An overlay's mark for "deleted here".
  package var isWhiteout: Bool { kind == .characterDevice && rdev.major == 0 && rdev.minor == 0 }

  /// A directory nobody made: root's, 0755, at the epoch.
  package static let emptyDirectory = FileStatus(mode: 0o040755, links: 2)

  /// Of something that no stat(2) told of.
  package init(
    device: UInt64 = 0, inode: UInt64 = 0, mode: UInt32, links: UInt64 = 1, uid: UInt32 = 0, gid: UInt32 = 0, rdev: DeviceNumber = DeviceNumber(major: 0, minor: 0),
    size: Int64 = 0, allocated: Int64 = 0, atime: Int64 = 0, mtime: Int64 = 0, ctime: Int64 = 0
  ) {
    (self.device, self.inode, self.mode, self.links, self.uid, self.gid) = (device, inode, mode, links, uid, gid)
    (self.rdev, self.size, self.allocated, self.atime, self.mtime, self.ctime) = (rdev, size, allocated, atime, mtime, ctime)
  }

  init(_ s: hostos_stat) {
    device = s.device
    inode = s.inode
    mode = s.mode
    links = s.links
    uid = s.uid
    gid = s.gid
    rdev = DeviceNumber(major: s.rdev_major, minor: s.rdev_minor)
    size = Int64(clamping: s.size)
    allocated = Int64(clamping: s.blocks) &* 512
    atime = s.atime_ns
    mtime = s.mtime_ns
    ctime = s.ctime_ns
  }
}

package struct DirectoryEntry: Sendable, Hashable {
  package var name: String
  package var kind: FileKind
  package var inode: UInt64
}

/// open(2)'s flags. Close-on-exec is always set.
package struct OpenFlags: OptionSet, Sendable {
  package let rawValue: Int32
  package init(rawValue: Int32) { self.rawValue = rawValue }
  package static let readOnly = OpenFlags(rawValue: O_RDONLY)
  package static let writeOnly = OpenFlags(rawValue: O_WRONLY)
  package static let readWrite = OpenFlags(rawValue: O_RDWR)
  package static let create = OpenFlags(rawValue: O_CREAT)
  package static let exclusive = OpenFlags(rawValue: O_EXCL)
  package static let truncate = OpenFlags(rawValue: O_TRUNC)
  package static let append = OpenFlags(rawValue: O_APPEND)
  package static let nonBlocking = OpenFlags(rawValue: O_NONBLOCK)
  package static let directory = OpenFlags(rawValue: O_DIRECTORY)
  /// The last component must not be followed when it is a symbolic link.
  package static let noFollow = OpenFlags(rawValue: O_NOFOLLOW)
  /// For its place only: to ask for its status, to resolve beneath it; not to read.
  package static let path = OpenFlags(rawValue: hostos_o_path)
}
