internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import ContentStore
internal import Foundation
internal import GRPCCore
internal import GRPCProtobuf
internal import HostOS
internal import OCIModel

/// Blobs of a client's OCI layouts, by containerd's content service: what reads, and nothing that writes.
struct OfferedLayouts: RegistrableRPCService {
  private typealias Method = Containerd_Services_Content_V1_Content.Method
  let client: any ClientServices

  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    router.registerHandler(
      forMethod: Method.Info.descriptor, deserializer: ProtobufDeserializer<Containerd_Services_Content_V1_InfoRequest>(),
      serializer: ProtobufSerializer<Containerd_Services_Content_V1_InfoResponse>()
    ) { request, _ in
      let layout = try await layout(request.metadata)
      return StreamingServerResponse(single: try await ServerResponse(message: info(try await ServerRequest(stream: request).message, layout)))
    }
    router.registerHandler(
      forMethod: Method.Read.descriptor, deserializer: ProtobufDeserializer<Containerd_Services_Content_V1_ReadContentRequest>(),
      serializer: ProtobufSerializer<Containerd_Services_Content_V1_ReadContentResponse>()
    ) { request, _ in
      let layout = try await layout(request.metadata)
      let wanted = try await ServerRequest(stream: request).message
      return StreamingServerResponse { writer in
        try await read(wanted, layout, writer)
        return [:]
      }
    }
  }

  private func layout(_ metadata: Metadata) async throws -> OCILayout {
    guard let id = metadata[stringValues: SessionLayouts.header].first(where: { _ in true }) else {
      throw RPCError(code: .invalidArgument, message: "request lacks metadata \"\(SessionLayouts.header)\"")
    }
    do {
      guard case .inPlace(let path) = try await client.layouts.layout(id: id.hasPrefix(SessionLayouts.contextPrefix) ? String(id.dropFirst(SessionLayouts.contextPrefix.count)) : id) else { throw RPCError(code: .unimplemented, message: "the layout \(id) is itself behind a connection") }
      return try await Blocking.run { try OCILayout.open(path) }
    } catch let error as BuildError { throw RPCError(code: .notFound, message: "unknown store \(id): \(error)") } catch let error as StoreError {
      throw RPCError(code: .failedPrecondition, message: "\(error)")
    }
  }

  private func reader(_ digest: String, _ layout: OCILayout) async throws -> BlobReader {
    guard let digest = Digest(digest) else { throw RPCError(code: .invalidArgument, message: "\"\(digest.prefix(200))\" is no digest") }
    do { return try await Blocking.run { try layout.reader(digest) } } catch let error as StoreError {
      throw RPCError(code: error.code == .notFound ? .notFound : .failedPrecondition, message: "\(error)")
    }
  }

  private func info(_ request: Containerd_Services_Content_V1_InfoRequest, _ layout: OCILayout) async throws -> Containerd_Services_Content_V1_InfoResponse {
    var response = Containerd_Services_Content_V1_InfoResponse()
    response.info.digest = request.digest
    response.info.size = try await reader(request.digest, layout).size
    return response
  }

  private func read(_ request: Containerd_Services_Content_V1_ReadContentRequest, _ layout: OCILayout, _ writer: RPCWriter<Containerd_Services_Content_V1_ReadContentResponse>) async throws {
    let blob = try await reader(request.digest, layout)
    guard request.offset >= 0, request.offset <= blob.size, request.size >= 0 else {
      throw RPCError(code: .outOfRange, message: "read past object length \(blob.size) bytes")
    }
    // As containerd: no size is all that follows.
    var place = request.offset
    let end = request.size == 0 ? blob.size : min(blob.size, place + min(request.size, blob.size))
    while place < end {
      let (from, count) = (place, Int(min(Int64(1 << 20), end - place)))
      let piece = try await Blocking.run {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, read in read = try blob.descriptor.readFully(into: UnsafeMutableRawBufferPointer(buffer), at: from) }
      }
      guard !piece.isEmpty else { throw RPCError(code: .dataLoss, message: "\(request.digest) ends before its \(blob.size) bytes") }
      var response = Containerd_Services_Content_V1_ReadContentResponse()
      response.offset = place
      response.data = Data(piece)
      try await writer.write(response)
      place += Int64(piece.count)
    }
  }
}
