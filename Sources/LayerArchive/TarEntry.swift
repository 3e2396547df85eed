package import OCIModel

/// One entry of a tar archive, as POSIX.1-2017 pax, ustar and GNU say it.
package struct TarEntry: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    case file, hardLink, symbolicLink, characterDevice, blockDevice, directory, fifo
    /// A type that has no meaning here: GNU's 'V' and 'M', Solaris ACLs, … The flag as it is.
    case other(UInt8)
    /// A pax global header (only with `GlobalHeaders.report`): its records are `records`.
    case globalHeader
  }

  /// As in the archive: not cleaned, possibly absolute, with "..", or with a slash at the end. Whoever makes files of it resolves it beneath a root.
  package var path: ByteString
  package var kind: Kind
  /// For hard links a path in the archive, for symbolic links whatever they point to.
  package var linkTarget: ByteString
  /// The twelve permission bits (and, in old archives, type bits above them).
  package var mode: UInt32
  package var uid: Int64
  package var gid: Int64
  package var userName: ByteString
  package var groupName: ByteString
  /// Bytes of content, holes included. 0 for all but files (and other types with content).
  package var size: Int64
  package var modified: Timestamp
  package var accessed: Timestamp?
  package var changed: Timestamp?
  package var deviceMajor: Int64
  package var deviceMinor: Int64
  /// Extended attributes by name ("user.x", "security.capability"). In pax records: SCHILY.xattr.NAME, or LIBARCHIVE.xattr.NAME (base64, name percent-encoded).
  package var xattrs: [String: [UInt8]]
  /// Other pax records, as they are (Windows layers' MSWINDOWS.*, comments, …).
  package var records: [String: [UInt8]]
  /// Where the content is data; the rest is holes. nil: it is data throughout.
  package var sparse: [SparseSegment]?

  package init(
    path: ByteString, kind: Kind = .file, linkTarget: ByteString = "", mode: UInt32 = 0o644, uid: Int64 = 0, gid: Int64 = 0, userName: ByteString = "", groupName: ByteString = "",
    size: Int64 = 0, modified: Timestamp = Timestamp(seconds: 0), accessed: Timestamp? = nil, changed: Timestamp? = nil, deviceMajor: Int64 = 0, deviceMinor: Int64 = 0,
    xattrs: [String: [UInt8]] = [:], records: [String: [UInt8]] = [:], sparse: [SparseSegment]? = nil
  ) {
    (self.path, self.kind, self.linkTarget, self.mode, self.uid, self.gid) = (path, kind, linkTarget, mode, uid, gid)
    (self.userName, self.groupName, self.size, self.modified, self.accessed, self.changed) = (userName, groupName, size, modified, accessed, changed)
    (self.deviceMajor, self.deviceMinor, self.xattrs, self.records, self.sparse) = (deviceMajor, deviceMinor, xattrs, records, sparse)
  }

  /// No time of the entry later than `epoch` (SOURCE_DATE_EPOCH, `rewrite-timestamp`).
  package mutating func clampTimes(to epoch: Timestamp) {
    modified = min(modified, epoch)
    accessed = accessed.map { min($0, epoch) }
    changed = changed.map { min($0, epoch) }
    if let created = records[WindowsLayer.creationTime], let time = PaxRecords.time(created), time > epoch {
      records[WindowsLayer.creationTime] = Array("\(epoch.seconds).\(epoch.nanoseconds)".utf8)
    }
  }
}

/// A stretch of data in a sparse file.
package struct SparseSegment: Sendable, Hashable {
  package var offset: Int64
  package var length: Int64
  package init(offset: Int64, length: Int64) { (self.offset, self.length) = (offset, length) }
}

/// What an archive may ask of its reader's memory and trust.
package struct TarLimits: Sendable {
  /// Bytes of one extended header, long name or sparse map. Default 1 MiB, as Go's archive/tar and libarchive have it.
  package var headerBytes: Int
  /// Content of one entry. Default 8 EiB: none; a sparse file's size costs nothing.
  package var entrySize: Int64
  package init(headerBytes: Int = 1 << 20, entrySize: Int64 = .max) { (self.headerBytes, self.entrySize) = (headerBytes, entrySize) }
  package static let `default` = TarLimits()
}

/// What a pax global header means.
package enum GlobalHeaders: Sendable {
  /// Its records hold for all entries that follow and do not say otherwise (POSIX; GNU tar, bsdtar).
  case apply
  /// It means nothing (containerd, BuildKit and Docker when they apply a layer).
  case ignore
  /// It is an entry of its own and applied to none: for passing an archive on.
  case report
}
