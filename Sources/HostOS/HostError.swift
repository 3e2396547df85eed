#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What the system refused, about which path, and why.
package struct HostError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    case notFound, exists, notDirectory, isDirectory, notEmpty
    /// A symbolic link where none may be, or too many of them in a row.
    case symbolicLink
    /// The path leads out of the directory that it must stay beneath.
    case escapes
    case permission, readOnly, noSpace, tooManyFiles, busy, crossDevice, notSupported, nameTooLong, invalid, noAttribute
    /// More than the limit that the caller set.
    case tooLarge
    /// The host cannot do what is needed at all; the message says how to mend it.
    case unavailable
    case system
  }

  package var code: Code
  package var errno: Int32
  package var operation: String
  package var path: String
  package var message: String?
  package var cause: (any Error)?

  package init(_ code: Code, errno: Int32 = 0, operation: String, path: String = "", message: String? = nil, cause: (any Error)? = nil) {
    (self.code, self.errno, self.operation, self.path, self.message, self.cause) = (code, errno, operation, path, message, cause)
  }

  package init(errno: Int32, operation: String, path: String) {
    self.init(HostError.code(of: errno), errno: errno, operation: operation, path: path)
  }

  package var description: String {
    var text = operation
    if !path.isEmpty { text += " \(path)" }
    if let message { text += ": \(message)" }
    if errno != 0 { text += message == nil ? ": \(HostError.text(of: errno))" : " (\(HostError.text(of: errno)))" }
    if let cause { text += ": \(cause)" }
    return text
  }

  static func text(of number: Int32) -> String { String(cString: strerror(number)) }

  static func code(of number: Int32) -> Code {
    switch number {
    case ENOENT: .notFound
    case EEXIST: .exists
    case ENOTDIR: .notDirectory
    case EISDIR: .isDirectory
    case ENOTEMPTY: .notEmpty
    case ELOOP: .symbolicLink
    case EACCES, EPERM: .permission
    case EROFS: .readOnly
    case ENOSPC, EDQUOT: .noSpace
    case EMFILE, ENFILE: .tooManyFiles
    case EBUSY, ETXTBSY: .busy
    case EXDEV: .crossDevice
    case EOPNOTSUPP, ENOSYS, ENOTSUP: .notSupported
    case ENAMETOOLONG: .nameTooLong
    case EINVAL: .invalid
    default: .system
    }
  }
}

/// The value of a C function that answers a negated errno in failure.
@discardableResult
@inline(__always)
func checked<Value: BinaryInteger & SignedNumeric>(_ value: Value, _ operation: @autoclosure () -> String, _ path: @autoclosure () -> String) throws -> Value {
  if value < 0 { throw HostError(errno: Int32(-value), operation: operation(), path: path()) }
  return value
}
