package import BuildInterface
package import GRPCCore

/// A message of fsutil's protocol (its types/wire.proto): who has the files tells of each entry in order, an entry's number being its place; who wants them asks for content by that number.
package enum FilePacket: Sendable, Equatable {
  case entry(FileEntry)
  /// No further entries.
  case endOfEntries
  case request(UInt32)
  /// No bytes: the end of the file.
  case data(UInt32, [UInt8])
  case finish
  case failure(String)
}

/// A packet and the bytes it has on the wire.
package struct WirePacket: Sendable, Equatable {
  package var packet: FilePacket
  package var size: Int
  package init(_ packet: FilePacket, size: Int = 0) { (self.packet, self.size) = (packet, size) }
}

/// Written and read by hand: a transfer has several messages a file, names need not be UTF-8 (the peers' do not have to be), and content is copied once.
package struct FilePacketCoding: MessageSerializer, MessageDeserializer {
  package var limits: FileSyncLimits
  package init(limits: FileSyncLimits = FileSyncLimits()) { self.limits = limits }

  // MARK: Writing

  package func serialize<Bytes: GRPCContiguousBytes>(_ message: WirePacket) throws -> Bytes { Bytes(Self.encode(message.packet)) }

  package static func encode(_ packet: FilePacket) -> [UInt8] {
    var out: [UInt8] = []
    switch packet {
    case .entry(let entry):
      let stat = encode(entry)
      out.reserveCapacity(stat.count + 8)
      field(2, stat, &out)
    case .endOfEntries: break
    case .request(let id):
      number(1, 1, &out)
      number(3, UInt64(id), &out)
    case .data(let id, let bytes):
      out.reserveCapacity(bytes.count + 16)
      number(1, 2, &out)
      number(3, UInt64(id), &out)
      field(4, bytes, &out)
    case .finish: number(1, 3, &out)
    case .failure(let text):
      number(1, 4, &out)
      field(4, Array(text.utf8), &out)
    }
    return out
  }

  package static func encode(_ entry: FileEntry) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(entry.path.count + 48)
    field(1, entry.path, &out)
    number(2, UInt64(entry.mode), &out)
    number(3, UInt64(entry.uid), &out)
    number(4, UInt64(entry.gid), &out)
    number(5, UInt64(bitPattern: entry.size), &out)
    number(6, UInt64(bitPattern: entry.modified), &out)
    field(7, entry.linkTarget, &out)
    number(8, UInt64(bitPattern: entry.deviceMajor), &out)
    number(9, UInt64(bitPattern: entry.deviceMinor), &out)
    for attribute in entry.attributes {
      var pair: [UInt8] = []
      field(1, attribute.name, &pair)
      field(2, attribute.value, &pair)
      field(10, pair, &out)
    }
    return out
  }

  private static func varint(_ value: UInt64, _ out: inout [UInt8]) {
    var rest = value
    while rest >= 0x80 {
      out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    out.append(UInt8(rest))
  }
  private static func number(_ field: UInt8, _ value: UInt64, _ out: inout [UInt8]) {
    if value == 0 { return }
    out.append(field << 3)
    varint(value, &out)
  }
  private static func field(_ field: UInt8, _ bytes: [UInt8], _ out: inout [UInt8]) {
    if bytes.isEmpty { return }
    out.append(field << 3 | 2)
    varint(UInt64(bytes.count), &out)
    out.append(contentsOf: bytes)
  }

  // MARK: Reading

  package func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> WirePacket {
    try bytes.withUnsafeBytes { WirePacket(try decode($0), size: $0.count) }
  }

  package func decode(_ bytes: UnsafeRawBufferPointer) throws -> FilePacket {
    var reader = WireReader(bytes)
    var type: UInt64 = 0, id: UInt32 = 0
    var stat: UnsafeRawBufferPointer?, data: UnsafeRawBufferPointer?
    while let field = try reader.next() {
      switch field {
      case .number(1, let value): type = value
      case .number(3, let value): id = UInt32(truncatingIfNeeded: value)
      case .bytes(2, let value): stat = value
      case .bytes(4, let value): data = value
      default: break
      }
    }
    switch type {
    case 0: return try stat.map { .entry(try entry($0)) } ?? .endOfEntries
    case 1: return .request(id)
    case 2: return .data(id, data.map { Array($0) } ?? [])
    case 3: return .finish
    case 4: return .failure(data.map { String(decoding: $0.prefix(4096), as: UTF8.self) } ?? "")
    default: throw FileSyncError(.violation, "a message of a kind that does not exist (\(type))")
    }
  }

  private func entry(_ bytes: UnsafeRawBufferPointer) throws -> FileEntry {
    if bytes.count > limits.entry { throw FileSyncError(.limit, "\(bytes.count) bytes about one file: more than the limit of \(limits.entry)") }
    var reader = WireReader(bytes)
    var entry = FileEntry()
    while let field = try reader.next() {
      switch field {
      case .bytes(1, let value): entry.path = Array(value)
      case .number(2, let value): entry.mode = UInt32(truncatingIfNeeded: value)
      case .number(3, let value): entry.uid = UInt32(truncatingIfNeeded: value)
      case .number(4, let value): entry.gid = UInt32(truncatingIfNeeded: value)
      case .number(5, let value): entry.size = Int64(bitPattern: value)
      case .number(6, let value): entry.modified = Int64(bitPattern: value)
      case .bytes(7, let value): entry.linkTarget = Array(value)
      case .number(8, let value): entry.deviceMajor = Int64(bitPattern: value)
      case .number(9, let value): entry.deviceMinor = Int64(bitPattern: value)
      case .bytes(10, let value): entry.attributes.append(try attribute(value))
      default: break
      }
    }
    return entry
  }

  private func attribute(_ bytes: UnsafeRawBufferPointer) throws -> FileEntry.Attribute {
    var reader = WireReader(bytes)
    var attribute = FileEntry.Attribute(name: [], value: [])
    while let field = try reader.next() {
      switch field {
      case .bytes(1, let value): attribute.name = Array(value)
      case .bytes(2, let value): attribute.value = Array(value)
      default: break
      }
    }
    return attribute
  }
}

