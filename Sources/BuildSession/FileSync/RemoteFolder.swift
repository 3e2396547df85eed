package import BuildInterface
internal import BuildKitAPI
package import GRPCCore
internal import HostOS
internal import PathPatterns

/// A directory that a client offers over its connection (FileSync.DiffCopy).
package struct RemoteFolder<Transport: ClientTransport>: RemoteDirectory {
  private let client: GRPCClient<Transport>
  private let name: String
  package let sharedKey: String
  private let limits: FileSyncLimits

  package init(_ client: GRPCClient<Transport>, name: String, sharedKey: String, limits: FileSyncLimits = FileSyncLimits()) {
    (self.client, self.name, self.sharedKey, self.limits) = (client, name, sharedKey, limits)
  }

  package func update(_ update: DirectoryUpdate) async throws -> UpdatedDirectory {
    do { return try await receive(update) } catch { throw SyncFailure.buildError(error, "the client's directory \"\(name)\"") }
  }

  private func receive(_ update: DirectoryUpdate) async throws -> UpdatedDirectory {
    var options = ReceiveOptions()
    options.limits = limits
    options.comparesNothing = update.comparesNothing
    options.hash = update.hash
    options.metadataOnlyExcept = try update.metadataOnlyExcept.map { try PatternList($0) }
    let directory = Directory(try HostOS.Descriptor.duplicate(of: update.directory))
    let outbound = OutgoingPackets(), coding = FilePacketCoding(limits: limits), progress = update.progress
    let request = StreamingClientRequest<WirePacket>(metadata: SyncHeaders.request(name, update.filter)) { writer in try await outbound.write(to: writer) }
    return try await client.bidirectionalStreaming(
      request: request, descriptor: Moby_Filesync_V1_FileSync.Method.DiffCopy.descriptor, serializer: coding, deserializer: coding, options: .defaults
    ) { [options] response in
      do {
        return try await FileTransfer.receive(into: directory, options, from: response.messages, to: outbound, progress: progress)
      } catch {
        outbound.close(error)
        throw error
      }
    }
  }
}

/// A client that takes an output over its connection (FileSend.DiffCopy).
package struct RemoteOutput<Transport: ClientTransport>: RemoteExport {
  private let client: GRPCClient<Transport>
  /// The output's number among the build's, as the client counts them.
  private let id: Int

  package init(_ client: GRPCClient<Transport>, id: Int) { (self.client, self.id) = (client, id) }

  /// How much goes in one message: under the four MiB that a client takes that was told nothing.
  private var piece: Int { 1 << 20 }

  package func sendArchive(_ answers: [String: String], _ write: @escaping @Sendable (any ExportSink) throws -> Void) async throws -> Bool {
    var metadata = metadata
    for (key, value) in answers.sorted(by: { $0.key < $1.key }) { metadata.addString(value, forKey: SyncHeaders.answerPrefix + key.lowercased()) }
    let box = ThreadOutbox<[UInt8]>(limit: 4 << 20)
    let request = StreamingClientRequest<[UInt8]>(metadata: metadata) { writer in
      do {
        try await withTaskCancellationHandler {
          while let pieces = try await box.next() { try await writer.write(contentsOf: pieces) }
        } onCancel: {
          box.close(CancellationError())
        }
      } catch {
        box.close(error)
        throw error
      }
    }
    do {
      return try await withThrowingTaskGroup(of: Bool.self) { group in
        group.addTask { try await answer(to: request, box) }
        group.addTask {
          try await FileTransfer.onThread {
            let sink = PieceSink(piece) { try box.put($0, cost: $0.count) }
            do {
              try write(sink)
              try sink.flush()
              box.end()
            } catch {
              box.close(error)
              throw error
            }
          }
          return false
        }
        do {
          var taken = false
          while let next = try await group.next() { taken = next || taken }
          return taken
        } catch let error as AnswerError {
          group.cancelAll()
          box.close(error.cause)
          if error.cause.code == .alreadyExists { return false }
          throw error.cause
        } catch {
          group.cancelAll()
          box.close(error)
          throw error
        }
      }
    } catch {
      throw SyncFailure.buildError(error, "the client's output")
    }
  }

  /// The client's own words, rather than that nobody reads.
  private struct AnswerError: Error { let cause: RPCError }

  private func answer(to request: StreamingClientRequest<[UInt8]>, _ box: ThreadOutbox<[UInt8]>) async throws -> Bool {
    let coding = BytesMessageCoding()
    do {
      return try await client.bidirectionalStreaming(
        request: request, descriptor: Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor, serializer: coding, deserializer: coding, options: .defaults
      ) { response in
        do {
          for try await _ in response.messages {}
          return true
        } catch {
          box.close(error)
          throw error
        }
      }
    } catch let error as RPCError {
      box.close(error)
      throw AnswerError(cause: error)
    }
  }

  package func sendFiles(_ tree: any FileTree, replaces: Bool, progress: @escaping @Sendable (Int64) -> Void) async throws {
    var metadata = metadata
    if replaces { metadata.addString("1", forKey: SyncHeaders.multiPlatform) }
    let outbound = OutgoingPackets(), coding = FilePacketCoding()
    let request = StreamingClientRequest<WirePacket>(metadata: metadata) { writer in try await outbound.write(to: writer) }
    do {
      try await FileTransfer.send(tree, to: outbound, progress: progress) { [client] requests in
        try await client.bidirectionalStreaming(
          request: request, descriptor: Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor, serializer: coding, deserializer: coding, options: .defaults
        ) { response in
          try await requests.take(from: response.messages)
        }
      }
    } catch {
      throw SyncFailure.buildError(error, "the client's directory")
    }
  }

  private var metadata: Metadata {
    var metadata = Metadata()
    metadata.addString(String(id), forKey: SyncHeaders.exporter)
    return metadata
  }
}

