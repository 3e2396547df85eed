internal import BuildProgress
internal import BuildInterface
internal import ContentStore
internal import OCIModel

/// `type=image` and `type=registry`: an image into the local store, a registry, or both.
struct ImageExporter: Exporter {
  private let options: ImageOptions
  private let pushes: Bool
  private let pushesByDigest: Bool
  private let stores: Bool
  /// The image is kept under this name and its digest, too.
  private let dangling: Reference?
  private let danglingOnlyWithoutName: Bool

  init(_ attributes: inout ExportAttributes) throws {
    options = try ImageOptions(&attributes, inlineAttestations: true)
    pushes = try attributes.flag("push") ?? (attributes.type == "registry")
    pushesByDigest = try attributes.flag("push-by-digest") ?? false
    // The store finds `name@digest` for whatever it has under a name.
    _ = try attributes.flag("name-canonical")
    // There is one form of image here, which steps and `run` unpack when they need it.
    _ = try attributes.flag("unpack")
    // The build's registry client is told beforehand (`InsecureRegistries`).
    _ = try attributes.flag("registry.insecure")
    dangling = try attributes.text("dangling-name-prefix").flatMap { text in
      if text.isEmpty { return nil }
      do { return try Reference(parsing: text).repository } catch { throw attributes.invalid("dangling-name-prefix", "cannot be used: \(error)") }
    }
    // What is only pushed need not be here: the layers of a base image stay where they are.
    stores = try attributes.flag("store") ?? (!pushes || dangling != nil)
    // Spelt so by the peers.
    danglingOnlyWithoutName = try attributes.flag("danging-name-empty-only") ?? false
    try attributes.finish()
    if options.attestations.place == .referrers, !pushes { throw attributes.invalid("attestations", "is referrers, which a registry holds: push the image") }
    if pushes {
      guard !options.names.isEmpty else { throw attributes.invalid("push", "needs a name: give the image a tag") }
      if pushesByDigest, let tagged = options.names.first(where: { $0.tag != nil || $0.digest != nil }) {
        throw attributes.invalid("push-by-digest", "cannot be done for \(tagged.familiar): give the name without a tag")
      }
    }
    if let named = options.names.first(where: { $0.digest != nil }) {
      throw attributes.invalid("name", "is \(named.familiar): a digest is found, not given")
    }
  }

  func export(_ source: ExportSource, in environment: ExportEnvironment) async throws -> [String: String] {
    try await ProgressTask.export("exporting to image", environment.progress) { vertex in
      try await environment.store.withLease("export") { lease in
        let pushed = LayerPushes(LayerPush(environment: environment, vertex: vertex))
        return try await pushed.sending(to: pushes ? options.names.first?.repository : nil) { made in
          let image = try await ImageWriter(options: options, layerMade: made).write(source, vertex)
          if stores { try await keep(image, source, environment, vertex, lease) }
          if pushes { try await push(image, pushed, environment, vertex, lease) }
          environment.imageMade(image.exported(as: image.root.descriptor))
          return image.response(root: image.root.descriptor, names: ([options.nameText] + danglingNames(image).map(\.shown)).filter { !$0.isEmpty }.joined(separator: ","))
        }
      }
    }
  }

  private func push(_ image: WrittenImage, _ layers: LayerPushes, _ environment: ExportEnvironment, _ vertex: ProgressTask, _ lease: Lease) async throws {
    // What goes by its digest has no name to be kept under; its parts are in the cache.
    let kept = stores || pushesByDigest ? nil : await UnpushedImage.keep(image, names: options.names, in: environment, lease)
    do {
      try await ImagePush(image: image, environment: environment, vertex: vertex, layers: layers, byDigest: pushesByDigest).push(to: options.names)
    } catch {
      throw kept != nil || (stores && !pushesByDigest) ? UnpushedImage.explained(error, names: options.names) : error
    }
    await kept?.arrived()
  }

  /// The names are given last, all at once.
  private func keep(_ image: WrittenImage, _ source: ExportSource, _ environment: ExportEnvironment, _ vertex: ProgressTask, _ lease: Lease) async throws {
    try await ExportErrors.wrapping("cannot store the image") {
      // Some of it may be here from an image that nobody names any more.
      try await lease.pin(image.documents.map(\.descriptor.digest) + image.layers.map(\.layer.descriptor.digest))
      try await image.store(in: environment.store, source)
      let names = try options.names.map(\.withDefaultTag) + danglingNames(image).map { try $0.kept() }
      guard !names.isEmpty else { return }
      var descriptor = image.root.descriptor
      descriptor.annotations = [:]
      try await environment.images.tag(names, descriptor)
    }
    for name in options.names.map(\.withDefaultTag.description) + danglingNames(image).map(\.shown) { vertex.done("naming to \(name)") }
  }

  private struct DanglingName {
    let repository: Reference
    let digest: Digest
    var shown: String { "\(repository)@\(digest)" }
    /// The store's names have tags; `name@digest` finds any of them.
    func kept() throws -> Reference { try repository.with(tag: "\(digest.algorithm.rawValue)-\(digest.hex)") }
  }

  private func danglingNames(_ image: WrittenImage) -> [DanglingName] {
    guard let dangling, options.names.isEmpty || !danglingOnlyWithoutName else { return [] }
    return [DanglingName(repository: dangling, digest: image.root.descriptor.digest)]
  }
}
