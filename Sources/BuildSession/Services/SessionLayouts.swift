internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import GRPCCore
internal import OCIModel

/// OCI layouts of a session's client: containerd's content service, the layout chosen by a header (session/content).
struct SessionLayouts: LayoutService {
  static let header = "buildkit-attachable-store-id"
  static let contextPrefix = "oci:"
  let session: ClientSession

  func layout(id: String) async throws -> ClientLayout {
    guard session.supports(Containerd_Services_Content_V1_Content.Method.Read.descriptor) else {
      throw BuildError(.notFound, .usage, "the build asks for the OCI layout \"\(id)\", and the client offers none")
    }
    return .remote(Layout(session: session, id: id))
  }

  private struct Layout: RemoteLayout {
    let session: ClientSession
    let id: String
    /// BuildKit's clients keep layouts for contexts and local caches apart by a word before the id (client/solve.go).
    private var metadata: Metadata { [SessionLayouts.header: "\(id.hasPrefix("local:") ? id : SessionLayouts.contextPrefix + id)"] }
    private func what(_ digest: Digest) -> String { "\(digest) of the OCI layout \"\(id)\"" }

    func size(of digest: Digest) async throws -> Int64? {
      do {
        return try await session.ask(what(digest)) { [metadata] client in
          var request = Containerd_Services_Content_V1_InfoRequest()
          request.digest = digest.description
          return try await Containerd_Services_Content_V1_Content.Client(wrapping: client).info(request, metadata: metadata).info.size
        }
      } catch let error as SessionError {
        if error.status == .notFound { return nil }
        throw error.buildError
      }
    }

    func read(_ digest: Digest, from offset: Int64, count: Int64, _ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws {
      guard count > 0 else { return }
      let what = what(digest)
      try await session.build(what) { [metadata] client in
        var request = Containerd_Services_Content_V1_ReadContentRequest()
        request.digest = digest.description
        request.offset = offset
        request.size = count
        try await Containerd_Services_Content_V1_Content.Client(wrapping: client).read(request, metadata: metadata) { response in
          var place = offset
          for try await message in response.messages where !message.data.isEmpty {
            // Of a client that does not count, or sends more than it was asked for.
            guard message.offset == place || message.offset == 0, Int64(message.data.count) <= offset + count - place else {
              throw SessionError(.invalidAnswer, "\(what): the client sends other bytes than were asked for")
            }
            try await body(Array(message.data))
            place += Int64(message.data.count)
          }
          guard place == offset + count else { throw SessionError(.invalidAnswer, "\(what): the client sent \(place - offset) bytes of \(count)") }
        }
      }
    }
  }
}
