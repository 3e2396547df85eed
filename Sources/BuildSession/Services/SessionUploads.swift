internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import GRPCCore

/// Streams of a session's client (session/upload).
struct SessionUploads: UploadService {
  static let path = "urlpath", host = "urlhost"
  let session: ClientSession

  func upload(id: String) async throws -> ClientUpload { ClientUpload(stream: Stream(session: session, id: id)) }

  private struct Stream: UploadStream {
    let session: ClientSession
    let id: String

    func read(_ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws {
      try await session.build("the upload \"\(id)\"") { client in
        let metadata: Metadata = [SessionUploads.path: "/\(id)", SessionUploads.host: "\(ClientUpload.host)"]
        // The client only sends; our half stays open and silent until it has.
        try await Moby_Upload_V1_Upload.Client(wrapping: client).pull(metadata: metadata) { _ in
        } onResponse: { response in
          for try await message in response.messages { try await body(Array(message.data)) }
        }
      }
    }
  }
}
