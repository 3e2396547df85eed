import GRDB
import HostOS

/// A file that is let go when the disk is full: without a little room nothing can be removed either, since rows must be written to say so.
enum Ballast {
  static let name = "ballast"
  private static let size: Int64 = 1 << 20
  private static let least: Int64 = 128 << 10
  /// With more than this, nobody needs to try.
  private static let plenty: UInt64 = 8 << 20

  /// Makes it where there is plenty of room. Best effort. Blocks.
  static func load(_ root: String) {
    if hasPlenty(root) { make(root, size) }
  }

  /// What a full disk has left after this process has given up what it could. Best effort. Blocks.
  static func reload(_ root: String) {
    guard !Files.exists(root + "/" + name) else { return }
    for size in [size, size / 2, size / 4] where canTake(root, size + 2 * least) { return make(root, size) }
  }

  private static func make(_ root: String, _ size: Int64) {
    let path = root + "/" + name
    guard !Files.exists(path) else { return }
    // Nothing that a filesystem could make smaller.
    var state: UInt64 = 88_172_645_463_325_252
    var bytes = [UInt8](repeating: 0, count: Int(size))
    bytes.withUnsafeMutableBytes { buffer in
      for word in buffer.bindMemory(to: UInt64.self).indices {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        buffer.storeBytes(of: state, toByteOffset: word * 8, as: UInt64.self)
      }
    }
    try? Files.writeAtomically(bytes, to: path, mode: 0o600, durable: false)
  }

  /// Lets it go; false when it was gone. Blocks.
  static func drop(_ root: String) -> Bool {
    let path = root + "/" + name
    guard Files.exists(path) else { return false }
    return (try? Files.removeTree(path)) != nil
  }

  /// Before the database is opened: SQLite maps a file whose pages may have no blocks yet, and a write there ends the program when there are none to be had. (That file
  /// must not be opened here to give it blocks: closing it would end SQLite's locks on it.) Blocks.
  static func makeRoom(_ root: String) {
    if !canTake(root, 4 * least) { _ = drop(root) }
  }

  /// Whether an error came of a full disk, as far as can be told: SQLite has several words for it.
  static func isNeeded(_ error: any Error, _ root: String) -> Bool {
    if let error = error as? StoreError, error.code == .noSpace { return true }
    if let error = error as? HostError, error.code == .noSpace { return true }
    guard let error = (error as? DatabaseError) ?? ((error as? StoreError)?.cause as? DatabaseError) else { return false }
    if error.resultCode == .SQLITE_FULL { return true }
    return [.SQLITE_IOERR, .SQLITE_CANTOPEN].contains(error.resultCode) && !canTake(root, 2 * least)
  }

  private static func hasPlenty(_ root: String) -> Bool { ((try? FileSystemFacts.of(root).availableBytes) ?? .max) > plenty }

  /// Tried, where it is not plain: filesystems keep back some of what they call free.
  private static func canTake(_ root: String, _ bytes: Int64) -> Bool {
    if hasPlenty(root) { return true }
    let path = "\(root)/\(StoreLayout.ingest)/\(IngestName.fresh())"
    defer { try? Files.removeTree(path) }
    guard let file = try? HostOS.Descriptor.open(path, flags: [.readWrite, .create, .exclusive], mode: 0o600) else { return false }
    return (try? file.allocate(bytes)) != nil
  }
}