/// Gathers small writes.
private final class PieceSink: ExportSink {
  private let size: Int
  private let send: ([UInt8]) throws -> Void
  private var held: [UInt8] = []
  init(_ size: Int, _ send: @escaping ([UInt8]) throws -> Void) { (self.size, self.send) = (size, send) }

  func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      if held.isEmpty { held.reserveCapacity(size) }
      let piece = rest.prefix(size - held.count)
      held.append(contentsOf: piece)
      rest = rest.dropFirst(piece.count)
      if held.count == size { try flush() }
    }
  }

  func flush() throws {
    if held.isEmpty { return }
    let piece = held
    held = []
    try send(piece)
  }
}

/// `BytesMessage` (its one field is `data`), copied no more than once.
package struct BytesMessageCoding: MessageSerializer, MessageDeserializer {
  package init() {}
  package func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes {
    if message.isEmpty { return Bytes([]) }
    var out: [UInt8] = [0x0a]
    out.reserveCapacity(message.count + 8)
    var rest = message.count
    while rest >= 0x80 {
      out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    out.append(UInt8(rest))
    out += message
    return Bytes(out)
  }
  package func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] {
    try bytes.withUnsafeBytes { try WireReader.bytes(of: 1, in: $0) }
  }
}

/// Errors of transfers as a build fails with them.
enum SyncFailure {
  static func buildError(_ error: any Error, _ what: String) -> any Error {
    switch error {
    case is CancellationError, is BuildError: return error
    case let error as FileSyncError:
      let code: BuildError.Code =
        switch error.code {
        case .violation, .changed: .failedPrecondition
        case .limit: .resourceExhausted
        case .peer: .unknown
        case .ended: .unavailable
        }
      return BuildError(code, .build, "\(what): \(error.message)", suggestion: error.code == .changed ? "run the build again when nothing writes to it, or leave the file out with .dockerignore" : nil, cause: error.cause)
    case let error as RPCError: return BuildError(code(error.code), .build, "\(what): \(error.message)")
    case let error as HostError: return BuildError(error.code == .noSpace ? .resourceExhausted : .internal, .build, "\(what): cannot write its files", cause: error)
    default: return BuildError(.unknown, .build, what, cause: error)
    }
  }

  private static func code(_ code: RPCError.Code) -> BuildError.Code {
    switch code {
    case .notFound: .notFound
    case .permissionDenied: .permissionDenied
    case .unauthenticated: .unauthenticated
    case .invalidArgument: .invalidArgument
    case .unimplemented: .unimplemented
    case .unavailable, .cancelled: .unavailable
    case .resourceExhausted: .resourceExhausted
    default: .unknown
    }
  }
}
