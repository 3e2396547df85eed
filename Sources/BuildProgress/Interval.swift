/// A span of work in nanoseconds since the epoch; without an end it goes on.
package struct Interval: Sendable, Hashable {
  package var start: Int64
  package var stop: Int64?
  package init(start: Int64, stop: Int64? = nil) { (self.start, self.stop) = (start, stop) }

  package func duration(at now: Int64) -> Int64 { max(0, (stop ?? now) - start) }

  /// Overlapping spans united, in order of their start; what follows an open one is part of it.
  package static func merge(_ intervals: some Sequence<Interval>) -> [Interval] {
    var merged: [Interval] = []
    for next in intervals.sorted(by: { $0.start < $1.start }) {
      guard let last = merged.last else { merged.append(next); continue }
      guard let stop = last.stop else { break }
      if stop < next.start {
        merged.append(next)
      } else if next.stop.map({ $0 > stop }) ?? true {
        merged[merged.count - 1].stop = next.stop
      }
    }
    return merged
  }
}

extension Sequence where Element == Interval {
  package func duration(at now: Int64) -> Int64 { reduce(0) { $0 + $1.duration(at: now) } }
}
