package import LayerArchive
package import OCIModel

/// A file of an image. Several names may have one (hard links).
package final class FileNode {
  package fileprivate(set) var facts: FileFacts
  /// The layer that it is from, counted from the bottom.
  package fileprivate(set) var layer: Int
  package fileprivate(set) var children: [ByteString: Slot] = [:]

  /// A name in a directory, and the layer that put it there.
  package struct Slot {
    package var node: FileNode
    package var layer: Int
  }
  fileprivate init(_ facts: FileFacts, layer: Int) { (self.facts, self.layer) = (facts, layer) }
}

/// The files of an image as its layers make them, merged in memory with the rules by which they are unpacked (LayerApplier): a whiteout hides what is below and
/// never what its own layer has, parents may be links, an entry replaces what has its name unless both are directories. Not `Sendable`: made, asked and dropped by one.
package final class FileTable {
  package let root = FileNode(FileFacts(kind: .directory, mode: 0o755), layer: 0)
  private let limits: ScanLimits
  private var nodes = 1
  private var layer = 0

  package init(limits: ScanLimits = .default) { self.limits = limits }

  /// Puts one layer upon those before. Throws `LayerArchiveError`; the table then holds a part of it.
  package func apply(_ entries: [LayerEntry], layer: Int) throws {
    self.layer = layer
    for entry in entries { try apply(entry) }
  }

  private func apply(_ entry: LayerEntry) throws {
    let components = entry.path.components
    switch entry.change {
    case .opaque: if let node = try directory(components[...], makes: false) { hideBelow(node) }
    case .whiteout:
      guard let name = components.last, let parent = try directory(components.dropLast(), makes: false), let slot = parent.children[name] else { return }
      // What this layer has there stays.
      if slot.layer == layer { hideBelow(slot.node) } else { parent.children[name] = nil }
    case .hardLink(let target):
      guard let name = components.last, let parent = try directory(components.dropLast(), makes: true) else { return }
      let to = target.components
      guard let last = to.last, let holder = try directory(to.dropLast(), makes: false), let slot = holder.children[last] else {
        throw LayerArchiveError(.missingLinkTarget, "the hard link's target \(target) is not there", path: entry.path)
      }
      if slot.node.facts.kind == .directory { throw LayerArchiveError(.invalidEntry, "a hard link to the directory \(target)", path: entry.path) }
      parent.children[name] = FileNode.Slot(node: slot.node, layer: layer)
    case .add(let facts):
      guard let name = components.last, let parent = try directory(components.dropLast(), makes: true) else { return }
      if facts.kind == .directory, let old = parent.children[name], old.node.facts.kind == .directory {
        (old.node.facts, old.node.layer) = (facts, layer)
        parent.children[name]?.layer = layer
        return
      }
      parent.children[name] = FileNode.Slot(node: try made(facts, entry.path), layer: layer)
    }
  }

  private func made(_ facts: FileFacts, _ path: ByteString) throws -> FileNode {
    nodes += 1
    if nodes > limits.entries { throw LayerArchiveError(.limit, "the image has more than \(limits.entries) files", path: path) }
    return FileNode(facts, layer: layer)
  }

  /// Recursion goes into what this layer has put there alone.
  private func hideBelow(_ node: FileNode) {
    for (name, slot) in node.children { if slot.layer == layer { hideBelow(slot.node) } else { node.children[name] = nil } }
  }

  /// The directory that components lead to, links on the way followed within the image. nil: it is not there.
  private func directory(_ components: ArraySlice<ByteString>, makes: Bool) throws -> FileNode? {
    var walk = [root]
    var pending = Array(components.reversed())
    var links = 0
    while let name = pending.popLast() {
      if walk.count > limits.depth { throw LayerArchiveError(.limit, "deeper than \(limits.depth) directories", path: components.first) }
      guard let node = walk.last else { return nil }
      if name == ".." {
        if walk.count > 1 { walk.removeLast() }
        continue
      }
      guard let slot = node.children[name] else {
        guard makes else { return nil }
        let made = try made(FileFacts(kind: .directory, mode: 0o755), name)
        node.children[name] = FileNode.Slot(node: made, layer: layer)
        walk.append(made)
        continue
      }
      switch slot.node.facts.kind {
      case .directory:
        if makes { node.children[name]?.layer = layer }
        walk.append(slot.node)
      case .symbolicLink:
        links += 1
        if links > limits.links { throw LayerArchiveError(.invalidEntry, "too many symbolic links on the way", path: name) }
        if slot.node.facts.target.bytes.first == 0x2f { walk.removeLast(walk.count - 1) }
        pending.append(contentsOf: slot.node.facts.target.components.reversed())
      default:
        guard makes else { return nil }
        throw LayerArchiveError(.invalidEntry, "what lies on the way is not a directory", path: components.reduce(ByteString()) { $0.appending($1) })
      }
    }
    return walk.last
  }

  // MARK: asking

  package struct Found {
    /// Without links, from the root.
    package var path: ByteString
    package var node: FileNode
  }
  package enum Lookup {
    case found(Found)
    /// Nothing has this name; after links perhaps.
    case missing(ByteString)
    case loop
  }

  /// What a process that sees the image as its root finds under a path; links are followed to the end.
  package func lookup(_ path: ByteString, in folder: ByteString = "") -> Lookup {
    var walk: [(name: ByteString, node: FileNode)] = [("", root)]
    func text(_ more: ByteString? = nil) -> ByteString { (walk.dropFirst().map(\.name) + (more.map { [$0] } ?? [])).reduce(ByteString()) { $0.appending($1) } }
    var pending = Array(path.components.reversed())
    if path.bytes.first != 0x2f { pending += folder.components.reversed() }
    var links = 0
    while let name = pending.popLast() {
      if name == ".." {
        if walk.count > 1 { walk.removeLast() }
        continue
      }
      guard let here = walk.last?.node, here.facts.kind == .directory, let slot = here.children[name] else { return .missing(text(name)) }
      guard slot.node.facts.kind == .symbolicLink else {
        walk.append((name, slot.node))
        continue
      }
      links += 1
      if links > 40 { return .loop }
      if slot.node.facts.target.bytes.first == 0x2f { walk.removeLast(walk.count - 1) }
      pending += slot.node.facts.target.components.reversed()
    }
    guard let node = walk.last?.node else { return .missing(path) }
    return .found(Found(path: text(), node: node))
  }

  /// All files but the root, in the order of their paths. Depth is bounded by how paths were let in.
  package func forEach(_ body: (ByteString, FileNode.Slot) throws -> Void) rethrows {
    func walk(_ node: FileNode, _ path: ByteString) throws {
      for name in node.children.keys.sorted() {
        guard let slot = node.children[name] else { continue }
        let here = path.appending(name)
        try body(here, slot)
        try walk(slot.node, here)
      }
    }
    try walk(root, "")
  }
}