/// The fields of a protobuf message.
struct WireReader {
  enum Field { case number(Int, UInt64), bytes(Int, UnsafeRawBufferPointer), other }
  private let bytes: UnsafeRawBufferPointer
  private var at = 0
  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// One field of a message, empty where it is absent.
  static func bytes(of wanted: Int, in message: UnsafeRawBufferPointer) throws -> [UInt8] {
    var reader = WireReader(message)
    var found: [UInt8] = []
    while let field = try reader.next() {
      if case .bytes(wanted, let value) = field { found = Array(value) }
    }
    return found
  }

  mutating func next() throws -> Field? {
    if at == bytes.count { return nil }
    let key = try varint()
    let field = Int(truncatingIfNeeded: key >> 3 & 0x1fff_ffff)
    if field == 0 { throw Self.malformed }
    switch key & 7 {
    case 0: return .number(field, try varint())
    case 1: try skip(8)
    case 2:
      let count = try varint()
      guard count <= UInt64(bytes.count - at) else { throw Self.malformed }
      defer { at += Int(count) }
      return .bytes(field, UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(count)]))
    case 5: try skip(4)
    default: throw Self.malformed
    }
    return .other
  }

  private mutating func skip(_ count: Int) throws {
    guard count <= bytes.count - at else { throw Self.malformed }
    at += count
  }

  private mutating func varint() throws -> UInt64 {
    var value: UInt64 = 0, shift: UInt64 = 0
    while at < bytes.count, shift < 70 {
      let byte = bytes[at]
      at += 1
      if shift < 64 { value |= UInt64(byte & 0x7f) << shift }
      if byte < 0x80 { return value }
      shift += 7
    }
    throw Self.malformed
  }

  private static let malformed = FileSyncError(.violation, "a malformed message")
}
