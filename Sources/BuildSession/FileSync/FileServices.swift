package import BuildInterface
internal import BuildKitAPI
package import GRPCCore
package import HostOS

/// What a client gives over its connection: its directories, file by file (FileSync).
package struct FileSyncService: RegistrableRPCService {
  /// The tree of a directory under a filter. Throws RPCError of the code `notFound` for one that is not offered.
  private let tree: @Sendable (String, DirectoryFilter) async throws -> any FileTree
  package init(_ tree: @escaping @Sendable (String, DirectoryFilter) async throws -> any FileTree) { self.tree = tree }

  package func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    let coding = FilePacketCoding()
    router.registerHandler(forMethod: Moby_Filesync_V1_FileSync.Method.DiffCopy.descriptor, deserializer: coding, serializer: coding) { request, _ in
      let (name, filter) = SyncHeaders.directory(request.metadata)
      let tree = try await tree(name, filter)
      return StreamingServerResponse { writer in
        try await FileTransfer.serve(request, writer) { outbound in try await FileTransfer.send(tree, from: request.messages, to: outbound, awaitsEnd: false) { _ in } }
        return [:]
      }
    }
  }
}

/// What a client takes over its connection: outputs (FileSend).
package struct FileSendService: RegistrableRPCService {
  package enum Destination: Sendable {
    /// Files, which replace those of their names, or all that is there.
    case directory(Directory, replaces: Bool)
    /// One stream. `write` blocks; `end` says whether all came.
    case stream(write: @Sendable ([UInt8]) throws -> Void, end: @Sendable (_ isWhole: Bool) throws -> Void)
  }
  /// Where the output of a number goes; the answers are what the builder tells of it. Throws RPCError.
  private let destination: @Sendable (_ id: Int, _ answers: [String: String]) async throws -> Destination
  package init(_ destination: @escaping @Sendable (_ id: Int, _ answers: [String: String]) async throws -> Destination) { self.destination = destination }

  package func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    // Which of two kinds of message a call carries is only known by the output that it names.
    let coding = RawCoding()
    router.registerHandler(forMethod: Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor, deserializer: coding, serializer: coding) { request, _ in
      let id = Int(request.metadata[stringValues: SyncHeaders.exporter].first { _ in true } ?? "") ?? 0
      var answers: [String: String] = [:]
      for (key, value) in request.metadata where key.hasPrefix(SyncHeaders.answerPrefix) {
        if case .string(let text) = value { answers[String(key.dropFirst(SyncHeaders.answerPrefix.count))] = text }
      }
      let destination = try await destination(id, answers)
      let replacesWhole = request.metadata[stringValues: SyncHeaders.multiPlatform].contains("1")
      return StreamingServerResponse { writer in
        switch destination {
        case .directory(let directory, let replaces):
          guard !replaces || replacesWhole else {
            throw RPCError(code: .failedPrecondition, message: "the builder sends an output in several parts: none can take the place of all that is in the directory")
          }
          try await Self.receive(request, writer, into: directory, replaces: replaces)
        case .stream(let write, let end): try await Self.receive(request, write, end)
        }
        return [:]
      }
    }
  }

  private static func receive(_ request: StreamingServerRequest<[UInt8]>, _ writer: RPCWriter<[UInt8]>, into directory: Directory, replaces: Bool) async throws {
    var options = ReceiveOptions()
    options.owner = OwnerRecords.need == .alone ? (0, 0) : (HostFacts.userID, HostFacts.groupID)
    options.keepsOthers = !replaces
    options.comparesNothing = replaces
    let outbound = OutgoingPackets(), coding = FilePacketCoding()
    let packets = request.messages.map { bytes in try bytes.withUnsafeBytes { WirePacket(try coding.decode($0), size: $0.count) } }
    try await FileTransfer.serve(outbound, write: { packets in try await writer.write(contentsOf: packets.map { FilePacketCoding.encode($0.packet) }) }) {
      [options] in _ = try await FileTransfer.receive(into: directory, options, from: packets, to: outbound, awaitsEnd: false) { _ in }
    }
  }

  private static func receive(_ request: StreamingServerRequest<[UInt8]>, _ write: @escaping @Sendable ([UInt8]) throws -> Void, _ end: @escaping @Sendable (Bool) throws -> Void) async throws {
    do {
      for try await message in request.messages {
        let bytes = try message.withUnsafeBytes { try WireReader.bytes(of: 1, in: $0) }
        try await Blocking.run { try write(bytes) }
      }
    } catch {
      try? await Blocking.run { try end(false) }
      throw error
    }
    try await Blocking.run { try end(true) }
  }
}

/// Messages as they are.
private struct RawCoding: MessageSerializer, MessageDeserializer {
  func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes { Bytes(message) }
  func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] { bytes.withUnsafeBytes { Array($0) } }
}

extension FileTransfer {
  static func serve(_ request: StreamingServerRequest<WirePacket>, _ writer: RPCWriter<WirePacket>, _ body: @escaping @Sendable (OutgoingPackets) async throws -> Void) async throws {
    let outbound = OutgoingPackets()
    try await serve(outbound, write: { try await writer.write(contentsOf: $0) }) { try await body(outbound) }
  }

  /// One end of a transfer as a server: the stream ends when all was written and `body` is done. Errors go to the other end in words.
  static func serve(_ outbound: OutgoingPackets, write: @escaping @Sendable ([WirePacket]) async throws -> Void, _ body: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        do { while let packets = try await outbound.box.next() { try await write(packets) } } catch {
          outbound.close(error)
          throw error
        }
      }
      group.addTask {
        do { try await body() } catch {
          outbound.close(error)
          throw (error as? RPCError) ?? RPCError(code: .unknown, message: "\(error)", cause: error)
        }
        outbound.finish()
      }
      do { try await group.waitForAll() } catch {
        group.cancelAll()
        outbound.close(error)
        throw error
      }
    }
  }
}
