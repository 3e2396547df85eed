internal import BuildProgress
internal import BuildInterface
internal import ContentStore
internal import HostOS
internal import OCIModel

/// `type=oci` and `type=docker`: an image as an OCI layout, in a tar archive or in a directory.
struct LayoutExporter: Exporter {
  enum Variant: String { case oci, docker }

  private let variant: Variant
  private let id: String
  private let options: ImageOptions
  private let isArchive: Bool
  /// The one of the build's platforms that the archive holds; nil: all.
  private let only: Platform?

  init(_ variant: Variant, id: String, _ attributes: inout ExportAttributes) throws {
    self.variant = variant
    self.id = id
    options = try ImageOptions(&attributes)
    isArchive = try attributes.flag("tar") ?? true
    only = try attributes.text("only-platform").map { text in
      do { return try Platform(parsing: text) } catch { throw attributes.invalid("only-platform", "is \(text): \(error)") }
    }
    // What the answers name is whole anyway.
    _ = try attributes.flag("prefer-image-digest")
    try attributes.finish()
    if options.attestations.place == .referrers { throw attributes.invalid("attestations", "is referrers, which only a registry holds") }
  }

  func export(_ whole: ExportSource, in environment: ExportEnvironment) async throws -> [String: String] {
    let source = try part(of: whole)
    if variant == .docker, source.isMultiPlatform {
      throw BuildError(
        .unimplemented, .usage, "type=docker holds an image of one platform, and this build has \(source.targets.map(\.id).joined(separator: ", "))",
        suggestion: "use type=oci, or build one platform")
    }
    if variant == .docker, try options.attestations.chosen(of: source).contains(where: { !$0.isEmpty }) {
      throw BuildError(.unimplemented, .usage, "type=docker holds an image without attestations", suggestion: "use type=oci, or build with --provenance=false")
    }
    let target = try await environment.destinations.target(id: id)
    return try await ProgressTask.export("exporting to \(variant.rawValue) image format", environment.progress) { vertex in
      try await environment.store.withLease("export") { _ in
        let image = try await ImageWriter(options: options).write(source, vertex)
        var root = image.root.descriptor
        if root.annotations[Self.created] == nil { root.annotations[Self.created] = (options.epoch(source) ?? wallClock()).wholeSeconds.description }
        let names = options.names.map(\.withDefaultTag)
        let response = image.response(root: root, names: names.map(\.description).joined(separator: ","))
        if isArchive {
          try await ImageLayers(targets: image.manifests.map(\.layers)).download(into: environment.store, source)
          try await sendArchive(image, root, names, response, to: target, environment, vertex)
        } else {
          try await image.store(in: environment.store, source)
          try await writeDirectory(root, names, to: target, environment, vertex)
        }
        environment.imageMade(image.exported(as: root))
        // A part says nothing for the whole.
        return only == nil ? response : [:]
      }
    }
  }

  private func part(of source: ExportSource) throws -> ExportSource {
    guard let only else { return source }
    guard let target = source.targets.first(where: { $0.platform.normalized == only.normalized }) else {
      throw BuildError(.invalidArgument, .usage, "nothing is built for \(only), which an output of type \(variant.rawValue) is to hold: there is \(source.targets.map(\.id).joined(separator: ", "))")
    }
    var part = source
    (part.targets, part.isMultiPlatform) = ([target], false)
    return part
  }

  private static let created = "org.opencontainers.image.created"

  private func sendArchive(
    _ image: WrittenImage, _ root: OCIModel.Descriptor, _ names: [Reference], _ response: [String: String], to target: ExportTarget, _ environment: ExportEnvironment,
    _ vertex: ProgressTask
  ) async throws {
    let archive = LayoutArchive(
      image: image, index: index(root, names).json.encoded(), dockerManifest: variant == .docker ? dockerManifest(image, names) : nil)
    let file = ExportFile(target: target)
    let store = environment.store
    let meter = ExportMeter(vertex, "sending tarball", total: image.layers.reduce(0) { $0 + $1.layer.descriptor.size })
    _ = try await ExportErrors.wrapping("cannot write the \(variant.rawValue) archive") {
      try await CancelFlag.watching { flag in
        try await file.write(response) { sink in try archive.write(into: sink, store: store, meter: meter) { flag.isSet } }
      }
    }
    meter.finish()
  }

  /// One entry a name; without a name one that has none.
  private func index(_ root: OCIModel.Descriptor, _ names: [Reference]) -> ImageIndex {
    var index = ImageIndex(manifests: names.isEmpty ? [root] : [])
    OCILayout.insert(root, names.map { LayoutName.name($0) }, into: &index)
    return index
  }

  private func dockerManifest(_ image: WrittenImage, _ names: [Reference]) -> [UInt8] {
    func path(_ descriptor: OCIModel.Descriptor) -> JSONValue { .string("blobs/\(descriptor.digest.algorithm.rawValue)/\(descriptor.digest.hex)") }
    let entries = image.manifests.map { manifest in
      JSONValue.object(
        JSONObject([
          ("Config", path(manifest.config.descriptor)), ("RepoTags", names.isEmpty ? .null : .array(names.map { .string($0.familiar) })),
          ("Layers", manifest.layers.isEmpty ? .null : .array(manifest.layers.map { path($0.descriptor) })),
        ]))
    }
    return JSONValue.array(entries).encoded()
  }

  private func writeDirectory(_ root: OCIModel.Descriptor, _ names: [Reference], to target: ExportTarget, _ environment: ExportEnvironment, _ vertex: ProgressTask) async throws {
    if case .remote = target {
      throw BuildError(
        .unimplemented, .usage, "type=\(variant.rawValue) with tar=false is not supported for a client behind a connection yet", suggestion: "leave tar=false out, and unpack the archive")
    }
    guard case .directory(let path) = target else {
      throw BuildError(.invalidArgument, .usage, "type=\(variant.rawValue) with tar=false needs a directory as its destination")
    }
    try await ExportErrors.wrapping("cannot write the OCI layout \(path)") {
      try await vertex.step("copying to \(path)") {
        let layout = try await Blocking.run { try OCILayout.create(path) }
        try await layout.write(root, names: names.map { LayoutName.name($0) }, from: environment.store)
      }
    }
  }
}

extension Timestamp {
  fileprivate var wholeSeconds: Timestamp { Timestamp(seconds: seconds) }
}
