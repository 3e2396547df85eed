internal import BuildInterface
internal import LayerArchive
internal import OCIModel

/// What the exporters that make images have in common.
struct ImageOptions: Sendable {
  /// As they were given: the peers answer with this text.
  var nameText: String
  var names: [Reference]
  var ociTypes: Bool
  var compression: Compression
  /// eStargz.
  var isSeekable: Bool
  var compressionLevel: Int?
  var forceCompression: Bool
  /// Whether the files of the layers made here get no later time than the epoch.
  var rewritesTimes: Bool
  /// Whether layers that say that they must not be distributed go on saying so.
  var keepsNonDistributable: Bool
  var annotations: ImageAnnotations
  var attestations: AttestationOptions
  private let epoch: Int64??

  /// - Parameter inlineAttestations: whether an image of one platform gets an index for the sake of attestations that nobody asked for.
  init(_ attributes: inout ExportAttributes, inlineAttestations: Bool = false) throws {
    nameText = attributes.text("name") ?? ""
    names = []
    for name in nameText.split(separator: ",", omittingEmptySubsequences: true) {
      do { names.append(try Reference(parsing: String(name))) } catch { throw attributes.invalid("name", "cannot be used: \(error)") }
    }
    let ociTypes = try attributes.flag("oci-mediatypes")
    self.ociTypes = ociTypes ?? true
    attestations = try AttestationOptions(&attributes, ociTypes: ociTypes, inline: inlineAttestations)
    keepsNonDistributable = try attributes.flag("prefer-nondist-layers") ?? false
    let compressionName = attributes.text("compression") ?? Compression.gzip.rawValue
    isSeekable = compressionName == "estargz"
    guard let compression = isSeekable ? .gzip : Compression(rawValue: compressionName) else {
      throw attributes.invalid("compression", "is \"\(compressionName)\": expected gzip, zstd, estargz or uncompressed")
    }
    self.compression = compression
    if isSeekable, ociTypes == false { throw attributes.invalid("compression", "is estargz, which contradicts oci-mediatypes=false") }
    forceCompression = try attributes.flag("force-compression") ?? false
    compressionLevel = try attributes.integer("compression-level")
    if let level = compressionLevel, compression != .none, !compression.levels.contains(level) {
      throw attributes.invalid("compression-level", "is \(level): for \(compression.rawValue) it is \(compression.levels.lowerBound) to \(compression.levels.upperBound)")
    }
    epoch = try attributes.sourceDateEpoch()
    rewritesTimes = try attributes.flag("rewrite-timestamp") ?? false
    annotations = try ImageAnnotations(attributes.family("annotation", shown: "annotation.*"), of: attributes)
  }

  /// How layers are written. `rewrite-timestamp` without an epoch has nothing to cut to.
  func layerForm(_ source: ExportSource) -> LayerForm {
    LayerForm(compression, level: compressionLevel, isSeekable: isSeekable, latest: rewritesTimes ? epoch(source) : nil)
  }

  /// The output's own wins over the build's.
  func epoch(_ source: ExportSource) -> Timestamp? {
    switch epoch {
    case .some(let own): own.map { Timestamp(seconds: $0) }
    case .none: source.sourceDateEpoch.map { Timestamp(seconds: $0) }
    }
  }
}
