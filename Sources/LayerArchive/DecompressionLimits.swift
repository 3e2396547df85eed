#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// How much a layer, or another compressed stream, may become: a few bytes from a stranger must not fill the disk.
///
/// What anyone's layers are is allowed: up to 16 GiB, and beyond that up to a hundred times the bytes that it came in, as real files compress
/// less than that. Beyond both the user must say so (`MANIFOLD_MAX_LAYER_SIZE`). Holes of sparse files count like bytes.
package struct DecompressionLimits: Sendable, Equatable {
  /// Bytes after decompression, whatever the ratio. Default: 1 TiB.
  package var maximumSize: Int64
  /// Bytes out for each byte in, counted from `ratioFrom` bytes out on; nil is no limit.
  package var maximumRatio: Int64?
  /// Default: 16 GiB. (Below it a ratio says nothing: a layer of zeros is honest.)
  package var ratioFrom: Int64
  /// The whole compressed size where it is known; else what has been read so far counts.
  package var packedSize: Int64?
  /// The largest zstd window, as a power of two: the memory that a stream can claim. Default 27 (128 MiB), as the zstd tool has it.
  package var windowLog: Int

  package init(maximumSize: Int64 = 1 << 40, maximumRatio: Int64? = 100, ratioFrom: Int64 = 16 << 30, packedSize: Int64? = nil, windowLog: Int = 27) {
    (self.maximumSize, self.maximumRatio, self.ratioFrom, self.packedSize, self.windowLog) = (maximumSize, maximumRatio, ratioFrom, packedSize, windowLog)
  }

  /// What the environment says (`fromEnvironment`); where that has no meaning, as without it.
  package static let `default` = (try? fromEnvironment.get()) ?? DecompressionLimits()

  /// The same limits for a stream of a known size.
  package func packed(_ size: Int64) -> DecompressionLimits {
    var out = self
    out.packedSize = size
    return out
  }

  /// Throws `limit` when `size` bytes out are too many for `input` bytes in.
  package func check(_ size: Int64, from input: Int64, path: ByteString? = nil) throws {
    if size > maximumSize {
      throw LayerArchiveError(.limit, "it unpacks to more than \(ByteCount.text(maximumSize)): \(DecompressionLimits.advice)", path: path)
    }
    guard let maximumRatio, size > ratioFrom else { return }
    let (allowed, overflow) = max(packedSize ?? 0, input, 1).multipliedReportingOverflow(by: maximumRatio)
    if !overflow, size > allowed {
      throw LayerArchiveError(
        .limit, "it unpacks to more than \(ByteCount.text(ratioFrom)) and more than \(maximumRatio) times its own size: \(DecompressionLimits.advice)", path: path)
    }
  }

  // MARK: the user's word

  /// `MANIFOLD_MAX_LAYER_SIZE`: bytes, with a unit (`500MB`, `64GiB`, `2T`; powers of 1024 all), or `unlimited`. It replaces the rule of the ratio.
  package static let variable = "MANIFOLD_MAX_LAYER_SIZE"
  private static let advice = "if you trust it, set \(variable) to the size to allow (64GiB, say, or unlimited)"

  package static let fromEnvironment = Result<DecompressionLimits, any Error> {
    guard let text = getenv(variable).map({ String(cString: $0) }), !text.isEmpty else { return DecompressionLimits() }
    return try parse(text)
  }

  package static func parse(_ text: String) throws -> DecompressionLimits {
    if text.lowercased() == "unlimited" { return DecompressionLimits(maximumSize: .max, maximumRatio: nil) }
    guard let size = ByteCount.parse(text), size > 0 else {
      throw LayerArchiveError(.invalidOption, "\(variable)=\(text): expected a number of bytes with or without a unit (500MB, 64GiB), or unlimited")
    }
    return DecompressionLimits(maximumSize: size, maximumRatio: nil)
  }
}

/// Sizes as people write them.
private enum ByteCount {
  static let units = ["", "k", "m", "g", "t", "p"]

  static func parse(_ text: String) -> Int64? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    var unit = text.dropFirst(digits.count).lowercased()
    if unit.hasSuffix("ib") { unit.removeLast(2) } else if unit.hasSuffix("b") { unit.removeLast() }
    guard let number = Int64(digits), let power = units.firstIndex(of: unit) else { return nil }
    let (size, overflow) = number.multipliedReportingOverflow(by: 1 << (10 * Int64(power)))
    return overflow ? nil : size
  }

  static func text(_ bytes: Int64) -> String {
    var (value, unit) = (bytes, 0)
    while value >= 1024, value % 1024 == 0, unit < 5 { (value, unit) = (value / 1024, unit + 1) }
    return unit == 0 ? "\(value) bytes" : "\(value) \(units[unit].uppercased())iB"
  }
}
