internal import OCIModel

/// An amount of disk: bytes, or a share of the whole disk.
package struct DiskSpace: Sendable, Hashable {
  package var bytes: Int64 = 0
  package var percent: Int64 = 0

  package init(bytes: Int64 = 0, percent: Int64 = 0) { (self.bytes, self.percent) = (bytes, percent) }

  /// `512000000`, `512MB` (powers of 1024), `10%`; empty is nothing said. Nil for what is none of these.
  package init?(_ text: String) {
    if text.isEmpty { return }
    if text.hasSuffix("%") {
      guard let percent = Int64(text.dropLast()), percent >= 0 else { return nil }
      self.percent = percent
    } else {
      guard let bytes = Self.size(text) else { return nil }
      self.bytes = bytes
    }
  }

  package var isUnset: Bool { self == DiskSpace() }

  /// Bytes on a disk of that size; a share is rounded up to whole gigabytes, as BuildKit does. Of an unknown disk (0) it is 2 GB.
  package func bytes(ofDisk total: Int64) -> Int64 {
    if bytes != 0 || percent == 0 { return bytes }
    if total == 0 { return 2_000_000_000 }
    let (product, overflow) = total.multipliedReportingOverflow(by: percent)
    return ((overflow ? total / 100 * percent : product / 100) / (1 << 30) + 1) * 1_000_000_000
  }

  /// `units.RAMInBytes`.
  private static func size(_ text: String) -> Int64? {
    guard let last = text.lastIndex(where: { ("0"..."9").contains($0) || $0 == "." || $0 == " " }) else { return nil }
    let number = text[last] == " " ? text[..<last] : text[...last]
    guard number.first != "+", let value = Double(number), value.isFinite, value >= 0 else { return nil }
    let unit = text[text.index(after: last)...].lowercased()
    var scale = 1.0
    if let first = unit.first, unit != "b" {
      guard let power = ["k", "m", "g", "t", "p"].firstIndex(of: String(first)), ["", "b", "ib"].contains(unit.dropFirst()) else { return nil }
      for _ in 0...power { scale *= 1024 }
    }
    let bytes = value * scale
    return bytes < 9.2e18 ? Int64(bytes) : nil
  }
}

package enum ConfigDuration {
  /// Nanoseconds: a duration in Go's words (`48h`), or a number of seconds.
  package static func parse(_ text: String) -> Int64? {
    if let time = GoDuration.parse(text) { return time }
    guard let seconds = Int64(text) else { return nil }
    let (time, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? nil : time
  }
}
