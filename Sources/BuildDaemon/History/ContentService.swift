internal import BuildEngine
internal import BuildKitAPI
internal import BuildKitProto
internal import ContentStore
internal import FoundationEssentials
internal import GRPCCore
internal import HostOS
internal import OCIModel
internal import SwiftProtobuf

/// containerd's content service, to read alone: clients fetch by it what records of builds name (logs, provenance, errors, manifests), and what else the store has by digest.
struct ContentService: Containerd_Services_Content_V1_Content.SimpleServiceProtocol {
  let records: BuildRecords
  private var store: ContentStore { records.store }

  private static let chunk = 256 << 10
  private static let listed = 100

  init(_ records: BuildRecords) { self.records = records }

  private enum Blob {
    case record(BuildRecords.BlobInfo)
    case stored(Digest, Int64)
    var size: Int64 {
      switch self {
      case .record(let info): info.size
      case .stored(_, let size): size
      }
    }
    var info: Containerd_Services_Content_V1_Info {
      var out = Containerd_Services_Content_V1_Info()
      out.size = size
      switch self {
      case .record(let info):
        out.digest = info.digest.description
        (out.createdAt.seconds, out.createdAt.nanos) = (info.created.seconds, info.created.nanoseconds)
        out.updatedAt = out.createdAt
      case .stored(let digest, _): out.digest = digest.description
      }
      return out
    }
  }

  private func digest(_ text: String) throws -> Digest {
    guard let digest = Digest(text) else { throw RPCError(code: .invalidArgument, message: "\"\(text.prefix(100))\" is no digest") }
    return digest
  }

  private func blob(_ digest: Digest) async throws -> Blob {
    let store = store
    if let info = try await records.blobs(digest).first { return .record(info) }
    if let size = try await Blocking.run({ store.size(of: digest) }) { return .stored(digest, size) }
    throw RPCError(code: .notFound, message: "content \(digest): not found")
  }

  // MARK: - Reading

  func info(request: Containerd_Services_Content_V1_InfoRequest, context: ServerContext) async throws -> Containerd_Services_Content_V1_InfoResponse {
    var out = Containerd_Services_Content_V1_InfoResponse()
    out.info = try await blob(digest(request.digest)).info
    return out
  }

  func list(
    request: Containerd_Services_Content_V1_ListContentRequest, response: RPCWriter<Containerd_Services_Content_V1_ListContentResponse>, context: ServerContext
  ) async throws {
    guard request.filters.isEmpty else { throw RPCError(code: .unimplemented, message: "content is not filtered here: ask for it without filters") }
    let store = store
    let ofRecords = try await records.blobs(), known = Set(ofRecords.map(\.digest))
    let stored = try await Blocking.run { try store.blobFiles().filter { !known.contains($0.digest) }.compactMap { file in store.size(of: file.digest).map { (file.digest, $0) } } }
    var rest = (ofRecords.map { Blob.record($0) } + stored.map { Blob.stored($0.0, $0.1) })[...]
    while !rest.isEmpty {
      var out = Containerd_Services_Content_V1_ListContentResponse()
      out.info = rest.prefix(Self.listed).map(\.info)
      rest = rest.dropFirst(Self.listed)
      try await response.write(out)
    }
  }

  func read(
    request: Containerd_Services_Content_V1_ReadContentRequest, response: RPCWriter<Containerd_Services_Content_V1_ReadContentResponse>, context: ServerContext
  ) async throws {
    let digest = try digest(request.digest), blob = try await blob(digest)
    let offset = max(0, request.offset)
    guard offset <= blob.size else { throw RPCError(code: .outOfRange, message: "read past object length \(blob.size) bytes") }
    let end = request.size <= 0 || request.size > blob.size - offset ? blob.size : offset + request.size
    var piece = Containerd_Services_Content_V1_ReadContentResponse()
    switch blob {
    case .record:
      guard let bytes = try await records.blob(digest) else { throw RPCError(code: .notFound, message: "content \(digest): not found") }
      for start in stride(from: offset, to: min(end, Int64(bytes.count)), by: Self.chunk) {
        (piece.offset, piece.data) = (start, Data(bytes[Int(start)..<Int(min(start + Int64(Self.chunk), end))]))
        try await response.write(piece)
      }
    case .stored:
      let reader = try store.reader(digest)
      var start = offset
      while start < end {
        let (at, count) = (start, Int(min(Int64(Self.chunk), end - start)))
        let data = try await Blocking.run {
          var data = Data(count: count)
          let read = try data.withUnsafeMutableBytes { try reader.descriptor.readFully(into: $0, at: at) }
          return data.prefix(read)
        }
        guard data.count == count else { throw RPCError(code: .dataLoss, message: "content \(digest) ends at \(at + Int64(data.count)) bytes, before its \(blob.size)") }
        (piece.offset, piece.data) = (start, data)
        try await response.write(piece)
        start += Int64(count)
      }
    }
  }

  /// Nothing is on its way in.
  func status(request: Containerd_Services_Content_V1_StatusRequest, context: ServerContext) async throws -> Containerd_Services_Content_V1_StatusResponse {
    throw RPCError(code: .notFound, message: "nothing is being written as \"\(request.ref.prefix(200))\": not found")
  }
  func listStatuses(request: Containerd_Services_Content_V1_ListStatusesRequest, context: ServerContext) async throws -> Containerd_Services_Content_V1_ListStatusesResponse {
    Containerd_Services_Content_V1_ListStatusesResponse()
  }

  // MARK: - What changes content

  private static var readOnly: RPCError { RPCError(code: .failedPrecondition, message: "read-only content store") }

  func write(
    request: RPCAsyncSequence<Containerd_Services_Content_V1_WriteContentRequest, any Error>, response: RPCWriter<Containerd_Services_Content_V1_WriteContentResponse>,
    context: ServerContext
  ) async throws {
    throw Self.readOnly
  }
  func update(request: Containerd_Services_Content_V1_UpdateRequest, context: ServerContext) async throws -> Containerd_Services_Content_V1_UpdateResponse { throw Self.readOnly }
  func delete(request: Containerd_Services_Content_V1_DeleteContentRequest, context: ServerContext) async throws -> Google_Protobuf_Empty { throw Self.readOnly }
  func abort(request: Containerd_Services_Content_V1_AbortRequest, context: ServerContext) async throws -> Google_Protobuf_Empty { throw Self.readOnly }
}
