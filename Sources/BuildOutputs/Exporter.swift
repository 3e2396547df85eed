package import BuildInterface
package import BuildProgress
package import BuildSnapshots
package import BuildSolver
package import ContentStore
package import OCIModel
package import OCIRegistry

/// The result of a build as exporters see it: one tree and image config per platform.
package struct ExportSource: Sendable {
  package struct Target: Sendable {
    /// `linux/arm/v7`: names folders and metadata.
    package var id: String
    package var platform: Platform
    /// nil for an empty filesystem. Lent for the length of the export.
    package var ref: ImmutableRef?
    /// The frontend's image config, without created times and rootfs; empty when a definition was solved without a frontend.
    package var imageConfig: [UInt8]
    /// The base image's config, when there is one: its lines of history keep their times under `SOURCE_DATE_EPOCH`.
    package var baseImageConfig: [UInt8]?
    package var attestations: [Attestation]
    package init(
      id: String, platform: Platform, ref: ImmutableRef?, imageConfig: [UInt8], baseImageConfig: [UInt8]? = nil, attestations: [Attestation] = []
    ) {
      self.id = id
      self.platform = platform
      self.ref = ref
      self.imageConfig = imageConfig
      self.baseImageConfig = baseImageConfig
      self.attestations = attestations
    }
  }
  /// In the order the platforms were asked for; never empty.
  package var targets: [Target]
  /// Whether an index is made, and folders per platform, even for one target.
  package var isMultiPlatform: Bool
  /// Seconds since 1970 that all times are set to (`SOURCE_DATE_EPOCH`); nil takes the clock.
  package var sourceDateEpoch: Int64?
  /// The cache that goes into the image config of the target of an id, with layers in a form; nil when the images carry none.
  package var inlineCache: (@Sendable (_ target: String, _ form: RemoteForm) async throws -> [UInt8]?)?
  package init(targets: [Target], isMultiPlatform: Bool, sourceDateEpoch: Int64? = nil) {
    self.targets = targets
    self.isMultiPlatform = isMultiPlatform
    self.sourceDateEpoch = sourceDateEpoch
  }
}

/// What exporters work with: the engine's stores, the client's registry connections and destinations, and a line of progress.
package struct ExportEnvironment: Sendable {
  package var store: ContentStore
  package var images: LocalImages
  package var refs: RefStore
  package var registry: RegistryClient
  package var destinations: any ExportService
  package var progress: any ProgressSink
  /// Told of an image that an exporter has made.
  package var imageMade: @Sendable (ExportedImage) -> Void = { _ in }
  package init(
    store: ContentStore, images: LocalImages, refs: RefStore, registry: RegistryClient, destinations: any ExportService, progress: any ProgressSink
  ) {
    self.store = store
    self.images = images
    self.refs = refs
    self.registry = registry
    self.destinations = destinations
    self.progress = progress
  }
}

/// An image that an exporter made, for the build's history.
package struct ExportedImage: Sendable {
  /// Of what stands for the whole.
  package var descriptor: OCIModel.Descriptor
  /// Index, manifests, configs and attestations: what a reader needs to understand the image, and no layer.
  package var documents: [[UInt8]]
  /// By the targets' ids.
  package var layers: [String: [OCIModel.Descriptor]]
}

/// Turns a result into something outside the build.
package protocol Exporter: Sendable {
  /// Does it, and tells what came of it by the peers' names (`containerimage.digest`, `image.name`…). Throws `BuildError`.
  func export(_ source: ExportSource, in environment: ExportEnvironment) async throws -> [String: String]
}

/// The exporters by the peers' names.
package enum Exporters {
  /// Throws `BuildError` for a type that there is none of, or an attribute that it does not know.
  package static func make(_ request: ExportRequest) throws -> any Exporter {
    var attributes = ExportAttributes(type: request.type, request.attributes)
    switch request.type {
    case "image", "registry": return try ImageExporter(&attributes)
    case "oci": return try LayoutExporter(.oci, id: request.id, &attributes)
    case "docker": return try LayoutExporter(.docker, id: request.id, &attributes)
    case "local": return try TreeExporter(.directory, id: request.id, &attributes)
    case "tar": return try TreeExporter(.archive, id: request.id, &attributes)
    default:
      throw BuildError(
        .invalidArgument, .usage, "no output has the type \"\(request.type)\"", suggestion: "the types are image, registry, oci, docker, local and tar")
    }
  }
}

/// Has a layer from a repository, so that a push to the same registry can mount it, and one to another can stream it, without a download to the store.
package protocol RegistryLayerProvider: LayerProvider {
  /// As it is at this moment; nil when the layer is not in a registry.
  var repository: Reference? { get }
}
