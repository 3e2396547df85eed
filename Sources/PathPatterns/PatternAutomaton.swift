/// Matches a path against an expression in one pass, whatever the pattern: a set of states is kept in the bits of a word.
///
/// Bit i says that the next character is for token i; the bit after the last token says that all are done. A text that must stand at the
/// path's start or end is compared first, which settles most paths.
struct PatternAutomaton: Sendable {
  /// States with what they do, each one word of bits.
  private struct Word: Sendable {
    /// For each ASCII character the states that take it.
    var accepting = [UInt64](repeating: 0, count: 128)
    /// States that stay when they take a character.
    var loops: UInt64 = 0
    /// States that stay, and that a slash moves on.
    var folderLoops: UInt64 = 0
    /// States that lead to the next one without a character.
    var nullable: UInt64 = 0
    /// States that lead to the one after the next without a character.
    var skipping: UInt64 = 0
    /// States that lead to the next one without a character at the path's start only.
    var starts: UInt64 = 0
  }

  private var words: [Word] = []
  private var sets: [ScalarSet?] = []
  private var stateCount = 0
  private let isAnchored: Bool
  /// The text that a path must begin with, and the one it must end with.
  private(set) var prefix: [UInt8] = []
  private(set) var suffix: [UInt8] = []

  init(_ branch: PatternBranch) {
    isAnchored = branch.isAnchored
    var tokens = branch.tokens[...]
    while case .one(let set)? = tokens.first, let scalar = set.single {
      prefix += Array(String(Character(scalar)).utf8)
      tokens = tokens.dropFirst()
    }
    if isAnchored {
      // Only as far as a slash: below a folder, all up to the folder's own slash must be the automaton's to judge.
      var end: [[UInt8]] = []
      while case .one(let set)? = tokens.last, let scalar = set.single, scalar != "/" {
        end.append(Array(String(Character(scalar)).utf8))
        tokens = tokens.dropLast()
      }
      suffix = Array(end.reversed().joined())
    }
    for token in tokens { add(token) }
    stateCount = sets.count
    if stateCount / 64 >= words.count { words.append(Word()) }
  }

  private mutating func add(_ token: PatternToken) {
    switch token {
    case .one(let set): addState(set)
    case .maybe(let set): addState(set) { $0.nullable |= $1 }
    case .many(let set): addState(set) { $0.loops |= $1; $0.nullable |= $1 }
    case .folders:
      addState(nil) { $0.nullable |= $1; $0.skipping |= $1 }
      addState(.anyButNewline) { $0.folderLoops |= $1 }
    case .start:
      // A prefix has been passed by then.
      let isPossible = prefix.isEmpty
      addState(nil) { if isPossible { $0.starts |= $1 } }
    }
  }

  private mutating func addState(_ set: ScalarSet?, _ mark: (inout Word, UInt64) -> Void = { _, _ in }) {
    let (word, bit) = (sets.count / 64, UInt64(1) << UInt64(sets.count % 64))
    if word == words.count { words.append(Word()) }
    mark(&words[word], bit)
    if let set { for value in 0..<UInt32(128) where set.contains(value) { words[word].accepting[Int(value)] |= bit } }
    sets.append(set)
  }

  func matches(_ path: UnsafeBufferPointer<UInt8>) -> Bool {
    guard path.count >= prefix.count + suffix.count else { return false }
    for index in prefix.indices where path[index] != prefix[index] { return false }
    let end = path.count - suffix.count
    for index in suffix.indices where path[end + index] != suffix[index] { return false }
    return run(path, from: prefix.count, to: end) == .matched
  }

  /// Whether some path below `folder` could match.
  func couldMatch(below folder: UnsafeBufferPointer<UInt8>) -> Bool {
    let common = min(prefix.count, folder.count)
    for index in 0..<common where path(folder, differsFromPrefixAt: index) { return false }
    if folder.count < prefix.count { return prefix[folder.count] == UInt8(ascii: "/") }
    // The folder with its slash must leave some state alive; the suffix is still to come.
    return run(folder, from: prefix.count, to: folder.count, thenSlash: true) != .dead
  }

  private func path(_ path: UnsafeBufferPointer<UInt8>, differsFromPrefixAt index: Int) -> Bool { path[index] != prefix[index] }

  private enum Outcome { case dead, alive, matched }

  private func run(_ path: UnsafeBufferPointer<UInt8>, from: Int, to: Int, thenSlash: Bool = false) -> Outcome {
    words.count == 1 ? runNarrow(path, from: from, to: to, thenSlash: thenSlash) : runWide(path, from: from, to: to, thenSlash: thenSlash)
  }

