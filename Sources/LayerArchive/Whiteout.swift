import CHostOS

/// Marks of deletion: in layers (OCI image-spec, layer.md, "Whiteouts") and in overlay filesystems.
package enum Whiteout {
  package static let prefix: ByteString = ".wh."
  package static let opaque: ByteString = ".wh..wh..opq"
  /// AUFS's own files; nothing in a layer has these names.
  package static let metaPrefix: ByteString = ".wh..wh."

  static func opaqueAttribute(userXattr: Bool) -> String { userXattr ? "user.overlay.opaque" : "trusted.overlay.opaque" }
  static let opaqueAttributes = ["trusted.overlay.opaque", "user.overlay.opaque"]

  static func isWhiteout(_ status: hostos_stat) -> Bool { status.isKind(.characterDevice) && status.rdev_major == 0 && status.rdev_minor == 0 }

  /// Whether the overlay directory `fd` hides what is below it.
  static func isOpaque(_ fd: Int32) -> Bool {
    for name in opaqueAttributes {
      var value: UInt8 = 0
      if hostos_xattr_get(fd, "", name, &value, 1) == 1, value == UInt8(ascii: "y") { return true }
    }
    return false
  }
}

enum ModeKind: UInt32 {
  case file = 0o100000, directory = 0o040000, symbolicLink = 0o120000, characterDevice = 0o020000, blockDevice = 0o060000, fifo = 0o010000, socket = 0o140000
}

extension hostos_stat {
  func isKind(_ kind: ModeKind) -> Bool { mode & 0o170000 == kind.rawValue }
}

/// An open descriptor that closes itself. (HostOS's Descriptor, without what it does for sharing: one of these is made for each directory and file.)
final class OpenFile {
  let fd: Int32
  init(_ fd: Int32) { self.fd = fd }
  deinit { SystemCalls.close(fd) }
}
