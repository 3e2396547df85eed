internal import BuildInterface
internal import BuildKitProto
internal import HostOS
internal import OCIModel
internal import SwiftProtobuf
internal import PathPatterns

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// What clients and frontends read of trees: parts of files, listings and statuses in fsutil's form. All of it blocks.
enum ReferenceFiles {
  /// Entries of one listing at most.
  static let maximumEntries = 200_000

  static func read(_ path: String, offset: Int64, length: Int64?, limit: Int, in tree: any TreeReader) throws -> [UInt8] {
    guard offset >= 0, length ?? 0 >= 0 else { throw TreeError("\"\(path)\": a part of a file begins at its start or later, and is not shorter than nothing") }
    let resolved = try TreePaths.resolve(path, in: tree, followLast: true)
    guard let status = try tree.status(resolved), !resolved.isEmpty else { throw TreeError(.notFound, "open \(path): no such file or directory") }
    guard status.kind == .regular else { throw TreeError("\(path) is not a regular file") }
    let wanted = min(length ?? .max, max(0, Int64(clamping: status.size) - offset))
    guard wanted <= Int64(limit) else {
      throw TreeError("\(path): \(wanted) bytes are more than fit into one answer (\(limit)); read it in parts")
    }
    var bytes = [UInt8](repeating: 0, count: Int(wanted))
    let file = try tree.open(resolved)
    let n = try bytes.withUnsafeMutableBytes { try file.readFully(into: $0, at: offset) }
    return Array(bytes[..<n])
  }

  static func list(_ path: String, matching pattern: String, in tree: any TreeReader) throws -> [Fsutil_Types_Stat] {
    let resolved = try TreePaths.resolve(path, in: tree, followLast: true)
    guard resolved.isEmpty ? true : try tree.status(resolved)?.kind == .directory else {
      if try tree.status(resolved) == nil { throw TreeError(.notFound, "open \(path): no such file or directory") }
      throw TreeError("\(path) is not a directory")
    }
    let patterns: PatternList?
    do { patterns = pattern.isEmpty ? nil : try PatternList([pattern]) } catch { throw TreeError("\(error)") }
    let names = try tree.children(resolved).filter { patterns?.matches($0) ?? true }
    guard names.count <= maximumEntries else { throw TreeError("\(path) has \(names.count) entries, more than the limit of \(maximumEntries)") }
    var first: [UInt64: String] = [:]
    return try names.compactMap { name in
      let place = TreePaths.join(resolved, name)
      guard let status = try tree.status(place) else { return nil }
      var stat = try Self.stat(status, name: name, place: place, in: tree)
      // The second name of a file points at the first, as when a client's directory is sent.
      if status.links > 1, status.kind == .regular {
        if let earlier = first[status.inode] { (stat.linkname, stat.size) = (earlier, 0) } else { first[status.inode] = name }
      }
      return stat
    }
  }

  static func status(of path: String, in tree: any TreeReader) throws -> Fsutil_Types_Stat {
    let resolved = try TreePaths.resolve(path, in: tree, followLast: true)
    guard let status = try tree.status(resolved) else {
      // A tree without anything in it has a root all the same.
      if resolved.isEmpty { return .with { $0.mode = GoFileMode.directory | 0o755 } }
      throw TreeError(.notFound, "lstat \(path): no such file or directory")
    }
    return try stat(status, name: TreePaths.name(resolved), place: resolved, in: tree)
  }

  private static func stat(_ status: FileStatus, name: String, place: String, in tree: any TreeReader) throws -> Fsutil_Types_Stat {
    var stat = Fsutil_Types_Stat()
    stat.path = name
    stat.mode = GoFileMode.bits(status)
    (stat.uid, stat.gid) = (status.uid, status.gid)
    stat.modTime = status.mtime
    if status.kind != .directory {
      stat.size = Int64(clamping: status.size)
      if status.kind == .symbolicLink { stat.linkname = try tree.readLink(place) }
      if status.kind == .characterDevice || status.kind == .blockDevice { (stat.devmajor, stat.devminor) = (Int64(status.rdev.major), Int64(status.rdev.minor)) }
    }
    for (key, value) in (try? tree.xattrs(place)) ?? [] { stat.xattrs[key] = Data(value) }
    return stat
  }
}

/// Go's os.FileMode, which fsutil has on the wire. Sockets have no kind there.
enum GoFileMode {
  static let directory: UInt32 = 1 << 31

  static func bits(_ status: FileStatus) -> UInt32 {
    var mode = status.mode & 0o777
    switch status.kind {
    case .directory: mode |= directory
    case .symbolicLink: mode |= 1 << 27
    case .blockDevice: mode |= 1 << 26
    case .characterDevice: mode |= 1 << 26 | 1 << 21
    case .fifo: mode |= 1 << 25
    case .regular, .socket, .unknown: break
    }
    if status.mode & 0o4000 != 0 { mode |= 1 << 23 }
    if status.mode & 0o2000 != 0 { mode |= 1 << 22 }
    if status.mode & 0o1000 != 0 { mode |= 1 << 20 }
    return mode
  }
}

extension EngineReference {
  func readFile(_ path: String, offset: Int64, length: Int64?, limit: Int) async throws -> [UInt8] {
    try await read { try ReferenceFiles.read(path, offset: offset, length: length, limit: limit, in: $0) }
  }
  func readDirectory(_ path: String, matching pattern: String) async throws -> [Fsutil_Types_Stat] { try await read { try ReferenceFiles.list(path, matching: pattern, in: $0) } }
  func status(of path: String) async throws -> Fsutil_Types_Stat { try await read { try ReferenceFiles.status(of: path, in: $0) } }
}