  /// The states that take a character beyond ASCII.
  private func accepting(_ value: UInt32, word: Int) -> UInt64 {
    var mask: UInt64 = 0
    for state in (word * 64)..<min(word * 64 + 64, stateCount) where sets[state]?.contains(value) ?? false { mask |= 1 << UInt64(state % 64) }
    return mask
  }

  private func runNarrow(_ path: UnsafeBufferPointer<UInt8>, from: Int, to: Int, thenSlash: Bool) -> Outcome {
    words.withUnsafeBufferPointer { words in
      let word = words[0]
      let final = UInt64(1) << UInt64(stateCount)
      func closed(_ states: UInt64, atStart: Bool = false) -> UInt64 {
        var states = states
        while true {
          var more = states | (states & word.nullable) << 1 | (states & word.skipping) << 2
          if atStart { more |= (states & word.starts) << 1 }
          if more == states { return states }
          states = more
        }
      }
      return word.accepting.withUnsafeBufferPointer { ascii in
        var states = closed(1, atStart: from == 0)
        var index = from
        let end = thenSlash ? to + 1 : to
        while index < end {
          if !isAnchored, states & final != 0 { return .matched }
          let byte = index < to ? path[index] : UInt8(ascii: "/")
          let taking: UInt64
          if byte < 0x80 {
            taking = states & ascii[Int(byte)]
            index += 1
          } else {
            let (value, length) = scalar(path, at: index, end: to)
            taking = states & accepting(value, word: 0)
            index += length
          }
          let staying = taking & (word.loops | word.folderLoops)
          var moving = taking & ~(word.loops | word.folderLoops)
          if byte == UInt8(ascii: "/") { moving |= taking & word.folderLoops }
          states = closed(staying | moving << 1)
          if states == 0 { return .dead }
        }
        return states & final != 0 ? .matched : .alive
      }
    }
  }

  /// The same for patterns of more than 63 characters.
  private func runWide(_ path: UnsafeBufferPointer<UInt8>, from: Int, to: Int, thenSlash: Bool) -> Outcome {
    func shifted(_ states: [UInt64]) -> [UInt64] {
      var result = states
      var carry: UInt64 = 0
      for word in result.indices { (result[word], carry) = (states[word] << 1 | carry, states[word] >> 63) }
      return result
    }
    func closed(_ states: [UInt64], atStart: Bool = false) -> [UInt64] {
      var states = states
      while true {
        var (one, two) = (states, states)
        for word in words.indices {
          one[word] &= words[word].nullable | (atStart ? words[word].starts : 0)
          two[word] &= words[word].skipping
        }
        (one, two) = (shifted(one), shifted(shifted(two)))
        var more = states
        for word in words.indices { more[word] |= one[word] | two[word] }
        if more == states { return states }
        states = more
      }
    }
    func isFinal(_ states: [UInt64]) -> Bool { states[stateCount / 64] & 1 << UInt64(stateCount % 64) != 0 }
    var states = [UInt64](repeating: 0, count: words.count)
    states[0] = 1
    states = closed(states, atStart: from == 0)
    var index = from
    while index < (thenSlash ? to + 1 : to) {
      if !isAnchored, isFinal(states) { return .matched }
      let (value, length) = index < to ? scalar(path, at: index, end: to) : (0x2F, 1)
      index += length
      var moving = states
      var staying = states
      for word in words.indices {
        let taking = states[word] & (value < 0x80 ? words[word].accepting[Int(value)] : accepting(value, word: word))
        staying[word] = taking & (words[word].loops | words[word].folderLoops)
        moving[word] = taking & ~(words[word].loops | words[word].folderLoops)
        if value == 0x2F { moving[word] |= taking & words[word].folderLoops }
      }
      moving = shifted(moving)
      for word in words.indices { moving[word] |= staying[word] }
      states = closed(moving)
      if states.allSatisfy({ $0 == 0 }) { return .dead }
    }
    return isFinal(states) ? .matched : .alive
  }

  /// The character at a place and its length; U+FFFD and 1 where the bytes are no UTF-8.
  private func scalar(_ path: UnsafeBufferPointer<UInt8>, at index: Int, end: Int) -> (UInt32, Int) {
    let first = path[index]
    if first < 0x80 { return (UInt32(first), 1) }
    let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
    guard first >= 0xC2, first <= 0xF4, index + length <= end else { return (0xFFFD, 1) }
    var value = UInt32(first) & (0x7F >> UInt32(length))
    for offset in 1..<length {
      guard path[index + offset] & 0xC0 == 0x80 else { return (0xFFFD, 1) }
      value = value << 6 | UInt32(path[index + offset] & 0x3F)
    }
    let isShortest = value >= (length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000)
    guard isShortest, Unicode.Scalar(value) != nil else { return (0xFFFD, 1) }
    return (value, length)
  }
}
