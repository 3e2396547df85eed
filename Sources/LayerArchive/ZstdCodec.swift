import CHostOS
import CZstd

/// Compresses into one zstd frame with a checksum. Always by the library's multi-threaded way, whose output does not depend on the number of
/// threads (but differs from the single-threaded one).
final class ZstdCompressor: ByteSink {
  private let sink: any ByteSink
  private let context: OpaquePointer
  private let output = IOBuffer(max(ZSTD_CStreamOutSize(), 1 << 18))

  init(into sink: any ByteSink, level: Int, threads: Int = max(1, min(Int(hostos_cores()), 8))) throws {
    guard let context = ZSTD_createCCtx() else { throw LayerArchiveError(.system, "no memory for a compressor") }
    (self.sink, self.context) = (sink, context)
    try set(ZSTD_c_compressionLevel, Int32(level))
    try set(ZSTD_c_checksumFlag, 1)
    // Jobs of 4 MiB: enough for both cores of a small machine on a middling layer, and the memory stays small.
    try set(ZSTD_c_nbWorkers, Int32(threads))
    if level < 13 { try set(ZSTD_c_jobSize, 4 << 20) }
  }
  deinit { ZSTD_freeCCtx(context) }

  private func set(_ parameter: ZSTD_cParameter, _ value: Int32) throws { try Zstd.check(ZSTD_CCtx_setParameter(context, parameter, value), .system) }

  func write(_ bytes: UnsafeRawBufferPointer) throws {
    var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
    while input.pos < input.size { _ = try step(&input, ZSTD_e_continue) }
  }

  func finish() throws {
    var input = ZSTD_inBuffer(src: nil, size: 0, pos: 0)
    while try step(&input, ZSTD_e_end) != 0 {}
    try sink.finish()
  }

  private func step(_ input: inout ZSTD_inBuffer, _ directive: ZSTD_EndDirective) throws -> Int {
    var out = ZSTD_outBuffer(dst: output.base, size: output.all.count, pos: 0)
    let left = try Zstd.check(ZSTD_compressStream2(context, &out, &input, directive), .system)
    if out.pos > 0 { try sink.write(output.head(out.pos)) }
    return left
  }
}

/// Decompresses zstd frames, any number of them, skippable ones between.
final class ZstdSource: ByteSource {
  private let source: any ByteSource
  private let context: OpaquePointer
  private let buffer = IOBuffer(1 << 18)
  private var input: ZSTD_inBuffer
  private var inFrame = true

  init(_ source: any ByteSource, windowLog: Int) throws {
    guard let context = ZSTD_createDCtx() else { throw LayerArchiveError(.system, "no memory for a decompressor") }
    (self.source, self.context) = (source, context)
    input = ZSTD_inBuffer(src: buffer.base, size: 0, pos: 0)
    try Zstd.check(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Int32(windowLog)), .invalidOption)
  }
  deinit { ZSTD_freeDCtx(context) }

  func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
    if target.isEmpty { return 0 }
    var out = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
    var ended = false
    while out.pos == 0 {
      if input.pos == input.size, !ended {
        input.size = try source.read(into: buffer.all)
        input.pos = 0
        ended = input.size == 0
        // The end between two frames is the end of the stream.
        if ended, !inFrame { return 0 }
      }
      let before = input.pos
      let left = try Zstd.check(ZSTD_decompressStream(context, &out, &input), .corruptCompression)
      inFrame = left != 0
      if out.pos == 0, ended, input.pos == before { throw LayerArchiveError(.truncated, "the zstd stream ends in the middle") }
    }
    return out.pos
  }
}

enum Zstd {
  @discardableResult
  static func check(_ result: Int, _ code: LayerArchiveError.Code) throws -> Int {
    guard ZSTD_isError(result) != 0 else { return result }
    let reason = String(cString: ZSTD_getErrorName(result))
    if ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge { throw LayerArchiveError(.limit, "zstd: the stream asks for a larger window than allowed") }
    throw LayerArchiveError(code, "zstd: \(reason)")
  }
}
