import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension Directory {
  /// Removes what is at `path` with all that is beneath it. Nothing there is no error. No link is followed and no mount entered (HostError.busy),
  /// whatever the tree's owner does meanwhile; a tree of any depth takes a bounded number of descriptors; directories that their
  /// owner may not read are opened up first. Blocks; call through Blocking.run.
  package func removeTree(_ path: String) throws {
    let directory: Directory
    let name: String
    do { (directory, name) = try parent(of: path) } catch let error as HostError where error.code == .notFound { return }
    if name == "." { return try removeContents(path) }
    var remover = TreeRemover(top: directory, topPath: path)
    try remover.remove(name)
  }

  /// Removes everything beneath the directory at `path`, and keeps the directory.
  package func removeContents(_ path: String = ".") throws {
    let directory = try openDirectory(path)
    var remover = TreeRemover(top: directory, topPath: path)
    for entry in try directory.entries() { try remover.remove(entry.name) }
  }
}

private struct TreeRemover {
  /// Where directories from too deep are brought, and removed after.
  let top: Directory
  let topPath: String
  let topMount: UInt64?
  let topDevice: UInt64?
  var hoisted = 0
  var waiting: [String] = []
  static var deepest: Int { 64 }

  init(top: Directory, topPath: String) {
    (self.top, self.topPath) = (top, topPath)
    var mount: UInt64 = 0
    topMount = top.with { hostos_mount_id($0, &mount) } == 0 ? mount : nil
    topDevice = try? top.descriptor.status().device
  }

  mutating func remove(_ name: String) throws {
    try removeEntry(top, name, isDirectory: nil, depth: 0)
    while let next = waiting.popLast() { try removeEntry(top, next, isDirectory: true, depth: 0) }
  }

  private mutating func removeEntry(_ parent: Directory, _ name: String, isDirectory: Bool?, depth: Int) throws {
    if isDirectory != true {
      let error = try unlink(parent, name, 0)
      // Linux answers EISDIR for a directory, others EPERM.
      if error == 0 || error == ENOENT { return }
      if error != EISDIR, try error != EPERM || parent.statusIfPresent(name)?.kind != .directory {
        if error == EACCES || error == EPERM, (try? open(up: parent)) != nil, try unlink(parent, name, 0) == 0 { return }
        throw HostError(errno: error, operation: "remove", path: "\(topPath): \(name)")
      }
    } else if try unlink(parent, name, AT_REMOVEDIR) == 0 { return }
    if depth >= Self.deepest { return try hoist(parent, name) }
    let directory = try enter(parent, name)
    guard let directory else { return }
    for _ in 0..<1000 {
      let entries = try entriesOpeningUp(directory)
      for entry in entries { try removeEntry(directory, entry.name, isDirectory: entry.kind == .directory, depth: depth + 1) }
      let error = try unlink(parent, name, AT_REMOVEDIR)
      if error == 0 || error == ENOENT { return }
      // Someone put something in meanwhile: once more.
      if error != ENOTEMPTY, error != EEXIST { throw HostError(errno: error, operation: "remove", path: "\(topPath): \(name)") }
    }
    throw HostError(.notEmpty, errno: ENOTEMPTY, operation: "remove", path: "\(topPath): \(name)")
  }

  private func unlink(_ parent: Directory, _ name: String, _ flags: Int32) throws -> Int32 {
    try withPath(name, "remove") { name in parent.with { unlinkat($0, name, flags) == 0 ? 0 : errno } }
  }

  private mutating func hoist(_ parent: Directory, _ name: String) throws {
    hoisted += 1
    let fresh = ".manifold-remove-\(getpid())-\(hoisted)"
    // Moving a directory changes its "..", so it must be writable.
    if let child = try enter(parent, name), (try? child.descriptor.status().permissions & 0o200) == 0 { try? open(up: child) }
    let result = try withPath(name, "remove") { name in
      try withPath(fresh, "remove") { fresh in parent.with { p in top.with { t in hostos_rename(p, name, t, fresh, 0) } } }
    }
    try checked(result, "remove", "\(topPath): \(name)")
    waiting.append(fresh)
  }

  /// nil when it is gone.
  private func enter(_ parent: Directory, _ name: String) throws -> Directory? {
    let fd = try withPath(name, "remove") { name in parent.with { hostos_openat($0, name, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) } }
    if fd == -ENOENT { return nil }
    if fd == -EACCES {
      try open(up: parent)
      let again = try withPath(name, "remove") { name in parent.with { hostos_openat($0, name, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) } }
      return try admit(Descriptor(owning: try checked(again, "remove", "\(topPath): \(name)")), name)
    }
    return try admit(Descriptor(owning: try checked(fd, "remove", "\(topPath): \(name)")), name)
  }

  private func admit(_ descriptor: Descriptor, _ name: String) throws -> Directory {
    var mount: UInt64 = 0
    let known = hostos_mount_id(descriptor.raw, &mount) == 0
    let elsewhere = if let topMount, known { mount != topMount } else { try descriptor.status().device != topDevice }
    if elsewhere { throw HostError(.busy, errno: EBUSY, operation: "remove", path: "\(topPath): \(name)", message: "something is mounted there") }
    return Directory(descriptor: descriptor, walks: top.walks)
  }

  private func entriesOpeningUp(_ directory: Directory) throws -> [DirectoryEntry] {
    do { return try directory.entries() } catch let error as HostError where error.code == .permission {
      try open(up: directory)
      return try directory.entries()
    }
  }

  private func open(up directory: Directory) throws { try directory.descriptor.setMode(0o700) }
}
