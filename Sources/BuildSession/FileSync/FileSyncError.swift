/// What went wrong between two ends of a transfer of files.
package struct FileSyncError: Error, CustomStringConvertible, Sendable {
  package enum Code: Sendable {
    /// The other end breaks the protocol.
    case violation
    /// More than is taken.
    case limit
    /// A file is not what was said of it.
    case changed
    /// The other end says that it failed.
    case peer
    /// The other end has gone.
    case ended
  }
  package var code: Code
  package var message: String
  package var cause: (any Error)?
  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) { (self.code, self.message, self.cause) = (code, message, cause) }
  package var description: String { cause.map { "\(message): \($0)" } ?? message }

  /// A name that a stranger gave, fit for a message.
  static func shown(_ path: [UInt8]) -> String {
    let text = String(decoding: path.prefix(200), as: UTF8.self)
    return "\"" + String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? "?" : $0 })) + (path.count > 200 ? "…\"" : "\"")
  }
}

/// How much one transfer may be.
package struct FileSyncLimits: Sendable {
  /// Entries in all.
  package var entries = 4_000_000
  /// Bytes of a path, and of a symbolic link's target (Linux's).
  package var path = 4095
  /// Bytes of one name.
  package var name = 255
  /// Bytes of what is said of one entry, its attributes with it.
  package var entry = 1 << 20
  /// Bytes that the files may have together, as they are announced.
  package var content: Int64 = 1 << 42
  /// Bytes of memory for what is asked for and has not come yet.
  package var outstanding = 512 << 20
  /// Large files that come at once; the peers' senders send four.
  package var openFiles = 64
  package init() {}
}
