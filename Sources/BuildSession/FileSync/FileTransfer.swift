package import BuildInterface
package import GRPCCore
package import HostOS
internal import Synchronization

/// Runs one end of a transfer between an asynchronous connection and the threads that its disk work needs.
package enum FileTransfer {
  /// Bytes that are held between the connection and the disk.
  private static let window = 4 << 20
  /// What an entry costs beside its bytes.
  private static let overhead = 256

  /// Receives into a directory. `inbound` is what the other end sends; `awaitsEnd`: until it sends nothing more, as who made the call must, so that it does not break off what is on its way.
  package static func receive<Messages: AsyncSequence & Sendable>(
    into directory: Directory, _ options: ReceiveOptions, from inbound: Messages, to outbound: OutgoingPackets, awaitsEnd: Bool = true,
    progress: @escaping @Sendable (Int64) -> Void
  ) async throws -> UpdatedDirectory where Messages.Element == WirePacket {
    let inbox = ThreadInbox<WirePacket>(limit: window)
    return try await withTaskCancellationHandler {
      try await withThrowingTaskGroup(of: UpdatedDirectory?.self) { group in
        group.addTask {
          do {
            for try await packet in inbound {
              guard await inbox.put(packet, cost: packet.size + overhead) else { return nil }
            }
            inbox.end()
          } catch {
            inbox.end(error)
          }
          return nil
        }
        group.addTask {
          defer { inbox.close() }
          return try await onThread { try run(directory, options, inbox, outbound, awaitsEnd, progress) }
        }
        var result: UpdatedDirectory?
        do {
          while let next = try await group.next() {
            result = next ?? result
            if result != nil { group.cancelAll() }
          }
        } catch {
          group.cancelAll()
          outbound.box.end(error)
          throw error
        }
        guard let result else { throw CancellationError() }
        return result
      }
    } onCancel: {
      inbox.end(CancellationError())
    }
  }

  private static func run(
    _ directory: Directory, _ options: ReceiveOptions, _ inbox: ThreadInbox<WirePacket>, _ outbound: OutgoingPackets, _ awaitsEnd: Bool,
    _ progress: (Int64) -> Void
  ) throws -> UpdatedDirectory {
    let receiver = try FileReceiver(directory, options) { outbound.offer($0) }
    var bytes: Int64 = 0
    do {
      while let packets = try inbox.takeAll() {
        for packet in packets {
          bytes += Int64(packet.size)
          try receiver.take(packet.packet)
        }
        progress(bytes)
        if receiver.isDone { outbound.finish() }
        if receiver.isDone, !awaitsEnd { break }
      }
      try receiver.end()
    } catch {
      receiver.abandon()
      outbound.offer(.failure("\(error)"))
      outbound.finish()
      throw error
    }
    var result = UpdatedDirectory()
    (result.received, result.entries) = (receiver.received, receiver.entries)
    return result
  }

  /// Sends a tree. `awaitsEnd` as above: who serves the call must not, since the other end waits for it to end.
  package static func send<Messages: AsyncSequence & Sendable>(
    _ tree: any FileTree, from inbound: Messages, to outbound: OutgoingPackets, awaitsEnd: Bool = true, progress: @escaping @Sendable (Int64) -> Void
  ) async throws where Messages.Element == WirePacket {
    try await send(tree, to: outbound, awaitsEnd: awaitsEnd, progress: progress) { try await $0.take(from: inbound) }
  }

  /// What the other end asks for, on its way to the thread that answers.
  package struct Requests: Sendable {
    fileprivate let inbox: ThreadInbox<WirePacket>
    /// Until the other end sends nothing more, or nobody listens.
    package func take<Messages: AsyncSequence & Sendable>(from inbound: Messages) async throws where Messages.Element == WirePacket {
      for try await packet in inbound {
        guard await inbox.put(packet, cost: overhead) else { return }
      }
    }
  }

  /// As above, over a call that `call` makes: sending begins at once, since a peer of Go's gRPC answers nothing, not even headers, before it was told of files.
  package static func send(
    _ tree: any FileTree, to outbound: OutgoingPackets, awaitsEnd: Bool = true, progress: @escaping @Sendable (Int64) -> Void,
    call: @escaping @Sendable (Requests) async throws -> Void
  ) async throws {
    let sender = FileSender(tree)
    let inbox = ThreadInbox<WirePacket>(limit: window)
    let sent = SentBytes(progress)
    let send: @Sendable (FilePacket) throws -> Void = { packet in
      try outbound.put(packet)
      sent.add(packet)
    }
    try await withTaskCancellationHandler {
      try await withThrowingTaskGroup(of: Int.self) { group in
        group.addTask {
          try await onThread { try sender.walk(send) }
          return 1
        }
        group.addTask {
          do {
            try await call(Requests(inbox: inbox))
            inbox.end()
          } catch {
            inbox.end(error)
            if !Task.isCancelled { outbound.close(error) }
          }
          return 0
        }
        group.addTask {
          defer { inbox.close() }
          try await onThread { try serve(sender, inbox, outbound, send) }
          return 1
        }
        do {
          var done = 0
          while let next = try await group.next() {
            done += next
            if done == 2, !awaitsEnd { group.cancelAll() }
          }
        } catch {
          // The first error is why; threads that wait for the connection learn of it.
          outbound.fail(error)
          inbox.end(error)
          throw error
        }
      }
    } onCancel: {
      outbound.close(CancellationError())
      inbox.end(CancellationError())
    }
  }

  private static func serve(_ sender: FileSender, _ inbox: ThreadInbox<WirePacket>, _ outbound: OutgoingPackets, _ send: (FilePacket) throws -> Void) throws {
    while let packets = try inbox.takeAll() {
      for packet in packets {
        let request = try sender.take(packet.packet)
        try sender.serve(request, send)
        if request == .finish {
          outbound.finish()
          return
        }
      }
    }
    throw FileSyncError(.ended, "the connection ended before the receiver had all files")
  }

  /// Of a failed task group the error that came first counts, not that of who was told of it.
  static func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await DedicatedThread.run { Result { try body() } }.get()
  }
}

