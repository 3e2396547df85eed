import Synchronization

/// Gathers what the checks of one Dockerfile find, in the order they find it.
package final class CheckLog: Sendable {
  private let state = Mutex<[CheckFinding]>([])
  package init() {}
  package var findings: [CheckFinding] { state.withLock { $0 } }
  package func add(_ finding: CheckFinding) { state.withLock { $0.append(finding) } }
}

/// Where checks report to, with the options in effect at a place of the file.
package struct CheckScope: Sendable {
  /// nil: nobody listens.
  package let log: CheckLog?
  package private(set) var options: CheckOptions

  package init(log: CheckLog?, options: CheckOptions = CheckOptions()) { (self.log, self.options) = (log, options) }
  /// Checks that tell nobody.
  package static let silent = CheckScope(log: nil)

  package func report(_ rule: CheckRule, _ message: @autoclosure () -> String, at range: SourceRange, patch: String? = nil) {
    guard let log, options.runs(rule) else { return }
    log.add(CheckFinding(rule, message(), ranges: range.lineRanges, patch: patch))
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
    return Set(log.findings.filter { includingOwn || !$0.rule.isOwn }.map(\.rule.name)).sorted()
  }
}
