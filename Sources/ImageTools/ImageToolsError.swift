package import OCIModel

/// What is wrong with an image of the local store, an archive of images, or what was asked of them.
package struct ImageToolsError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    /// No image of that name or id.
    case noSuchImage
    /// An id that several images have, or a name that stands for more than can be meant.
    case ambiguous
    /// The image has nothing for the platform.
    case noSuchPlatform
    /// The image is for the platform, but its content is not here.
    case notHere
    /// The archive is damaged, or none of images.
    case invalidArchive
    case unsupported
  }
  package var code: Code
  /// What, where and why.
  package var message: String
  /// What to do about it.
  package var suggestion: String?
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, suggestion: String? = nil, cause: (any Error)? = nil) {
    (self.code, self.message, self.suggestion, self.cause) = (code, message, suggestion, cause)
  }
  package var description: String { message + (cause.map { ": \($0)" } ?? "") }

  package static func noSuchImage(_ text: String) -> ImageToolsError { ImageToolsError(.noSuchImage, "No such image: \(text.prefix(300))") }

  /// `name` has no image for `wanted`: says which it has, and the nearest.
  package static func noSuchPlatform(_ name: String, _ wanted: Platform, has platforms: [Platform]) -> ImageToolsError {
    let sorted = PlatformMatcher.nearest(platforms, to: wanted)
    var suggestion = sorted.isEmpty ? "It says of no image which platform it is for." : "It has \(sorted.map(\.fullDescription).joined(separator: ", "))."
    if let near = sorted.first, sorted.count > 1, near.os == wanted.os, PlatformMatcher(only: wanted).matches(near) || near.architecture == wanted.normalized.architecture {
      suggestion += " The nearest is \(near.fullDescription)."
    }
    return ImageToolsError(.noSuchPlatform, "\(name) has no image for \(wanted.fullDescription)", suggestion: suggestion)
  }
}
