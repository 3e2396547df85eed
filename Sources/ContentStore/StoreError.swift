import HostOS
package import OCIModel

import GRDB

/// What the store refused or could not do, where, and what to do about it.
package struct StoreError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    case notFound
    /// The bytes are not those of the digest or size that was promised.
    case digestMismatch, sizeMismatch
    /// More bytes than the caller's limit.
    case tooLarge
    case newerSchema, networkFilesystem, otherIDMap, notWritable, noSpace
    /// The database or a blob is damaged.
    case corrupt
    /// Others kept the database locked for longer than the busy timeout.
    case busy
    case invalid, system
  }

  package var code: Code
  package var message: String
  /// The file or directory it is about; empty for none.
  package var path: String
  package var digest: Digest?
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, path: String = "", digest: Digest? = nil, cause: (any Error)? = nil) {
    (self.code, self.message, self.path, self.digest, self.cause) = (code, message, path, digest, cause)
  }

  package var description: String { message + (cause.map { ": \($0)" } ?? "") }
}

extension StoreError {
  /// An error of the system or the database as one of the store's; others pass unchanged.
  static func wrap(_ error: any Error, _ what: String, root: String) -> any Error {
    switch error {
    case let error as HostError:
      switch error.code {
      case .noSpace:
        return StoreError(
          .noSpace, "\(what): no space left on the device that holds \(root): free some, or put the store elsewhere with --root", path: error.path, cause: error)
      case .permission, .readOnly:
        return StoreError(.notWritable, "\(what): \(root) is not writable by this user: give --root (or MANIFOLD_ROOT) a directory that is", path: error.path, cause: error)
      case .notFound: return StoreError(.notFound, what, path: error.path, cause: error)
      default: return StoreError(.system, what, path: error.path, cause: error)
      }
    case let error as DatabaseError:
      let path = root + "/" + StoreLayout.database
      switch error.resultCode {
      case .SQLITE_FULL:
        return StoreError(.noSpace, "\(what): no space left on the device that holds \(root): free some, or put the store elsewhere with --root", path: path, cause: error)
      case .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM:
        return StoreError(.notWritable, "\(what): \(path) is not writable by this user: give --root (or MANIFOLD_ROOT) a directory that is", path: path, cause: error)
      case .SQLITE_BUSY, .SQLITE_LOCKED:
        return StoreError(.busy, "\(what): another process has kept \(path) locked: end it, or try again", path: path, cause: error)
      case .SQLITE_CORRUPT, .SQLITE_NOTADB:
        return StoreError(.corrupt, "\(what): \(path) is damaged: remove it (the cache starts anew) or use another --root", path: path, cause: error)
      default: return StoreError(.system, what, path: path, cause: error)
      }
    default: return error
    }
  }

  static func wrapping<T>(_ what: @autoclosure () -> String, root: String, _ body: () throws -> T) throws -> T {
    do { return try body() } catch { throw wrap(error, what(), root: root) }
  }
}
