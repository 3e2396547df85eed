import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Extended attributes of what a path names, a symbolic link itself included. Blocks; call through Blocking.run.
extension Directory {
  /// The names, in the filesystem's order. Empty where the filesystem has no such attributes.
  package func xattrNames(_ path: String) throws -> [String] {
    let bytes = try xattrBytes(path, "list attributes") { hostos_xattr_list($0, $1, $2?.assumingMemoryBound(to: CChar.self), $3) }
    guard let bytes else { return [] }
    return bytes.split(separator: 0).map { PathText.decode(Array($0)) }
  }

  /// nil when there is no such attribute.
  package func xattr(_ path: String, _ name: String) throws -> [UInt8]? {
    try withPath(name, "read attribute") { attribute in
      try xattrBytes(path, "read attribute \(name) of") { hostos_xattr_get($0, $1, attribute, $2, $3) }
    }
  }

  package func setXattr(_ path: String, _ name: String, _ value: [UInt8]) throws {
    let (directory, last) = try parent(of: path)
    let result = try withPath(name, "set attribute") { attribute in
      try withPath(last, "set attribute") { last in
        value.withUnsafeBytes { value in
          // An empty value is not an absent one: the kernel wants an address either way.
          directory.with { hostos_xattr_set($0, last, attribute, value.baseAddress, value.count) }
        }
      }
    }
    try checked(result, "set attribute \(name) of", path)
  }

  package func removeXattr(_ path: String, _ name: String) throws {
    let (directory, last) = try parent(of: path)
    let result = try withPath(name, "remove attribute") { attribute in
      try withPath(last, "remove attribute") { last in directory.with { hostos_xattr_remove($0, last, attribute) } }
    }
    if result == -hostos_no_attribute { throw HostError(.noAttribute, errno: -result, operation: "remove attribute \(name) of", path: path) }
    try checked(result, "remove attribute \(name) of", path)
  }

  /// nil when there is no such attribute, or the filesystem has none.
  private func xattrBytes(
    _ path: String, _ operation: String, _ call: (Int32, UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int
  ) throws -> [UInt8]? {
    let (directory, name) = try parent(of: path)
    return try withPath(name, operation) { name in
      try directory.with { fd in try attributeBytes(operation, path) { call(fd, name, $0, $1) } }
    }
  }
}

extension Descriptor {
  /// All extended attributes of the open file that can be read, in the filesystem's order.
  package func attributes() throws -> [(name: String, value: [UInt8])] {
    let names = try withExtendedLifetime(self) {
      try attributeBytes("list attributes", "") { hostos_xattr_list(raw, "", $0?.assumingMemoryBound(to: CChar.self), $1) }
    }
    guard let names, !names.isEmpty else { return [] }
    return names.split(separator: 0).compactMap { bytes in
      let name = PathText.decode(Array(bytes))
      // One that is listed and cannot be read counts as absent.
      let value = try? withPath(name, "read attribute") { attribute in
        try withExtendedLifetime(self) { try attributeBytes("read attribute", "") { hostos_xattr_get(raw, "", attribute, $0, $1) } }
      }
      return value.flatMap { $0 }.map { (name, $0) }
    }
  }
}

/// nil when there is no such attribute, or the filesystem has none.
private func attributeBytes(_ operation: String, _ path: String, _ call: (UnsafeMutableRawPointer?, Int) -> Int) throws -> [UInt8]? {
  // Nearly always there are none, or short ones.
  let (count, short) = withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer -> (Int, [UInt8]) in
    let n = call(buffer.baseAddress, 256)
    return (n, n > 0 ? Array(buffer[..<n]) : [])
  }
  if count >= 0 { return short }
  var failure = Int32(-count)
  var size = 4096
  while failure == ERANGE, size <= 1 << 20 {
    var n = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
      n = call(buffer.baseAddress, size)
      initialized = max(0, n)
    }
    if n >= 0 { return bytes }
    failure = Int32(-n)
    size *= 8
  }
  if failure == hostos_no_attribute || failure == EOPNOTSUPP { return nil }
  throw HostError(errno: failure, operation: operation, path: path)
}
