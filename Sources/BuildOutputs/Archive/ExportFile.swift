internal import BuildInterface
internal import HostOS
internal import LayerArchive

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Writes one stream to where the client wants it. A file appears whole or not at all; what is no regular file (a pipe, a terminal) is written to as it is.
struct ExportFile: Sendable {
  let target: ExportTarget

  /// Runs `body`, which may block, with the sink. A client behind a connection is told the `answers`; false: it says that it has the same already.
  @discardableResult
  func write(_ answers: [String: String] = [:], _ body: @escaping @Sendable (any ByteSink) throws -> Void) async throws -> Bool {
    if case .remote(let client) = target { return try await client.sendArchive(answers) { sink in try body(ClientSink(sink)) } }
    try await Blocking.run { try writeHere(body) }
    return true
  }

  /// Blocks; call through Blocking.run.
  func writeHere<T>(_ body: (any ByteSink) throws -> T) throws -> T {
    switch target {
    case .remote: throw BuildError(.internal, .build, "a client's stream is not written to from here")
    case .directory(let path):
      throw BuildError(.invalidArgument, .usage, "\(path) is given as a directory, but this output is one file")
    case .descriptor(let raw):
      let own = dup(raw)
      guard own >= 0 else { throw HostError(errno: errno, operation: "duplicate the output", path: "") }
      return try body(DescriptorSink(Descriptor(owning: own)))
    case .file(let path): return try write(to: path, body)
    }
  }

  private func write<T>(to given: String, _ body: (any ByteSink) throws -> T) throws -> T {
    // The file behind a symbolic link is replaced, not the link.
    let path = (try? Files.status(given, followLast: false))?.kind == .symbolicLink ? Self.resolved(given) ?? given : given
    let present = try? Files.status(path)
    switch present?.kind {
    case .directory: throw BuildError(.invalidArgument, .usage, "the destination \(given) is a directory")
    case nil, .regular: break
    default: return try body(DescriptorSink(try Descriptor.open(path, flags: .writeOnly)))
    }
    let (folder, name) = Self.split(path)
    let directory: Directory
    do { directory = try Directory.open(folder) } catch let error as HostError where error.code == .notFound {
      throw BuildError(.notFound, .usage, "cannot write \(given): there is no directory \(folder)")
    }
    let temporary = ".\(name.prefix(200)).\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
    let file = try directory.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o666, follow: .none)
    do {
      let value = try body(DescriptorSink(file))
      if let present { try file.setMode(present.permissions) }
      try file.syncData()
      try file.close()
      try directory.rename(temporary, to: name)
      return value
    } catch {
      try? directory.unlink(temporary)
      throw error
    }
  }

  private static func split(_ path: String) -> (folder: String, name: String) {
    guard let slash = path.utf8.lastIndex(of: 0x2f) else { return (".", path) }
    let folder = String(path[..<slash])
    return (folder.isEmpty ? "/" : folder, String(path[path.utf8.index(after: slash)...]))
  }

  private static func resolved(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}

/// A client's stream as an archive writes to it.
private final class ClientSink: ByteSink {
  private let sink: any ExportSink
  init(_ sink: any ExportSink) { self.sink = sink }
  func write(_ bytes: UnsafeRawBufferPointer) throws { try sink.write(bytes) }
  func finish() throws {}
}
