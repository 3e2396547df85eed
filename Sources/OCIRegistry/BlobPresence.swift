internal import AsyncHTTPClient
internal import NIOHTTP1
public import OCIModel

/// Whether a blob is somewhere.
public enum BlobPresence: Hashable, Sendable {
  case absent
  /// `size` is nil where it is not told.
  case present(size: Int64?)
}

extension RegistryClient {
  /// Whether a repository holds a blob, and how large it is there: one HEAD request, nothing is fetched.
  public func blobPresence(_ descriptor: Descriptor, in repository: Reference) async throws -> BlobPresence {
    let operation = RegistryOperation("look for", "\(repository.familiarName)@\(descriptor.digest)", in: repository)
    let call = RegistryConnection.Call(
      method: .HEAD, target: .path("/v2/\(repository.path)/blobs/\(descriptor.digest)"), scopes: RegistryScopes([.pull(repository.path)]), operation: operation,
      // A redirect leads to where the content is, so it is there; signed addresses often answer GET only.
      accepts: { $0 == 200 || $0 == 404 || $0 == 405 || [301, 302, 303, 307, 308].contains($0) })
    let (status, headers, _, _) = try await connection(repository.domain).exchange(call, limit: RegistryErrorBody.limit)
    switch status {
    case 200: return .present(size: headers.first(name: "Content-Length").flatMap { Int64($0) })
    // Some answer GET only.
    case 405: return .present(size: nil)
    case 404: return .absent
    default: return .present(size: nil)
    }
  }
}
