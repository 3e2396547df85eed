import HostOS

/// What went wrong with an archive, a compressed stream or a layer: what, at which entry, why.
package struct LayerArchiveError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    /// The bytes are not a tar archive, or not a valid one.
    case invalidArchive
    /// The archive or the compressed stream ends too early.
    case truncated
    /// The compressed stream is damaged.
    case corruptCompression
    /// A format that is not read here (xz, bzip2, an unknown entry type, …).
    case unsupported
    /// A limit of `TarLimits`, `DecompressionLimits` or `ApplyLimits` was reached.
    case limit
    /// An entry that must not be applied: it reaches out of the root, names nothing, has an impossible owner or device number.
    case invalidEntry
    /// A hard link's target is not there.
    case missingLinkTarget
    /// The layer cannot be applied without seeing the layers below (`LowerView.later` was given).
    case needsLowerView
    /// The user namespace has no such user or group.
    case unmappedOwner
    /// A file changed while it was archived.
    case changedWhileRead
    /// What cannot be put in a layer (an overlay with redirect_dir or metacopy, a name that begins with ".wh.").
    case unrepresentable
    /// An option's value has no meaning.
    case invalidOption
    /// The system refused; `cause` says what.
    case system
  }
  package var code: Code
  package var message: String
  /// The archive's entry or the tree's file.
  package var path: ByteString?
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, path: ByteString? = nil, cause: (any Error)? = nil) {
    (self.code, self.message, self.path, self.cause) = (code, message, path, cause)
  }

  package var description: String {
    var text = message
    if let path { text = "\(path): \(text)" }
    if let cause { text += ": \(cause)" }
    return text
  }

  /// `result` is a C function's answer, a negated errno when negative.
  @discardableResult
  @inline(__always)
  static func check<Value: BinaryInteger & SignedNumeric>(_ result: Value, _ operation: @autoclosure () -> String, _ path: @autoclosure () -> ByteString) throws -> Value {
    if result < 0 { throw system(Int32(-result), operation(), path()) }
    return result
  }

  static func system(_ errno: Int32, _ operation: String, _ path: ByteString) -> LayerArchiveError {
    LayerArchiveError(.system, "cannot \(operation)", path: path, cause: HostError(errno: errno, operation: operation, path: ""))
  }

  /// The errno behind the error, or 0.
  var errno: Int32 { (cause as? HostError)?.errno ?? 0 }
}
