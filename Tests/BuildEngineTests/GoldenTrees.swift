import Foundation
import HostOS
import OCIModel
import Synchronization
import Testing

@testable import BuildEngine

enum Golden {
  static func load<Value: Decodable>(_ name: String, as type: Value.Type = Value.self) throws -> Value {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden")
    return try JSONDecoder().decode(Value.self, from: Data(contentsOf: folder.appendingPathComponent(name)))
  }
  static func bytes(_ base64: String?) -> [UInt8] { base64.flatMap { Data(base64Encoded: $0) }.map { Array($0) } ?? [] }
}

/// A tree and what the peers make of it (Golden/README.md).
struct GoldenTree: Decodable, Sendable, CustomTestStringConvertible {
  struct Entry: Decodable, Sendable {
    var path: String?, pathBase64: String?
    var type: String
    var mode: UInt32?, uid: UInt32?, gid: UInt32?
    var data: String?, size: Int?
    var link: String?, linkBase64: String?
    var major: UInt32?, minor: UInt32?
    var xattrs: [String: String]?

    var name: String { pathBase64.map { PathText.decode(Golden.bytes($0)) } ?? PathText.decode(Array((path ?? "").utf8)) }
    var target: String { linkBase64.map { PathText.decode(Golden.bytes($0)) } ?? PathText.decode(Array((link ?? "").utf8)) }
    var content: [UInt8] {
      if let data { return Golden.bytes(data) }
      let size = size ?? 0
      return (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ size) }
    }
    var attributes: [(name: String, value: [UInt8])] { (xattrs ?? [:]).map { ($0.key, Golden.bytes($0.value)) } }
    var kind: FileKind {
      switch type {
      case "dir", "root": .directory
      case "symlink": .symbolicLink
      case "char": .characterDevice
      case "block": .blockDevice
      case "fifo": .fifo
      case "socket": .socket
      default: .regular
      }
    }
    var device: DeviceNumber { DeviceNumber(major: major ?? 0, minor: minor ?? 0) }
  }
  struct Query: Decodable, Sendable {
    var path: String
    var followLinks: Bool?, wildcard: Bool?
    var include: [String]?, exclude: [String]?, required: [String]?
    var digest: String?, error: String?
    var selector: ContentSelector {
      ContentSelector(
        path: path, wildcard: wildcard ?? false, followLinks: followLinks ?? false, includePatterns: include ?? [], excludePatterns: exclude ?? [],
        requiredPaths: required ?? [])
    }
  }
  var name: String
  var local: Bool?
  var entries: [Entry]
  var checksums: [Query]
  var testDescription: String { name }

  /// Makes it on a disk.
  func write(to root: Directory) throws {
    try root.setMode(".", 0o755)
    for entry in entries {
      let path = entry.type == "root" ? "." : entry.name
      switch entry.type {
      case "root": break
      case "dir": try root.makeDirectory(path)
      case "file": try root.openFile(path, flags: [.writeOnly, .create, .exclusive]).write(entry.content)
      case "symlink": try root.symlink(target: entry.target, at: path)
      case "hardlink":
        try root.hardlink(from: entry.target, to: path)
        continue
      default: try root.makeNode(path, kind: entry.kind, mode: 0o600, device: entry.device)
      }
      try root.setOwner(path, uid: entry.uid ?? 0, gid: entry.gid ?? 0)
      if entry.type != "symlink" { try root.setMode(path, entry.mode ?? 0) }
      for (name, value) in entry.attributes { try root.setXattr(path, name, value) }
    }
  }

  /// The wrong ones among the checksums.
  func mistakes(in tree: any TreeReader) -> [String] {
    let shared = ContentHash(tree)
    return checksums.flatMap { query in
      // What was hashed before must make no difference.
      [ContentHash(tree), shared].compactMap { hash in
        let found = Result { try hash.digest(of: query.selector).description }
        switch (found, query.digest) {
        case (.success(let digest), let expected?) where digest == expected: return nil
        case (.failure, nil): return nil
        default: return "\(name): \(query) gives \(found)"
        }
      }
    }
  }
}

