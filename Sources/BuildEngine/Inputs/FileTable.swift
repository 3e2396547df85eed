internal import HostOS

/// The entries of a tree as they were at one walk, in little room: a context of a million files takes some ninety megabytes. Paths are looked up component by component in one hash
/// table of (directory, name).
struct FileTable: Sendable {
  /// What a build asks of a file.
  private struct Node: Sendable {
    var inode: UInt64
    var size: Int64
    var mtime: Int64
    var ctime: Int64
    var mode: UInt32
    var links: UInt32
    var parent: UInt32
    var name: UInt32
    var nameLength: UInt16
    var device: UInt16
    var uid: UInt32
    var gid: UInt32
    var children: UInt32 = 0
    var childCount: UInt32 = 0
  }
  private static let none = UInt32.max

  private var nodes: ContiguousArray<Node> = []
  /// All names, one after another.
  private var names: ContiguousArray<UInt8> = []
  private var devices: [UInt64] = []
  private var deviceNumbers: [UInt32: DeviceNumber] = [:]
  /// The nodes of a directory's children lie together, in the order in which they were added.
  private var children: ContiguousArray<UInt32> = []
  /// Open addressing; its size is a power of two.
  private var slots: ContiguousArray<UInt32> = []

  init(root: FileStatus) { _ = add("", root, in: 0) }

  var count: Int { nodes.count - 1 }

  /// Adds an entry to a directory and answers its node. Entries of one directory come in the order of their names' bytes.
  mutating func add(_ name: String, _ status: FileStatus, in parent: UInt32) -> UInt32 {
    let node = UInt32(nodes.count)
    var name = name
    let (start, length) = (names.count, name.utf8.count)
    name.withUTF8 { names.append(contentsOf: $0) }
    if status.rdev.major != 0 || status.rdev.minor != 0 { deviceNumbers[node] = status.rdev }
    nodes.append(
      Node(
        inode: status.inode, size: status.size, mtime: status.mtime, ctime: status.ctime, mode: status.mode, links: UInt32(clamping: status.links), parent: parent,
        name: UInt32(start), nameLength: UInt16(length), device: index(of: status.device), uid: status.uid, gid: status.gid))
    return node
  }

  private mutating func index(of device: UInt64) -> UInt16 {
    if let known = devices.lastIndex(of: device) { return UInt16(known) }
    devices.append(device)
    return UInt16(clamping: devices.count - 1)
  }

  /// After the last `add`.
  mutating func seal() {
    for i in nodes.indices.dropFirst() { nodes[Int(nodes[i].parent)].childCount += 1 }
    var start: UInt32 = 0
    for i in nodes.indices {
      nodes[i].children = start
      start += nodes[i].childCount
      nodes[i].childCount = 0
    }
    children = ContiguousArray(repeating: 0, count: Int(start))
    for i in nodes.indices.dropFirst() {
      let parent = Int(nodes[i].parent)
      children[Int(nodes[parent].children + nodes[parent].childCount)] = UInt32(i)
      nodes[parent].childCount += 1
    }
    var size = 16
    while size < nodes.count * 2 { size *= 2 }
    slots = ContiguousArray(repeating: Self.none, count: size)
    names.withUnsafeBufferPointer { names in
      for i in nodes.indices.dropFirst() {
        let node = nodes[i]
        var slot = Self.hash(node.parent, UnsafeBufferPointer(rebasing: names[Int(node.name)..<Int(node.name) + Int(node.nameLength)])) & (size - 1)
        while slots[slot] != Self.none { slot = (slot + 1) & (size - 1) }
        slots[slot] = UInt32(i)
      }
    }
  }

  /// FNV-1a: names are short, and whoever makes them collide slows their own build.
  private static func hash(_ parent: UInt32, _ name: UnsafeBufferPointer<UInt8>) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(parent) &* 0x9e37_79b9_7f4a_7c15
    for byte in name { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return Int(truncatingIfNeeded: (hash ^ hash >> 29) & 0x7fff_ffff_ffff_ffff)
  }

  private func child(_ parent: UInt32, _ name: UnsafeBufferPointer<UInt8>) -> UInt32? {
    var slot = Self.hash(parent, name) & (slots.count - 1)
    while slots[slot] != Self.none {
      let node = nodes[Int(slots[slot])]
      if node.parent == parent, Int(node.nameLength) == name.count, names[Int(node.name)..<Int(node.name) + name.count].elementsEqual(name) { return slots[slot] }
      slot = (slot + 1) & (slots.count - 1)
    }
    return nil
  }

  /// The entry at a clean path, "" being the root.
  private func find(_ path: String) -> UInt32? {
    var path = path
    return path.withUTF8 { bytes in
      var node: UInt32 = 0
      var start = 0
      while start < bytes.count {
        var end = start
        while end < bytes.count, bytes[end] != UInt8(ascii: "/") { end += 1 }
        guard let next = child(node, UnsafeBufferPointer(rebasing: bytes[start..<end])) else { return nil }
        node = next
        start = end + 1
      }
      return node
    }
  }

  func status(_ path: String) -> FileStatus? { find(path).map { status(at: $0) } }

  private func status(at index: UInt32) -> FileStatus {
    let node = nodes[Int(index)]
    return FileStatus(
      device: devices[Int(node.device)], inode: node.inode, mode: node.mode, links: UInt64(node.links), uid: node.uid, gid: node.gid, rdev: deviceNumbers[index] ?? DeviceNumber(major: 0, minor: 0),
      size: node.size, mtime: node.mtime, ctime: node.ctime)
  }

  /// Regular files, in the order in which they were added; the path is made when it is asked for.
  func eachFile(_ body: (() -> String, FileStatus) -> Void) {
    for index in nodes.indices where nodes[index].mode & 0o170000 == 0o100000 { body({ self.path(of: UInt32(index)) }, status(at: UInt32(index))) }
  }

  private func path(of index: UInt32) -> String {
    var parts: [String] = []
    var at = index
    while at != 0 {
      let node = nodes[Int(at)]
      parts.append(String(decoding: names[Int(node.name)..<Int(node.name) + Int(node.nameLength)], as: UTF8.self))
      at = node.parent
    }
    return parts.reversed().joined(separator: "/")
  }

  func children(_ path: String) -> [String] {
    guard let index = find(path) else { return [] }
    let node = nodes[Int(index)]
    return children[Int(node.children)..<Int(node.children + node.childCount)].map { child in
      let node = nodes[Int(child)]
      return String(decoding: names[Int(node.name)..<Int(node.name) + Int(node.nameLength)], as: UTF8.self)
    }
  }
}
