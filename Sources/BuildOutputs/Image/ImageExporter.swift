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

  init(_ attributes: inout ExportAttributes) throws {
    options = try ImageOptions(&attributes)
    pushes = try attributes.flag("push") ?? (attributes.type == "registry")
    pushesByDigest = try attributes.flag("push-by-digest") ?? false
    // What is only pushed need not be here: the layers of a base image stay where they are.
    stores = try attributes.flag("store") ?? !pushes
    // The store finds `name@digest` for whatever it has under a name.
    _ = try attributes.flag("name-canonical")
    // There is one form of image here, which steps and `run` unpack when they need it.
    _ = try attributes.flag("unpack")
    try attributes.refuse("registry.insecure", "name the registry with --insecure-registry")
    try attributes.refuse("dangling-name-prefix", unless: [""])
    _ = attributes.text("danging-name-empty-only")
    try attributes.finish()
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
        let image = try await ImageWriter(options: options).write(source, vertex)
        if stores { try await keep(image, source, environment, vertex, lease) }
        if pushes {
          try await ImagePush(image: image, environment: environment, vertex: vertex, byDigest: pushesByDigest).push(to: options.names)
        }
        return image.response(root: image.root.descriptor, names: options.nameText)
      }
    }
  }

  /// The names are given last, all at once.
  private func keep(_ image: WrittenImage, _ source: ExportSource, _ environment: ExportEnvironment, _ vertex: ProgressTask, _ lease: Lease) async throws {
    try await ExportErrors.wrapping("cannot store the image") {
      // Some of it may be here from an image that nobody names any more.
      try await lease.pin(image.documents.map(\.descriptor.digest) + image.layers.map(\.layer.descriptor.digest))
      try await image.store(in: environment.store, source)
      guard !options.names.isEmpty else { return }
      var descriptor = image.root.descriptor
      descriptor.annotations = [:]
      try await environment.images.tag(options.names.map(\.withDefaultTag), descriptor)
    }
    for name in options.names { vertex.done("naming to \(name.withDefaultTag)") }
  }
}
