internal import HostOS
internal import OCIModel
internal import Synchronization

/// Hashes of the files of a synced directory, in one file beside it. Nobody writes to such a directory but a transfer that has it alone, and a transfer replaces files, so that a file
/// of the same inode, size and times is the same file: hashes are known as soon as content comes, and there is no need to wait until a file has settled.
final class SyncedHashes: RememberedHashes {
  struct Record: Sendable {
    var size: Int64
    var mtime: Int64
    var ctime: Int64
    var digest: Digest
    init(_ file: FileStatus, _ digest: Digest) { (size, mtime, ctime, self.digest) = (file.size, file.mtime, file.ctime, digest) }
    init(size: Int64, mtime: Int64, ctime: Int64, digest: Digest) { (self.size, self.mtime, self.ctime, self.digest) = (size, mtime, ctime, digest) }
    func isOf(_ file: FileStatus) -> Bool { size == file.size && mtime == file.mtime && ctime == file.ctime }
  }
  private static let magic: UInt64 = 0x3173_6873_6e79_7331
  private static let width = 64
  private static let limit = 1 << 30

  private let path: String
  private let records: Mutex<[UInt64: Record]>

  /// What is known from before; nothing where that cannot be read. Blocks.
  init(path: String) {
    self.path = path
    records = Mutex((try? Files.read(path, limit: Self.limit)).flatMap { Self.parse($0) } ?? [:])
  }

  func lookup(_ files: [FileStatus]) throws -> [Digest?] {
    records.withLock { records in files.map { file in records[file.inode].flatMap { $0.isOf(file) ? $0.digest : nil } } }
  }

  /// What was hashed by reading is known for this build.
  func remember(_ hashes: [(file: FileStatus, digest: Digest)], began: Int64) throws {
    records.withLock { records in
      for (file, digest) in hashes { records[file.inode] = Record(file, digest) }
    }
  }

  /// After a transfer: of all files that there are, those whose content came and those that are as they were. Blocks.
  func renew(_ tree: LocalTree, received: [ExactPath: Digest]) throws {
    let before = records.withLock { $0 }
    var now: [UInt64: Record] = [:]
    now.reserveCapacity(tree.count)
    tree.eachFile { path, file in
      if let digest = received.isEmpty ? nil : received[ExactPath(path())] {
        now[file.inode] = Record(file, digest)
      } else if now[file.inode] == nil, let known = before[file.inode], known.isOf(file) {
        now[file.inode] = known
      }
    }
    let isSame = received.isEmpty && now.count == before.count
    records.withLock { $0 = now }
    if !isSame { try Files.writeAtomically(Self.bytes(now), to: path, mode: 0o600, durable: false) }
  }

  private static func bytes(_ records: [UInt64: Record]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: 8 + records.count * width) { buffer, count in
      let out = UnsafeMutableRawBufferPointer(buffer)
      out.storeBytes(of: magic, as: UInt64.self)
      var at = 8
      for (inode, record) in records {
        out.storeBytes(of: inode, toByteOffset: at, as: UInt64.self)
        out.storeBytes(of: record.size, toByteOffset: at + 8, as: Int64.self)
        out.storeBytes(of: record.mtime, toByteOffset: at + 16, as: Int64.self)
        out.storeBytes(of: record.ctime, toByteOffset: at + 24, as: Int64.self)
        UnsafeMutableRawBufferPointer(rebasing: out[(at + 32)..<(at + 64)]).copyBytes(from: record.digest.bytes.prefix(32))
        at += width
      }
      count = at
    }
  }

  private static func parse(_ bytes: [UInt8]) -> [UInt64: Record]? {
    bytes.withUnsafeBytes { bytes in
      guard bytes.count >= 8, (bytes.count - 8) % width == 0, bytes.loadUnaligned(as: UInt64.self) == magic else { return nil }
      var records: [UInt64: Record] = [:]
      records.reserveCapacity(bytes.count / width)
      for at in stride(from: 8, to: bytes.count, by: width) {
        records[bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)] = Record(
          size: bytes.loadUnaligned(fromByteOffset: at + 8, as: Int64.self), mtime: bytes.loadUnaligned(fromByteOffset: at + 16, as: Int64.self),
          ctime: bytes.loadUnaligned(fromByteOffset: at + 24, as: Int64.self), digest: Digest(sha256: UnsafeRawBufferPointer(rebasing: bytes[(at + 32)..<(at + 64)])))
      }
      return records
    }
  }
}
