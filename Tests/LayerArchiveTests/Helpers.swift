import Foundation
import HostOS
import OCIModel
import Testing

@testable import LayerArchive

#if canImport(Glibc)
  import Glibc
#endif

let isRoot = geteuid() == 0

/// A directory that is gone afterwards.
func withScratch<Value>(_ body: (String) throws -> Value) throws -> Value {
  let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
  let path = "\(base)/layerarchive-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
  guard mkdir(path, 0o755) == 0 else { throw HostError(errno: errno, operation: "mkdir", path: path) }
  defer { try? Directory.open(base).removeTree(String(path.dropFirst(base.count + 1))) }
  return try body(path)
}

func makeDirectory(_ path: String) throws -> Directory {
  mkdir(path, 0o755)
  chmod(path, 0o755)
  return try Directory.open(path)
}

/// Runs a program; nil when it is not installed (said aloud).
@discardableResult
func run(_ program: String, _ arguments: [String], input: [UInt8]? = nil, directory: String? = nil) throws -> (status: Int32, output: [UInt8])? {
  let found = "/usr/bin:/bin:/usr/local/bin:/root/.pyenv/shims".split(separator: ":").map { "\($0)/\(program)" }.first { (path: String) in access(path, X_OK) == 0 }
  guard let found else {
    print("SKIPPED: \(program) is not installed")
    return nil
  }
  let process = Process()
  process.executableURL = URL(fileURLWithPath: found)
  process.arguments = arguments
  if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
  // A file, not a pipe to be read to its end: programs that other tests start may inherit the other end.
  let output = try temporaryFile()
  process.standardOutput = output
  process.standardError = FileHandle.nullDevice
  process.standardInput = FileHandle.nullDevice
  if let input {
    let file = try temporaryFile()
    try file.write(contentsOf: Data(input))
    try file.seek(toOffset: 0)
    process.standardInput = file
  }
  try process.run()
  process.waitUntilExit()
  try output.seek(toOffset: 0)
  return (process.terminationStatus, [UInt8](try output.readToEnd() ?? Data()))
}

/// A file without a name.
private func temporaryFile() throws -> FileHandle {
  var path = Array((NSTemporaryDirectory() + "layerarchive-XXXXXX").utf8CString)
  let descriptor = mkstemp(&path)
  guard descriptor >= 0 else { throw HostError(errno: errno, operation: "mkstemp", path: NSTemporaryDirectory()) }
  unlink(path)
  return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
}

/// An entry with its content.
struct Item {
  var entry: TarEntry
  var content: [UInt8]
  static func file(_ path: ByteString, _ content: String = "", mode: UInt32 = 0o644, uid: Int64 = 0, gid: Int64 = 0, time: Int64 = 1_000_000, xattrs: [String: [UInt8]] = [:]) -> Item {
    let bytes = Array(content.utf8)
    return Item(entry: TarEntry(path: path, mode: mode, uid: uid, gid: gid, size: Int64(bytes.count), modified: Timestamp(seconds: time), xattrs: xattrs), content: bytes)
  }
  static func directory(_ path: ByteString, mode: UInt32 = 0o755, uid: Int64 = 0, time: Int64 = 1_000_000, xattrs: [String: [UInt8]] = [:]) -> Item {
    Item(entry: TarEntry(path: path, kind: .directory, mode: mode, uid: uid, modified: Timestamp(seconds: time), xattrs: xattrs), content: [])
  }
  static func link(_ path: ByteString, to target: ByteString) -> Item { Item(entry: TarEntry(path: path, kind: .symbolicLink, linkTarget: target, mode: 0o777, modified: Timestamp(seconds: 1_000_000)), content: []) }
  static func hard(_ path: ByteString, to target: ByteString) -> Item { Item(entry: TarEntry(path: path, kind: .hardLink, linkTarget: target, modified: Timestamp(seconds: 1_000_000)), content: []) }
  static func node(_ path: ByteString, _ kind: TarEntry.Kind, _ major: Int64 = 0, _ minor: Int64 = 0) -> Item {
    Item(entry: TarEntry(path: path, kind: kind, modified: Timestamp(seconds: 1_000_000), deviceMajor: major, deviceMinor: minor), content: [])
  }
  static func whiteout(_ path: ByteString) -> Item { file(path) }
}

