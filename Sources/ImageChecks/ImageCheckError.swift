package import OCIModel

/// Why an image could not be checked or compared at all. What is wrong with an image is no error but a `Finding`.
package struct ImageCheckError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    /// The image has none of the platforms that were asked for.
    case noSuchPlatform
    /// What the name stands for is no image.
    case notAnImage
    /// The image is damaged, so that it cannot be compared: `manifold verify` says more.
    case damaged
  }
  package var code: Code
  package var message: String
  package var cause: (any Error)?
  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) { (self.code, self.message, self.cause) = (code, message, cause) }
  package var description: String { cause.map { "\(message): \($0)" } ?? message }
}

/// What a layer may cost its reader. Decompression has limits of its own (`DecompressionLimits`).
package struct ScanLimits: Sendable {
  /// Entries of one layer, and files and directories of one image. Default: 5 million.
  package var entries: Int
  /// Bytes of names and links of one layer. Default: 512 MiB.
  package var nameBytes: Int
  /// Deeper paths are refused, as when a layer is unpacked.
  package var depth = 256
  /// Longer links are refused, as by Linux.
  package var linkBytes = 4095
  package var links = 255
  package init(entries: Int = 5_000_000, nameBytes: Int = 512 << 20) { (self.entries, self.nameBytes) = (entries, nameBytes) }
  package static let `default` = ScanLimits()
}