/// What goes to the other end.
package final class OutgoingPackets: Sendable {
  let box = ThreadOutbox<WirePacket>(limit: 1 << 20)
  package init() {}

  /// Blocks while the other end reads nothing.
  func put(_ packet: FilePacket) throws { try box.put(WirePacket(packet), cost: Self.cost(packet)) }
  /// Never blocks.
  func offer(_ packet: FilePacket) { try? box.put(WirePacket(packet), cost: Self.cost(packet), now: true) }
  func finish() { box.end() }
  /// Tells the other end why, after what is on its way.
  func fail(_ error: any Error) {
    offer(.failure("\(error)"))
    box.end()
    // Whoever still waits for room must not wait for ever.
    box.refuse(error)
  }
  package func close(_ error: any Error) { box.close(error) }

  /// Writes everything, until the end.
  package func write(to writer: RPCWriter<WirePacket>) async throws {
    do {
      while let packets = try await box.next() { try await writer.write(contentsOf: packets) }
    } catch {
      box.close(error)
      throw error
    }
  }

  private static func cost(_ packet: FilePacket) -> Int {
    switch packet {
    case .data(_, let bytes): 64 + bytes.count
    case .entry(let entry): 128 + entry.path.count
    default: 64
    }
  }
}

/// Counts what is sent; told from several threads.
private final class SentBytes: Sendable {
  private let bytes = Mutex<Int64>(0)
  private let progress: @Sendable (Int64) -> Void
  init(_ progress: @escaping @Sendable (Int64) -> Void) { self.progress = progress }

  func add(_ packet: FilePacket) {
    let size: Int64 =
      switch packet {
      case .data(_, let data): Int64(data.count) + 8
      case .entry(let entry): Int64(entry.path.count + entry.linkTarget.count) + 32
      default: 0
      }
    let now = bytes.withLock { bytes in
      bytes += size
      return bytes
    }
    progress(now)
  }
}
