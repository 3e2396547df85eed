internal import ContentStore
internal import HostOS
internal import LayerArchive

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// An archive as a plain tar in a regular file: the user's own where it is that already, else one without a name on the store's disk.
enum ArchiveInput {
  /// Blocks.
  static func plain(_ input: HostOS.Descriptor, in store: ContentStore, isCancelled: @escaping () -> Bool) throws -> HostOS.Descriptor {
    var head = [UInt8](repeating: 0, count: 6)
    // A file is read by offsets, so that its position stays at its beginning.
    let isFile = try input.status().kind == .regular && lseek(input.raw, 0, SEEK_CUR) == 0
    let pipe = PipeSource(input, isCancelled)
    let count = try head.withUnsafeMutableBytes { try isFile ? input.readFully(into: $0, at: 0) : pipe.readFully(into: $0) }
    guard count > 0 else { throw ImageToolsError(.invalidArchive, "the archive is empty") }
    let known = Array(head.prefix(count))
    if isFile, !isOther(known), try Compression.detect(known) == .none { return input }
    return try spooled(isFile ? file(input, known) : piped(known, pipe), in: store, isCancelled)
  }

  private static func spooled(_ source: any ByteSource, in store: ContentStore, _ isCancelled: () -> Bool) throws -> HostOS.Descriptor {
    let file = try store.scratchFile()
    let buffer = IOBuffer(1 << 20)
    do {
      while true {
        if isCancelled() { throw CancellationError() }
        let n = try source.read(into: buffer.all)
        if n == 0 { return file }
        try file.write(buffer.head(n))
      }
    } catch let error as LayerArchiveError {
      throw ArchiveFiles.invalid("it cannot be read", error)
    } catch let error as HostError where error.code == .noSpace {
      throw StoreError(.noSpace, "cannot unpack the archive: no space left on the device that holds \(store.root): free some, or put the store elsewhere with --root", path: store.root, cause: error)
    }
  }

  private static func isOther(_ head: [UInt8]) -> Bool { isXZ(head) || isBzip2(head) }
  private static func isXZ(_ head: [UInt8]) -> Bool { head.starts(with: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) }
  private static func isBzip2(_ head: [UInt8]) -> Bool { head.starts(with: [0x42, 0x5a, 0x68]) }

  private static func file(_ input: HostOS.Descriptor, _ head: [UInt8]) throws -> any ByteSource {
    isOther(head) ? try ProgramSource(isXZ(head) ? "xz" : "bzip2", input) : try DetectingSource(DescriptorSource(input))
  }

  private static func piped(_ head: [UInt8], _ rest: PipeSource) throws -> any ByteSource {
    guard !isOther(head) else {
      let program = isXZ(head) ? "xz" : "bzip2"
      throw ImageToolsError(.unsupported, "an archive that comes through a pipe cannot be compressed with \(program)", suggestion: "Put \(program) -dc before it, or give the file with -i.")
    }
    return try DetectingSource(HeadedSource(head, rest))
  }
}

/// A pipe, whose other end may be silent for ever: whoever waits for it can be told to stop.
private final class PipeSource: ByteSource {
  private let input: HostOS.Descriptor
  private let isCancelled: () -> Bool
  init(_ input: HostOS.Descriptor, _ isCancelled: @escaping () -> Bool) { (self.input, self.isCancelled) = (input, isCancelled) }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    while true {
      if isCancelled() { throw CancellationError() }
      var wanted = pollfd(fd: input.raw, events: Int16(POLLIN), revents: 0)
      // What cannot be waited for is read at once.
      if poll(&wanted, 1, 100) != 0 { return try input.read(into: buffer) }
    }
  }
}

/// Bytes already read, then the rest.
private final class HeadedSource: ByteSource {
  private var head: [UInt8]
  private let rest: any ByteSource
  init(_ head: [UInt8], _ rest: any ByteSource) { (self.head, self.rest) = (head, rest) }
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    guard !head.isEmpty else { return try rest.read(into: buffer) }
    let n = min(buffer.count, head.count)
    buffer.copyBytes(from: head.prefix(n))
    head.removeFirst(n)
    return n
  }
}

/// What one of the system's decompressors makes of a file, within the limits of layers.
private final class ProgramSource: ByteSource {
  private let process: FilterProcess
  private let program: String
  private let size: Int64
  private var count: Int64 = 0

  init(_ program: String, _ file: HostOS.Descriptor) throws {
    self.program = program
    size = try file.size
    do { process = try FilterProcess(program, ["-d", "-c", "-q"], input: file) } catch let error as HostError where error.code == .notFound {
      throw ImageToolsError(.unsupported, "the archive is compressed with \(program), and the program \(program) is not installed", cause: error)
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let n = try process.output.read(into: buffer)
    count += Int64(n)
    try DecompressionLimits.default.packed(size).check(count, from: size)
    if n == 0, !buffer.isEmpty {
      do { try process.finish() } catch { throw LayerArchiveError(.corruptCompression, "\(program) cannot decompress it", cause: error) }
    }
    return n
  }
}
