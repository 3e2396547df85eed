import BuildInterface
import GRPCCore
import HostOS
import OCIModel
import Synchronization
import Testing

@testable import BuildSession

/// Both ends of a transfer over streams, and the words of its calls.
@Suite struct FileTransferTests {
  /// Entries and contents from memory.
  struct MemoryTree: FileTree {
    var files: [(entry: FileEntry, bytes: [UInt8])]
    func walk(_ body: (FileEntry) throws -> Void) throws { for file in files { try body(file.entry) } }
    func read(_ path: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
      guard let file = files.first(where: { $0.entry.path == path }) else { throw FileSyncError(.changed, "gone") }
      try file.bytes.withUnsafeBytes(body)
    }
  }
  static func file(_ path: String, _ bytes: [UInt8]) -> (FileEntry, [UInt8]) {
    (FileEntry(path: Array(path.utf8), mode: 0o640, uid: HostFacts.userID, gid: HostFacts.groupID, size: Int64(bytes.count), modified: 1_000_000_000), bytes)
  }

  /// Packets as they go from one end to the other.
  static func stream() -> (AsyncThrowingStream<WirePacket, any Error>, AsyncThrowingStream<WirePacket, any Error>.Continuation) { AsyncThrowingStream.makeStream() }
  static func pump(_ packets: OutgoingPackets, _ continuation: AsyncThrowingStream<WirePacket, any Error>.Continuation) async {
    do {
      while let next = try await packets.box.next() { for packet in next { continuation.yield(packet) } }
      continuation.finish()
    } catch {
      continuation.finish(throwing: error)
    }
  }

  @Test("A tree goes from one end to the other, and comes again unchanged without content", .timeLimit(.minutes(5)))
  func roundTrip() async throws {
    let scratch = try FileReceiverTests.Scratch()
    defer { scratch.remove() }
    var files = (0..<300).map { Self.file("f\(1000 + $0)", Array(repeating: UInt8($0 & 0xff), count: $0 * 997)) }
    files.append(Self.file("large", [UInt8](repeating: 7, count: 3_000_001)))
    let tree = MemoryTree(files: files.map { (entry: $0.0, bytes: $0.1) })
    for round in 0..<2 {
      let (toReceiver, toSender) = (OutgoingPackets(), OutgoingPackets())
      let (forReceiver, receiverInput) = Self.stream(), (forSender, senderInput) = Self.stream()
      let directory = scratch.directory
      let result = try await withThrowingTaskGroup(of: UpdatedDirectory?.self) { group in
        group.addTask { await Self.pump(toReceiver, receiverInput); return nil }
        group.addTask { await Self.pump(toSender, senderInput); return nil }
        group.addTask { try await FileTransfer.send(tree, from: forSender, to: toReceiver) { _ in }; return nil }
        group.addTask { try await FileTransfer.receive(into: directory, ReceiveOptions(), from: forReceiver, to: toSender) { _ in } }
        var result: UpdatedDirectory?
        for try await next in group { result = next ?? result }
        return result
      }
      #expect(result?.entries == 301)
      #expect(try scratch.directory.status("large").size == 3_000_001)
      #expect(try scratch.names.count == 301)
      if round == 1 { #expect(try scratch.directory.status("f1299").size == 299 * 997) }
    }
  }

  @Test("A receiver that asks for what it cannot have, or goes, ends the sender", .timeLimit(.minutes(5)))
  func hostileReceiver() async throws {
    let tree = MemoryTree(files: [Self.file("a", [1, 2])].map { (entry: $0.0, bytes: $0.1) })
    let cases: [[FilePacket]] = [[.request(1)], [.request(0), .request(0)], [.data(0, [1])], [.failure("no room")], [], [.request(.max)]]
    for packets in cases {
      let outbound = OutgoingPackets()
      let (input, continuation) = Self.stream()
      for packet in packets { continuation.yield(WirePacket(packet)) }
      continuation.finish()
      await #expect(throws: (any Error).self) { try await FileTransfer.send(tree, from: input, to: outbound) { _ in } }
    }
  }

  @Test("A receiver that never reads makes the sender wait, in little memory, until it is cancelled", .timeLimit(.minutes(5)))
  func silentReceiver() async throws {
    final class Count: Sendable {
      private let value = Mutex(0)
      var now: Int { value.withLock { $0 } }
      func add() { value.withLock { $0 += 1 } }
    }
    let told = Count()
    struct Endless: FileTree {
      let told: @Sendable () -> Void
      func walk(_ body: (FileEntry) throws -> Void) throws {
        for number in 0... {
          told()
          try body(FileEntry(path: Array("f\(number)".utf8), mode: 0o644))
        }
      }
      func read(_ path: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Void) throws {}
    }
    let outbound = OutgoingPackets()
    let (input, continuation) = Self.stream()
    let task = Task { try await FileTransfer.send(Endless { told.add() }, from: input, to: outbound) { _ in } }
    while told.now < 100 { try await Task.sleep(for: .milliseconds(5)) }
    task.cancel()
    await #expect(throws: (any Error).self) { try await task.value }
    continuation.finish()
    #expect(told.now < 100_000)
  }

  @Test("A stream that ends, or is cancelled, leaves whole files alone", .timeLimit(.minutes(5)))
  func ends() async throws {
    let scratch = try FileReceiverTests.Scratch()
    defer { scratch.remove() }
    let (input, continuation) = Self.stream()
    let directory = scratch.directory
    let packets: [FilePacket] = [
      FileReceiverTests.file("done", 2), FileReceiverTests.file("half", 200_000), .endOfEntries, .data(0, [1, 2]), .data(0, []), .data(1, [UInt8](repeating: 1, count: 100_000)),
    ]
    for packet in packets { continuation.yield(WirePacket(packet)) }
    continuation.finish()
    await #expect(throws: FileSyncError.self) {
      _ = try await FileTransfer.receive(into: directory, ReceiveOptions(), from: input, to: OutgoingPackets()) { _ in }
    }
    #expect(try scratch.names == ["done"])
  }

  @Test("Headers as BuildKit's client reads them")
  func headers() {
    let plain = SyncHeaders.request("context", DirectoryFilter(includePatterns: ["a b", "%"], followPaths: ["x"]))
    #expect(Array(plain[stringValues: "include-patterns"]) == ["a b", "%"])
    #expect(Array(plain[stringValues: "dir-name"]) == ["context"])
    #expect(Array(plain[stringValues: "include-patterns-encoded"]).isEmpty)
    let encoded = SyncHeaders.request("kontext", DirectoryFilter(excludePatterns: ["plain a", "käse/*"]))
    #expect(Array(encoded[stringValues: "exclude-patterns"]) == ["plain+a", "k%C3%A4se%2F%2A"])
    #expect(Array(encoded[stringValues: "exclude-patterns-encoded"]) == ["1"])
    let read = SyncHeaders.directory(encoded)
    #expect(read.name == "kontext" && read.filter == DirectoryFilter(excludePatterns: ["plain a", "käse/*"]))
    #expect(SyncHeaders.unescaped("%zz") == "" && SyncHeaders.unescaped("a%") == "")
  }

  @Test("Anything at all is read or refused")
  func anyBytes() throws {
    var random = SystemRandomNumberGenerator()
    let coding = FilePacketCoding()
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0..<40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      _ = try? bytes.withUnsafeBytes { try coding.decode($0) }
    }
  }
}
