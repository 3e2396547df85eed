import GRDB
import HostOS

/// A file that is let go when the disk is full: without a little room nothing can be removed either, since rows must be written to say so.
enum Ballast {
  static let name = "ballast"
  private static let size = 1 << 20

  /// Makes it where there is plenty of room. Best effort. Blocks.
  static func load(_ root: String) {
    let path = root + "/" + name
    guard !Files.exists(path), let disk = try? FileSystemFacts.of(root), disk.availableBytes > 8 << 20 else { return }
    // Nothing that a filesystem could make smaller.
    var state: UInt64 = 88_172_645_463_325_252
    let bytes = (0..<size / 8).flatMap { _ -> [UInt8] in
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return withUnsafeBytes(of: state) { Array($0) }
    }
    try? Files.writeAtomically(bytes, to: path, mode: 0o600, durable: false)
  }

  /// Lets it go; false when it was gone. Blocks.
  static func drop(_ root: String) -> Bool {
    let path = root + "/" + name
    guard Files.exists(path) else { return false }
    return (try? Files.removeTree(path)) != nil
  }

  /// Whether an error came of a full disk, as far as can be told: SQLite has several words for it.
  static func isNeeded(_ error: any Error, _ root: String) -> Bool {
    if let error = error as? StoreError, error.code == .noSpace { return true }
    if let error = error as? HostError, error.code == .noSpace { return true }
    guard let error = (error as? DatabaseError) ?? ((error as? StoreError)?.cause as? DatabaseError) else { return false }
    if error.resultCode == .SQLITE_FULL { return true }
    let disk = try? FileSystemFacts.of(root)
    return [.SQLITE_IOERR, .SQLITE_CANTOPEN].contains(error.resultCode) && (disk?.availableBytes ?? .max) < 1 << 18
  }
}
