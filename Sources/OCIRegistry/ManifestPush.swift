internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
public import OCIModel

extension RegistryClient {
  /// Statuses of a HEAD that mean "not there, or not for you to know": the PUT that follows says which.
  static let absent: Set<Int> = [400, 403, 404, 405, 406, 410, 501]

  /// Puts a manifest or index under the tag of `reference`, or, when it has none, under its digest. Nothing is sent when the
  /// registry already holds it there (which is not asked where `looksFirst` is false). Returns its descriptor.
  @discardableResult
  public func pushManifest(_ bytes: [UInt8], mediaType: MediaType, to reference: Reference, looksFirst: Bool = true) async throws -> Descriptor {
    let descriptor = Descriptor(mediaType: mediaType, of: bytes)
    if let wanted = reference.digest, wanted != descriptor.digest {
      throw RegistryError(.digestMismatch, "cannot push \(reference.familiar): the manifest has digest \(descriptor.digest)", host: reference.domain, repository: reference.path)
    }
    let name = reference.tag ?? descriptor.digest.description
    let operation = RegistryOperation("push", reference.tag == nil ? "\(reference.familiarName)@\(descriptor.digest)" : reference.familiar, in: reference)
    if looksFirst {
      var head = RegistryConnection.Call(
        method: .HEAD, target: .path("/v2/\(reference.path)/manifests/\(name)"), scopes: RegistryScopes([.push(reference.path)]), operation: operation,
        accepts: { $0 == 200 || RegistryClient.absent.contains($0) })
      head.headers = ["Accept": "\(mediaType), */*;q=0.1"]
      let (status, known, _, _) = try await connection(reference.domain).exchange(head, limit: RegistryErrorBody.limit)
      if status == 200, known.first(name: "Docker-Content-Digest") == descriptor.digest.description, known.first(name: "Content-Type").map({ HTTPFields.mediaType($0) }) == mediaType.rawValue.lowercased() {
        return descriptor
      }
    }
    _ = try await put(bytes, descriptor, under: name, of: reference, operation)
    return descriptor
  }

  /// Tries of a manifest that the registry refuses for content it does not see yet.
  private static let unseenTries = 3

  /// Answers the fields of the registry's answer.
  func put(_ bytes: [UInt8], _ descriptor: Descriptor, under name: String, of repository: Reference, _ operation: RegistryOperation) async throws -> HTTPHeaders {
    let connection = connection(repository.domain)
    var call = RegistryConnection.Call(
      method: .PUT, target: .path("/v2/\(repository.path)/manifests/\(name)"), scopes: RegistryScopes([.push(repository.path)]), operation: operation,
      accepts: { $0 == 201 || $0 == 200 || $0 == 202 || $0 == 204 })
    call.headers = ["Content-Type": descriptor.mediaType.rawValue]
    let buffer = ByteBuffer(bytes: bytes)
    call.body = { .bytes(buffer) }
    var attempt = 1
    while true {
      do {
        let (_, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
        if let told = headers.first(name: "Docker-Content-Digest"), let digest = Digest(told), digest.algorithm == descriptor.digest.algorithm, digest != descriptor.digest {
          throw connection.error(.digestMismatch, call, "it stored the manifest as \(digest)", url)
        }
        return headers
      } catch let error as RegistryError where error.isOfUnseenContent {
        // What was pushed a moment ago may not have reached every part of a registry that has several.
        guard attempt < RegistryClient.unseenTries, try await connection.again(.status(503, retryAfter: nil), &attempt, error.host, error.request, error.summary) else {
          throw RegistryClient.advised(error, descriptor)
        }
      } catch let error as RegistryError {
        throw RegistryClient.advised(error, descriptor)
      }
    }
  }

  private static func advised(_ error: RegistryError, _ descriptor: Descriptor) -> RegistryError {
    var error = error
    switch (error.code, error.status) {
    case _ where error.isOfUnseenContent:
      error.advice = "\(error.host) lost, or does not see, content that it said it has: push again, and if it stays so under another repository name."
    case (.refused, 413?), (.refused, _) where error.details.contains { $0.code == "SIZE_INVALID" }:
      error.advice = "The document has \(descriptor.size) bytes, more than \(error.host), or a proxy before it, takes. Fewer platforms, annotations or attestations (--provenance=false) make it smaller."
    case (.refused, 400?), (.refused, 415?), (.refused, 406?):
      error.advice = "\(error.host) may not know \(descriptor.mediaType)."
      if descriptor.mediaType.rawValue.hasPrefix("application/vnd.oci.") { error.advice += " Docker's types may do: --output type=image,push=true,oci-mediatypes=false --provenance=false." }
      if descriptor.mediaType.isIndex { error.advice += " A registry without indexes takes one platform's image: --platform." }
    // Gitea and others say so of types that they do not know.
    case (.notFound, _): error.advice += " Or \(error.host) does not know \(descriptor.mediaType): Docker's types may do (oci-mediatypes=false)."
    default: break
    }
    return error
  }
}

extension RegistryError {
  /// A manifest refused because something that it names is not there.
  fileprivate var isOfUnseenContent: Bool {
    [400, 404].contains(status) && details.contains { ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "MANIFEST_REFERENCES_MANIFEST_UNKNOWN"].contains($0.code) }
  }
}
