internal import BuildInterface
internal import ContentStore
internal import OCIModel

/// An image on its way to a registry, under its names in the local store, so that no failure, however sudden, loses it. What of its base lies in a registry stays
/// there: the store remembers where.
struct UnpushedImage: Sendable {
  private let images: LocalImages
  private let names: [Reference]
  private let descriptor: Descriptor
  /// What the names stood for before.
  private let before: [Reference: Earlier]

  private struct Earlier: Sendable {
    var descriptor: OCIModel.Descriptor
    var created: Timestamp
  }

  /// Nil when the store cannot take it: then the push is all the more needed.
  static func keep(_ image: WrittenImage, names: [Reference], in environment: ExportEnvironment, _ lease: Lease) async -> UnpushedImage? {
    let (store, images) = (environment.store, environment.images)
    var descriptor = image.root.descriptor
    (descriptor.annotations, descriptor.platform) = ([:], nil)
    let names = names.map(\.withDefaultTag)
    do {
      try await lease.pin(image.documents.map(\.descriptor.digest) + image.layers.map(\.layer.descriptor.digest))
      for document in image.documents { try await store.put(document.bytes, mediaType: document.descriptor.mediaType) }
      for (layer, _) in image.layers where layer.provider != nil {
        if let origin = layer.origin { try await store.noteOrigin(origin, of: [layer.descriptor.digest]) }
      }
      var before: [Reference: Earlier] = [:]
      for name in names { before[name] = try await images.resolve(name).map { Earlier(descriptor: $0.descriptor, created: $0.created) } }
      try await images.tag(names, descriptor)
      return UnpushedImage(images: images, names: names, descriptor: descriptor, before: before)
    } catch { return nil }
  }

  /// It is where it was to go: the names are again what they were.
  func arrived() async {
    for name in names {
      guard let now = try? await images.resolve(name), now.descriptor.digest == descriptor.digest else { continue }
      if let old = before[name] {
        if old.descriptor.digest != descriptor.digest { _ = try? await images.tag(name, old.descriptor, created: old.created) }
      } else {
        _ = try? await images.untag(name)
      }
    }
  }

  /// An error that says that nothing is lost.
  static func explained(_ error: any Error, names: [Reference]) -> any Error {
    guard var failure = error as? BuildError, let first = names.first?.withDefaultTag.familiar else { return error }
    let all = names.map(\.withDefaultTag.familiar).joined(separator: ", ")
    let told = "The image is in the local store as \(all), and what was sent stays where it is: manifold push --resume \(first) goes on where this stopped."
    failure.suggestion = failure.suggestion.map { $0 + "\n" + told } ?? told
    return failure
  }
}
