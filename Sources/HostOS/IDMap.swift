/// How ids of a user namespace stand for ids outside, as /proc/PID/uid_map has it.
package struct IDMap: Sendable, Hashable, Codable {
  package struct Range: Sendable, Hashable, Codable {
    package var inside: UInt32
    package var outside: UInt32
    package var count: UInt32
    package init(inside: UInt32, outside: UInt32, count: UInt32) { (self.inside, self.outside, self.count) = (inside, outside, count) }
  }

  package var ranges: [Range]
  package init(_ ranges: [Range]) { self.ranges = ranges }

  /// No namespace: every id is itself.
  package static let initial = IDMap([Range(inside: 0, outside: 0, count: .max)])
  package var isInitial: Bool { self == .initial }

  /// Lines of three numbers.
  init(text: String) {
    ranges = text.split(separator: "\n").compactMap { line in
      let numbers = line.split(whereSeparator: \.isWhitespace).compactMap { UInt32($0) }
      return numbers.count == 3 ? Range(inside: numbers[0], outside: numbers[1], count: numbers[2]) : nil
    }
  }

  /// Of this process; `initial` where the system has no such thing.
  static func ofProcess(_ file: String) -> IDMap {
    guard let text = Files.text("/proc/self/" + file) else { return .initial }
    return IDMap(text: text)
  }

  /// Whether an id of the namespace exists: a file cannot be given to one that does not.
  package func contains(_ inside: UInt32) -> Bool { outside(of: inside) != nil }

  package func outside(of inside: UInt32) -> UInt32? {
    for range in ranges where inside >= range.inside && inside - range.inside < range.count { return range.outside &+ (inside - range.inside) }
    return nil
  }

  package func inside(of outside: UInt32) -> UInt32? {
    for range in ranges where outside >= range.outside && outside - range.outside < range.count { return range.inside &+ (outside - range.outside) }
    return nil
  }

  /// How many ids there are.
  package var count: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }
}
