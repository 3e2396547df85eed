internal import OCIModel

/// A target's attestations as an image has them: a manifest whose layers are the statements.
struct AttestationManifest: Sendable {
  static let artifactType = "application/vnd.docker.attestation.manifest.v1+json"
  static let predicateTypeKey = "in-toto.io/predicate-type"
  static let unknownPlatform = Platform(os: "unknown", architecture: "unknown")

  /// The target's id.
  var target: String
  /// With what an index says of it.
  var document: WrittenImage.Document
  var config: WrittenImage.Document
  var statements: [WrittenImage.Document]

  /// - Parameter isArtifact: a manifest that names its subject, with an empty config; else one that looks like an image's, as old registries want it.
  static func make(
    _ attestations: [Attestation], of manifest: WrittenImage.Manifest, _ target: ExportSource.Target, names: [Reference], isArtifact: Bool
  ) async throws -> AttestationManifest {
    let subject = manifest.document.descriptor
    let subjects = names.map { AttestationSubject(name: PackageURL.image($0, platform: target.platform), digest: subject.digest) }
    var statements: [WrittenImage.Document] = []
    for attestation in attestations {
      let predicate = try await attestation.predicate(manifest.layers.map(\.descriptor))
      let bytes = attestation.statement(about: subjects, predicate: predicate).encoded()
      statements.append(
        WrittenImage.Document(descriptor: Descriptor(mediaType: .inToto, of: bytes, annotations: [predicateTypeKey: attestation.predicateType]), bytes: bytes))
    }
    let config = isArtifact ? empty : imageConfig(statements)
    let own = ImageManifest(
      config: config.descriptor, layers: statements.map(\.descriptor), artifactType: isArtifact ? artifactType : "",
      subject: isArtifact ? Descriptor(mediaType: subject.mediaType, digest: subject.digest, size: subject.size) : nil)
    let bytes = own.encoded
    let descriptor = Descriptor(
      mediaType: .ociManifest, of: bytes,
      annotations: ["vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.digest.description], platform: unknownPlatform)
    return AttestationManifest(
      target: target.id, document: WrittenImage.Document(descriptor: descriptor, bytes: bytes), config: config, statements: statements)
  }

  private static let empty: WrittenImage.Document = {
    let bytes = Array("{}".utf8)
    var descriptor = Descriptor(mediaType: .ociEmpty, of: bytes)
    descriptor.data = "e30="
    return WrittenImage.Document(descriptor: descriptor, bytes: bytes)
  }()

  private static func imageConfig(_ statements: [WrittenImage.Document]) -> WrittenImage.Document {
    let layers = statements.map { JSONValue.string($0.descriptor.digest.description) }
    let json: JSONValue = [
      "architecture": "unknown", "os": "unknown", "config": [:], "rootfs": ["type": "layers", "diff_ids": layers.isEmpty ? .null : .array(layers)],
    ]
    let bytes = json.encoded()
    return WrittenImage.Document(descriptor: Descriptor(mediaType: .ociConfig, of: bytes), bytes: bytes)
  }
}