/// A tree whose entries exist only here; the content of its files is in files of a scratch folder.
final class MemoryTree: TreeReader {
  private struct Node {
    var status: FileStatus
    var link = ""
    var xattrs: [(name: String, value: [UInt8])] = []
    var place = ""
  }
  private let nodes: [ExactPath: Node]
  private let names: [ExactPath: [String]]
  private let scratch: Directory
  let rootDigest: Digest?
  let deviceNumbersCount: Bool
  let rememberedHashes: (any RememberedHashes)?

  init(_ golden: GoldenTree, scratch: Directory, remembered: (any RememberedHashes)? = nil) throws {
    let isLocal = golden.local ?? false
    var nodes = [ExactPath(""): Node(status: FileStatus(mode: 0o040755))]
    var names: [ExactPath: [String]] = [:]
    for (index, entry) in golden.entries.enumerated() {
      var node = Node(status: FileStatus(mode: entry.kind.typeBits | (entry.kind == .symbolicLink ? 0o777 : entry.mode ?? 0)))
      if entry.kind == .regular {
        node.place = "\(index)"
        let file = try scratch.openFile(node.place, flags: [.readWrite, .create, .truncate])
        try file.write(entry.content)
        let mode = node.status.mode
        node.status = try file.status()
        node.status.mode = mode
      }
      node.status.rdev = entry.device
      (node.status.uid, node.status.gid) = isLocal ? (0, 0) : (entry.uid ?? 0, entry.gid ?? 0)
      node.link = entry.target
      node.xattrs = entry.attributes
      if entry.type == "hardlink", let other = nodes[ExactPath(entry.target)] { node = other }
      let path = entry.type == "root" ? "" : entry.name
      nodes[ExactPath(path)] = node
      if !path.isEmpty { names[ExactPath(TreePaths.parent(path)), default: []].append(TreePaths.name(path)) }
    }
    self.nodes = nodes
    self.names = names.mapValues { TreePaths.sorted($0) }
    self.scratch = scratch
    // Of a client's directory with nothing in it the peers hear nothing, and read the empty snapshot they made for it.
    rootDigest = isLocal && !golden.entries.isEmpty ? .sha256(of: "") : nil
    deviceNumbersCount = isLocal
    rememberedHashes = remembered
  }

  private func node(_ path: String) throws -> Node {
    guard let node = nodes[ExactPath(path)] else { throw TreeError(.notFound, path) }
    return node
  }
  func status(_ path: String) throws -> FileStatus? { nodes[ExactPath(path)]?.status }
  func children(_ path: String) throws -> [String] { names[ExactPath(path)] ?? [] }
  func readLink(_ path: String) throws -> String { try node(path).link }
  func open(_ path: String) throws -> HostOS.Descriptor { try scratch.openFile(try node(path).place) }
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])] { try node(path).xattrs }
}

/// A folder of its own for a test, removed afterwards.
func withScratch<Value>(_ body: (String, Directory) throws -> Value) throws -> Value {
  let path = NSTemporaryDirectory() + "/manifold-keys-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path, try Directory.open(path))
}

/// What ContentStore's cache of file hashes does, in memory.
final class HashMemory: RememberedHashes {
  private struct Key: Hashable {
    var inode: UInt64, size: Int64, mtime: Int64, ctime: Int64
    init(_ s: FileStatus) { (inode, size, mtime, ctime) = (s.inode, s.size, s.mtime, s.ctime) }
  }
  private let known = Mutex<[Key: Digest]>([:])
  let misses = Mutex(0)
  func lookup(_ files: [FileStatus]) throws -> [Digest?] {
    let found = known.withLock { known in files.map { known[Key($0)] } }
    misses.withLock { $0 += found.filter { $0 == nil }.count }
    return found
  }
  func remember(_ hashes: [(file: FileStatus, digest: Digest)], began: Int64) throws {
    known.withLock { known in for (file, digest) in hashes { known[Key(file)] = digest } }
  }
}
