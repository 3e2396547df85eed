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
      var size = 256
      while true {
        var count = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
          count = directory.with { call($0, name, buffer.baseAddress, size) }
          initialized = max(0, count)
        }
        if count >= 0 { return bytes }
        switch Int32(-count) {
        case hostos_no_attribute, EOPNOTSUPP: return nil
        case ERANGE where size < 1 << 20: size *= 8
        default: throw HostError(errno: Int32(-count), operation: operation, path: path)
        }
      }
    }
  }
}
