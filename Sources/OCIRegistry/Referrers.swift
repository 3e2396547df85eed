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

  /// What refers to a manifest of a repository, as the registry tells it: media type, digest, size, artifact type and annotations of each. Where the registry keeps no account
  /// itself, what the spec's fallback tag lists; nothing where there is neither. Its mirrors are asked
  /// before it. The first page only, which is 4 MiB of them.
  public func referrers(of digest: Digest, in repository: Reference) async throws -> [Descriptor] {
    let repository = repository.repository
    let operation = RegistryOperation("list what refers to", "\(repository.familiarName)@\(digest)", in: repository)
    let call = RegistryConnection.Call(
      method: .GET, target: .path("/v2/\(repository.path)/referrers/\(digest)"), headers: ["Accept": MediaType.ociIndex.rawValue], scopes: RegistryScopes([.pull(repository.path)]),
      operation: operation, accepts: { [200, 400, 404, 405, 406, 501].contains($0) })
    let (mirrors, own) = readers(of: repository.domain)
    // A mirror that answers stands for a registry that cannot be reached: what is said beside an image must not keep it from being read.
    var isStoodFor = false
    for reader in mirrors + [own] {
      do {
        let (status, _, body, url) = try await reader.exchange(call, limit: DocumentLimits.manifest)
        if status == 200 {
          guard case .index(let index)? = try? ImageDocument(parsing: body, mediaType: .ociIndex) else { throw reader.error(.invalidResponse, call, "it did not answer with an image index", url) }
          return index.manifests
        }
        if reader.role != nil { isStoodFor = true }
      } catch let error as RegistryError {
        guard mirrorMemory.passesOver(reader, error) || (isStoodFor && error.code == .network) else { throw error }
      }
    }
    do {
      let tagged = try repository.with(tag: "\(digest.algorithm.rawValue)-\(digest.hex.prefix(64))")
      guard case .index(let index) = try await manifest(tagged).document() else { return [] }
      return index.manifests
    } catch let error as RegistryError where error.code == .notFound || (isStoodFor && error.code == .network) { return [] }
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