func tar(_ items: [Item], style: TarWriter.Style = .pax) throws -> [UInt8] {
  let sink = BytesSink()
  let writer = TarWriter(sink, style: style)
  for item in items {
    try writer.begin(item.entry)
    try item.content.withUnsafeBytes { try writer.write($0) }
  }
  try writer.finish()
  return sink.bytes
}

func read(_ bytes: [UInt8], step: Int = .max, limits: TarLimits = .default, globalHeaders: GlobalHeaders = .apply, bufferSize: Int = 1 << 18) throws -> [Item] {
  let reader = TarReader(BytesSource(bytes, step: step), limits: limits, globalHeaders: globalHeaders, bufferSize: bufferSize)
  var out: [Item] = []
  while let entry = try reader.next() { out.append(Item(entry: entry, content: try TarContent(reader).readToEnd(limit: 1 << 26))) }
  try reader.drain()
  return out
}

func compress(_ bytes: [UInt8], _ compression: Compression, level: Int? = nil, step: Int = .max) throws -> [UInt8] {
  let sink = BytesSink()
  let compressor = try compression.compressor(into: sink, level: level)
  var rest = bytes[...]
  while !rest.isEmpty {
    try compressor.write(Array(rest.prefix(step)))
    rest = rest.dropFirst(step)
  }
  try compressor.finish()
  return sink.bytes
}

func decompress(_ bytes: [UInt8], step: Int = .max, limits: DecompressionLimits = .default) throws -> [UInt8] {
  try DetectingSource(BytesSource(bytes, step: step), limits: limits).readToEnd(limit: 1 << 30)
}

func code(_ body: () throws -> Void) -> LayerArchiveError.Code? {
  do { try body() } catch let error as LayerArchiveError { return error.code } catch { return nil }
  return nil
}

/// Text-like bytes that compress, the same each time.
func sample(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var random = Random(seed)
  let words = (0..<300).map { _ in (0..<Int(random.next() % 9 + 2)).map { _ in UInt8(random.next() % 26 + 97) } }
  var out: [UInt8] = []
  out.reserveCapacity(count + 16)
  while out.count < count { out += words[Int(random.next() % 300)] + [32] }
  return Array(out.prefix(count))
}

/// SplitMix64.
struct Random: RandomNumberGenerator {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// A tree, a line for each file: path, type and mode, owner, size, time, links, attributes, content or target.
func listing(_ directory: Directory, times: Bool = true) throws -> [String] {
  var out: [String] = []
  func walk(_ path: String) throws {
    for entry in try directory.entries(path.isEmpty ? "." : path).sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
      let here = path.isEmpty ? entry.name : path + "/" + entry.name
      let s = try directory.status(here)
      var line = "\(here) \(s.kind) \(String(s.permissions, radix: 8)) \(s.uid):\(s.gid)"
      if times { line += " \(s.mtime)" }
      switch s.kind {
      case .regular: line += " \(s.links) \(Digest.sha256(of: try directory.openFile(here).readToEnd(limit: 1 << 26)).hex.prefix(8))/\(s.size)"
      case .symbolicLink: line += " -> \(try directory.readLink(here))"
      case .characterDevice, .blockDevice: line += " \(s.rdev.major),\(s.rdev.minor)"
      default: break
      }
      for name in try directory.xattrNames(here).sorted() where name != "trusted.overlay.origin" && name != "trusted.overlay.impure" && name != "security.selinux" {
        line += " \(name)=\(String(decoding: try directory.xattr(here, name) ?? [], as: UTF8.self))"
      }
      out.append(line)
      if s.kind == .directory { try walk(here) }
    }
  }
  try walk("")
  return out
}
