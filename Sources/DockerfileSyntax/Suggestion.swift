/// Finds the word that was meant.
package enum Suggestion {
  /// The longest word, in Unicode scalars, that is compared; a longer one is no slip of the fingers.
  static let longestWord = 1000

  /// The option nearest to `word` by edit distance, if it is less than three edits away and none is equal to it.
  ///
  /// With `ignoringCase` the answer is in the case of `word`: lower where that is lower, else upper.
  package static func nearest(to word: String, among options: [String], ignoringCase: Bool = false) -> String? {
    let wanted = ignoringCase ? word.asciiLowercased : word
    guard wanted.utf8.count <= 4 * longestWord else { return nil }
    let scalars = Array(wanted.unicodeScalars)
    guard scalars.count <= longestWord else { return nil }
    var best: String?
    var bestDistance = 3
    for option in options {
      // A scalar has four bytes at most: this spares all others the walk through their scalars.
      guard abs(option.utf8.count - wanted.utf8.count) < 4 * bestDistance else { continue }
      let candidate = ignoringCase ? option.asciiLowercased : option
      if candidate == wanted { return nil }
      if let distance = distance(scalars, Array(candidate.unicodeScalars), below: bestDistance) {
        (best, bestDistance) = (candidate, distance)
      }
    }
    guard let best, ignoringCase else { return best }
    return word == wanted ? best : best.asciiUppercased
  }

  /// The number of insertions, deletions and substitutions between two words, or nil when it is not below `limit`. Only the cells of the table are
  /// filled in that can hold less than `limit`, a few in each row, so that it costs no more than the longer word.
  static func distance(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar], below limit: Int) -> Int? {
    guard limit > 0, abs(a.count - b.count) < limit else { return nil }
    let reach = limit - 1, width = 2 * reach + 1
    // row[k] is the distance of a's first i scalars and b's first i - reach + k.
    var row = (0..<width).map { $0 >= reach && $0 - reach <= b.count ? $0 - reach : limit }
    for i in stride(from: 1, through: a.count, by: 1) {
      var least = limit, next = Array(repeating: limit, count: width)
      for k in 0..<width {
        let j = i - reach + k
        guard j >= 0, j <= b.count else { continue }
        var value = k + 1 < width ? row[k + 1] + 1 : limit
        if j > 0 {
          value = min(value, row[k] + (a[i - 1] == b[j - 1] ? 0 : 1))
          if k > 0 { value = min(value, next[k - 1] + 1) }
        }
        next[k] = min(value, limit)
        least = min(least, next[k])
      }
      if least >= limit { return nil }
      row = next
    }
    let result = row[b.count - a.count + reach]
    return result < limit ? result : nil
  }
}
