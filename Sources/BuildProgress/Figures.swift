#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Numbers as the peers write them.
package enum Figures {
  /// Go's `%.Nf`: exactly rounded, half to even.
  package static func fixed(_ value: Double, _ digits: Int) -> String {
    withUnsafeTemporaryAllocation(byteCount: 400, alignment: 1) { buffer in
      let base = buffer.baseAddress!.assumingMemoryBound(to: CChar.self)
      let count = withVaList([Int32(clamping: digits), value]) { vsnprintf(base, buffer.count, "%.*f", $0) }
      return String(decoding: buffer.prefix(max(0, min(Int(count), buffer.count - 1))), as: UTF8.self)
    }
  }

  /// Decimal units with two decimals, whole bytes below 1 kB: `123B`, `1.23kB`.
  package static func bytes(_ count: Int64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    var unit = 0
    var base = 1.0
    let magnitude = Double(count.magnitude)
    while unit < units.count - 1, magnitude >= base * 1000 { base *= 1000; unit += 1 }
    return unit == 0 ? "\(count)B" : fixed(Double(count) / base, 2) + units[unit]
  }

  /// Go's `Duration.Seconds()`.
  package static func seconds(_ nanoseconds: Int64) -> Double {
    Double(nanoseconds / 1_000_000_000) + Double(nanoseconds % 1_000_000_000) / 1e9
  }

  /// The time a line of output came at, in the peers' precision: always five places until a hundred seconds.
  package static func logOffset(_ nanoseconds: Int64) -> String {
    let value = seconds(nanoseconds)
    return fixed(value, value < 10 ? 3 : value < 100 ? 2 : 1)
  }
}
