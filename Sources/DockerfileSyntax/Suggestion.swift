/// Finds the word that was meant.
package enum Suggestion {
  /// The option nearest to `word` by edit distance, if it is less than three edits away and none is equal to it.
  ///
  /// With `ignoringCase` the answer is in the case of `word`: lower where that is lower, else upper.
  package static func nearest(to word: String, among options: [String], ignoringCase: Bool = false) -> String? {
    let wanted = ignoringCase ? word.asciiLowercased : word
    var best: String?
    var bestDistance = 3
    for option in options {
      let candidate = ignoringCase ? option.asciiLowercased : option
      if candidate == wanted { return nil }
      if let distance = distance(wanted, candidate, below: bestDistance) {
        (best, bestDistance) = (candidate, distance)
      }
    }
    guard let best, ignoringCase else { return best }
    return word == wanted ? best : best.asciiUppercased
  }

  /// The number of insertions, deletions and substitutions between two words, or nil when it is not below `limit`.
  static func distance(_ left: String, _ right: String, below limit: Int) -> Int? {
    let (a, b) = (Array(left.unicodeScalars), Array(right.unicodeScalars))
    guard abs(a.count - b.count) < limit else { return nil }
    var previous = Array(0...b.count)
    for i in 0..<a.count {
      var current = [i + 1]
      current.reserveCapacity(b.count + 1)
      for j in 0..<b.count {
        current.append(min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1)))
      }
      if let least = current.min(), least >= limit { return nil }
      previous = current
    }
    return previous[b.count] < limit ? previous[b.count] : nil
  }
}
