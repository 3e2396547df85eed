/// A pattern of `${name#…}`, `${name%…}` and `${name/…/…}`, matched against one text: `*` is any characters, `?` one, `\` escapes.
///
/// `*` and `?` do not match a newline. Where a pattern can match in several ways, the first star takes as much (greedy) or as little as it
/// can, then the second, and so on: what a backtracking regular expression finds, but in time proportional to pattern times text.
struct ShellPattern {
  private enum Token { case any, literal(Unicode.Scalar) }

  private let text: [Unicode.Scalar]
  private let isGreedy: Bool
  /// The parts between the stars; each has a fixed length.
  private var segments: [[Token]] = [[]]
  /// For each place the next newline (or the end): a star reaches no further.
  private var lineEnds: [Int] = []
  /// For a star and the end of a line: from which place on nothing in that line matches what follows the star.
  private var failures: [Int: Int] = [:]

  /// The most steps that the patterns of one word may take.
  static let maximumWork = 1 << 26

  init(_ pattern: [Unicode.Scalar], text: [Unicode.Scalar], isGreedy: Bool) throws(DockerfileError) {
    (self.text, self.isGreedy) = (text, isGreedy)
    var index = pattern.first == "\u{FEFF}" ? 1 : 0
    var afterStar = false
    while index < pattern.count {
      let scalar = pattern[index]
      index += 1
      if scalar == "*" {
        if !afterStar { segments.append([]) }
        afterStar = true
        continue
      }
      var token = Token.literal(scalar)
      if scalar == "?" {
        token = .any
      } else if scalar == "\\" {
        // `}` and `/` are escaped for the sake of `${}`, not as a part of the pattern.
        let escaped = index < pattern.count ? pattern[index] : nil
        if escaped == "}" || escaped == "/" { continue }
        guard let escaped, escaped == "*" || escaped == "?" || escaped == "\\" else {
          throw DockerfileError(.expansion, "the pattern \(pattern.text.quoted) has a \\ before something other than * ? \\ } /")
        }
        index += 1
        token = .literal(escaped)
      }
      afterStar = false
      segments[segments.count - 1].append(token)
    }
    if segments.count > 1 {
      lineEnds = Array(repeating: text.count, count: text.count + 1)
      for place in stride(from: text.count - 1, through: 0, by: -1) {
        lineEnds[place] = text[place] == "\n" ? place : lineEnds[place + 1]
      }
    }
  }

  private func matches(_ segment: [Token], at place: Int) -> Bool {
    guard place + segment.count <= text.count else { return false }
    for (offset, token) in segment.enumerated() {
      switch token {
      case .any: if text[place + offset] == "\n" { return false }
      case .literal(let scalar): if text[place + offset] != scalar { return false }
      }
    }
    return true
  }

  /// Where a match that begins at `start` ends, or nil.
  mutating func match(at start: Int) -> Int? {
    guard matches(segments[0], at: start) else { return nil }
    let first = start + segments[0].count
    if segments.count == 1 { return first }

    struct Frame { var low, candidate, high, lineEnd: Int }
    var frames: [Frame] = []
    func frame(star: Int, at place: Int) -> Frame {
      let lineEnd = lineEnds[place]
      let high = min(lineEnd, (failures[star * (text.count + 1) + lineEnd] ?? lineEnd + 1) - 1)
      return Frame(low: place, candidate: isGreedy ? high : place, high: high, lineEnd: lineEnd)
    }
    frames.append(frame(star: 1, at: first))
    while let top = frames.last {
      let star = frames.count
      guard top.low <= top.high, top.candidate >= top.low, top.candidate <= top.high else {
        let key = star * (text.count + 1) + top.lineEnd
        failures[key] = min(failures[key] ?? Int.max, top.low)
        frames.removeLast()
        continue
      }
      frames[star - 1].candidate += isGreedy ? -1 : 1
      guard matches(segments[star], at: top.candidate) else { continue }
      let end = top.candidate + segments[star].count
      if star == segments.count - 1 { return end }
      frames.append(frame(star: star + 1, at: end))
    }
    return nil
  }

  /// The first match that begins at `start` or later.
  mutating func firstMatch(from start: Int) -> Range<Int>? {
    var place = start
    while place <= text.count {
      if let end = match(at: place) { return place..<end }
      place += 1
    }
    return nil
  }

  /// The text with each match replaced; an empty match right after another is none.
  ///
  /// In the replacement `$0` and `${0}` stand for the match, `$$` for a dollar sign, and any other `$name` for nothing: the rules of
  /// the Go function that BuildKit calls, reached when a replacement's variable holds a dollar sign.
  mutating func replacingAll(with replacement: [Unicode.Scalar]) throws(DockerfileError) -> [Unicode.Scalar] {
    let template = ReplacementTemplate(replacement)
    var result: [Unicode.Scalar] = []
    var (lastEnd, search) = (0, 0)
    while search <= text.count, let match = firstMatch(from: search) {
      result += text[lastEnd..<match.lowerBound]
      if match.upperBound > lastEnd || match.lowerBound == 0 { template.append(to: &result, match: text[match]) }
      guard result.count <= WordLexer.maximumLength else {
        throw DockerfileError(.limit, "the result is longer than \(WordLexer.maximumLength) characters")
      }
      lastEnd = match.upperBound
      search = max(search + 1, match.upperBound)
    }
    return result + text[lastEnd...]
  }

  /// The pattern for the reversed text: escapes stay before what they escape.
  static func reversed(_ pattern: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var result: [Unicode.Scalar] = []
    var index = 0
    while index < pattern.count {
      if pattern[index] == "\\", index + 1 < pattern.count {
        result += [pattern[index + 1], pattern[index]]
        index += 2
      } else {
        result.append(pattern[index])
        index += 1
      }
    }
    return result.reversed()
  }
}

/// The replacement of `${name//pattern/replacement}` in pieces.
private struct ReplacementTemplate {
  private enum Piece { case text([Unicode.Scalar]), match }
  private var pieces: [Piece] = []

  init(_ source: [Unicode.Scalar]) {
    var literal: [Unicode.Scalar] = []
    var index = 0
    while index < source.count {
      guard source[index] == "$", index + 1 < source.count else {
        literal.append(source[index])
        index += 1
        continue
      }
      if source[index + 1] == "$" {
        literal.append("$")
        index += 2
        continue
      }
      let isBraced = source[index + 1] == "{"
      let start = index + (isBraced ? 2 : 1)
      var end = start
      while end < source.count, source[end].isLetter || source[end].isDigit || source[end] == "_" { end += 1 }
      guard end > start, !isBraced || (end < source.count && source[end] == "}") else {
        literal.append("$")
        index += 1
        continue
      }
      if source[start..<end].text == "0" {
        pieces += [.text(literal), .match]
        literal = []
      }
      index = isBraced ? end + 1 : end
    }
    pieces.append(.text(literal))
  }

  func append(to result: inout [Unicode.Scalar], match: ArraySlice<Unicode.Scalar>) {
    for piece in pieces {
      switch piece {
      case .text(let text): result += text
      case .match: result += match
      }
    }
  }
}
