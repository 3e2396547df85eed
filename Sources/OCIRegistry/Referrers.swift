internal import NIOHTTP1
public import OCIModel

/// Manifests that say what they are about (distribution-spec, "Pushing Manifests with Subject" and "Listing Referrers").
extension RegistryClient {
  /// Puts a manifest that names a subject under its own digest. A registry that does not keep account of referrers itself gets, in the
  /// spec's fallback tag (`sha256-<digest of the subject>`), an index that lists the manifest besides those it listed before; of two clients that do
  /// so for one subject at the same moment, one may be left out, as the spec warns. Throws `RegistryError`, or `OCIError` for bytes that are no manifest with a subject.
  @discardableResult
  public func pushReferrer(_ bytes: [UInt8], mediaType: MediaType = .ociManifest, to repository: Reference) async throws -> Descriptor {
    guard case .manifest(let manifest) = try ImageDocument(parsing: bytes, mediaType: mediaType), let subject = manifest.subject else {
      throw OCIError(.invalidDocument, "the manifest to push names no subject")
    }
    let repository = repository.repository
    var descriptor = Descriptor(mediaType: mediaType, of: bytes)
    let operation = RegistryOperation("push", "\(repository.familiarName)@\(descriptor.digest)", in: repository)
    let headers = try await put(bytes, descriptor, under: descriptor.digest.description, of: repository, operation)
    guard headers.first(name: "OCI-Subject") == nil else { return descriptor }
    descriptor.artifactType = manifest.artifactType.isEmpty ? manifest.config.mediaType.rawValue : manifest.artifactType
    descriptor.annotations = manifest.annotations
    try await list(descriptor, underFallbackTagOf: subject.digest, in: repository)
    return descriptor
  }

  private func list(_ descriptor: Descriptor, underFallbackTagOf subject: Digest, in repository: Reference) async throws {
    let tagged = try repository.with(tag: "\(subject.algorithm.rawValue)-\(subject.hex.prefix(64))")
    var index = ImageIndex(manifests: [])
    do {
      if case .index(let known) = try await manifest(tagged).document() { index = known }
    } catch let error as RegistryError where error.code == .notFound {}
    guard !index.manifests.contains(where: { $0.digest == descriptor.digest }) else { return }
    index.manifests.append(descriptor)
    try await pushManifest(index.encoded, mediaType: index.mediaType, to: tagged)
  }
}
