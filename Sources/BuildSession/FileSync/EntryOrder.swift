internal import BuildInterface

/// Whether entries come as they must: each with a clean path beneath the root, directories before what is in them, the names of a directory in the order of their bytes, none twice.
struct EntryOrder {
  private struct Level {
    /// Of the directory; its path is so many bytes of the current one.
    var length: Int
    var last: [UInt8]
  }
  private static let slash = UInt8(ascii: "/")
  private let limits: FileSyncLimits
  private var levels = [Level(length: 0, last: [])]
  /// The path of the deepest directory.
  private(set) var directory: [UInt8] = []
  private(set) var entries = 0

  init(_ limits: FileSyncLimits) { self.limits = limits }

  var depth: Int { levels.count - 1 }

  /// Takes the next path: how many directories were left before it, and its name in its directory. Call `enter` after it for a directory.
  mutating func next(_ path: [UInt8]) throws -> (left: Int, name: [UInt8]) {
    entries += 1
    if entries > limits.entries { throw FileSyncError(.limit, "more than \(limits.entries) files") }
    if path.count > limits.path { throw FileSyncError(.limit, "a path of \(path.count) bytes: more than the limit of \(limits.path)") }
    let cut = path.lastIndex(of: Self.slash)
    let parent = cut.map { path[..<$0] } ?? []
    let name = Array(cut.map { path[($0 + 1)...] } ?? path[...])
    try check(path, name)
    var left = 0
    while let level = levels.last, !(level.length == parent.count && directory.elementsEqual(parent)) {
      // The root's path is empty: it is left for a parent that was never told of.
      if levels.count == 1 { throw Self.outOfOrder(path) }
      levels.removeLast()
      left += 1
      directory.removeLast(level.length - (levels.last?.length ?? 0))
    }
    guard let level = levels.last, level.last.isEmpty || level.last.lexicographicallyPrecedes(name) else { throw Self.outOfOrder(path) }
    levels[levels.count - 1].last = name
    return (left, name)
  }

  /// The entry that came last is a directory.
  mutating func enter(_ path: [UInt8]) {
    levels.append(Level(length: path.count, last: []))
    directory = path
  }

  private func check(_ path: [UInt8], _ name: [UInt8]) throws {
    if path.first == Self.slash || name.isEmpty || name == [0x2e] || name == [0x2e, 0x2e] || path.contains(0) {
      throw FileSyncError(.violation, "\(FileSyncError.shown(path)) is no clean path beneath the directory")
    }
    if name.count > limits.name { throw FileSyncError(.limit, "a name of \(name.count) bytes: more than the limit of \(limits.name)") }
  }

  private static func outOfOrder(_ path: [UInt8]) -> FileSyncError {
    FileSyncError(.violation, "\(FileSyncError.shown(path)) is out of order: entries come sorted, after the directory that they are in")
  }

  /// The order of entries: byte by byte, a directory's content before what follows it.
  static func precedes(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    for (x, y) in zip(a, b) where x != y { return x == slash || (y != slash && x < y) }
    return a.count < b.count
  }
}

/// Modes as Go's os.FileMode has them.
package enum GoFileMode {
  package static let directory: UInt32 = 1 << 31
  package static let symbolicLink: UInt32 = 1 << 27
  package static let device: UInt32 = 1 << 26
  package static let fifo: UInt32 = 1 << 25
  package static let socket: UInt32 = 1 << 24
  package static let setuid: UInt32 = 1 << 23
  package static let setgid: UInt32 = 1 << 22
  package static let characterDevice: UInt32 = 1 << 21
  package static let sticky: UInt32 = 1 << 20
  package static let irregular: UInt32 = 1 << 19
  /// All that say a kind; content can be asked for where none is set.
  package static let kinds = directory | symbolicLink | device | fifo | socket | characterDevice | irregular

  /// The bits of a Unix mode.
  package static func permissions(_ mode: UInt32) -> UInt32 {
    (mode & 0o777) | (mode & setuid != 0 ? 0o4000 : 0) | (mode & setgid != 0 ? 0o2000 : 0) | (mode & sticky != 0 ? 0o1000 : 0)
  }
  package static func permissions(unix mode: UInt32) -> UInt32 {
    (mode & 0o777) | (mode & 0o4000 != 0 ? setuid : 0) | (mode & 0o2000 != 0 ? setgid : 0) | (mode & 0o1000 != 0 ? sticky : 0)
  }
}
