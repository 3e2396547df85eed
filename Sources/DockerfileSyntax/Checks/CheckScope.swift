import Synchronization

/// Gathers what the checks of one Dockerfile find, in the order they find it.
///
/// What a hostile file can make of it is bounded: each finding names all lines of its instruction, so that many findings in long instructions would be
/// more than a file's square. No file that a person wrote comes near the bounds.
package final class CheckLog: Sendable {
  private struct State {
    var findings: [CheckFinding] = []
    var rules: Set<CheckRule> = []
    var lines = 0
    var searched = 0
    var compared = 0
  }
  /// The most lines that all findings may name together; findings beyond them only count as such.
  package static let maximumLines = 400_000
  /// How much text is searched for the words that findings are about, in characters.
  package static let maximumSearch = 16 << 20
  /// How many names are looked at for what may have been meant.
  package static let maximumComparisons = 1_000_000
  /// What was spent of these.
  package var work: (searched: Int, compared: Int) { state.withLock { ($0.searched, $0.compared) } }

  private let state = Mutex(State())
  package init() {}
  package var findings: [CheckFinding] { state.withLock { $0.findings } }
  /// The rules that something was found for.
  package var rules: Set<CheckRule> { state.withLock { $0.rules } }

  /// Makes a finding and adds it, unless there is too much already.
  func add(_ rule: CheckRule, lines: Int, _ finding: () -> CheckFinding) {
    let isWanted = state.withLock { state in
      state.rules.insert(rule)
      state.lines += lines
      return state.lines <= CheckLog.maximumLines
    }
    guard isWanted else { return }
    let made = finding()
    state.withLock { $0.findings.append(made) }
  }

  /// Whether a text of so many characters may be searched for a word.
  package func maySearch(_ characters: Int) -> Bool {
    state.withLock { state in
      guard state.searched + characters <= CheckLog.maximumSearch else { return false }
      state.searched += characters
      return true
    }
  }

  /// Whether so many names may be looked at for the one that was meant.
  package func mayCompare(_ names: Int) -> Bool {
    state.withLock { state in
      guard state.compared + names <= CheckLog.maximumComparisons else { return false }
      state.compared += names
      return true
    }
  }
}

/// Where checks report to, with the options in effect at a place of the file.
package struct CheckScope: Sendable {
  /// nil: nobody listens.
  package let log: CheckLog?
  package private(set) var options: CheckOptions

  package init(log: CheckLog?, options: CheckOptions = CheckOptions()) { (self.log, self.options) = (log, options) }
  /// Checks that tell nobody.
  package static let silent = CheckScope(log: nil)

  package func report(_ rule: CheckRule, _ message: @autoclosure () -> String, at range: SourceRange, word: SourceRange? = nil, patch: String? = nil) {
    guard let log, options.runs(rule) else { return }
    log.add(rule, lines: range.lines.count) { CheckFinding(rule, message(), ranges: range.lineRanges, patch: patch, focus: word) }
  }

  /// Reports what is about a word of an instruction: the first of `words` that stands there, and in it the next.
  package func report(_ rule: CheckRule, _ message: @autoclosure () -> String, in origin: InstructionOrigin, _ words: String...) {
    guard let log, options.runs(rule) else { return }
    let word = log.maySearch(origin.code.utf8.count) ? origin.range(of: WordFault(words)) : nil
    log.add(rule, lines: origin.range.lines.count) { CheckFinding(rule, message(), ranges: origin.range.lineRanges, focus: word) }
  }

  /// Reports what is about a variable that an instruction refers to.
  package func report(_ rule: CheckRule, _ message: @autoclosure () -> String, in origin: InstructionOrigin, variable: String, escape: Unicode.Scalar) {
    guard let log, options.runs(rule) else { return }
    let word = log.maySearch(origin.code.utf8.count) ? origin.range(ofVariable: variable, escape: escape) : nil
    log.add(rule, lines: origin.range.lines.count) { CheckFinding(rule, message(), ranges: origin.range.lineRanges, focus: word) }
  }

  /// The name nearest to the one that is not known, while there is time to look for it.
  package func nearest(to name: String, among names: [String]) -> String? {
    guard let log, log.mayCompare(names.count) else { return nil }
    return Suggestion.nearest(to: name, among: names)
  }

  /// With the options of a `# check=` comment right above an instruction.
  package func merging(comments: [String]) -> CheckScope {
    guard log != nil, !comments.isEmpty, let more = CheckOptions.ofComments(comments) else { return self }
    var copy = self
    copy.options = options.merging(more)
    return copy
  }

  /// Rules that fail the build by `error=true`: sorted, each once. Those of our own only with `includingOwn`.
  package func failures(includingOwn: Bool) -> [String] {
    guard options.failsBuild, let log else { return [] }
    return log.rules.filter { includingOwn || !$0.isOwn }.map(\.name).sorted()
  }
}
