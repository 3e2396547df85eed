package import OCIModel

/// Tells of the builds that a store remembers.
package protocol BuildExplaining: Sendable {
  /// The newest first.
  func builds() async throws -> [BuildSummary]
  /// Why each step of a build was taken from the cache, or was not. `ref` may be cut short; nil takes the last build. Throws `BuildError`.
  func explain(_ ref: String?) async throws -> BuildExplanation
}

/// A build as the store remembers it.
package struct BuildSummary: Sendable, Hashable {
  package enum Outcome: String, Sendable { case completed, failed, cancelled }
  /// The build's id, as in progress and metadata files.
  package var ref: String
  /// The context's path on the client; empty when it was none of a directory.
  package var context: String
  package var dockerfile: String
  package var target: String
  package var started: Timestamp
  /// In nanoseconds.
  package var duration: Int64
  package var outcome: Outcome
  /// Of a failed build.
  package var error: String
  package init(
    ref: String, context: String, dockerfile: String, target: String, started: Timestamp, duration: Int64, outcome: Outcome, error: String = ""
  ) {
    self.ref = ref
    self.context = context
    self.dockerfile = dockerfile
    self.target = target
    self.started = started
    self.duration = duration
    self.outcome = outcome
    self.error = error
  }
}

/// Why the steps of a build were taken from the cache, or were not.
package struct BuildExplanation: Sendable, Hashable {
  package struct Step: Sendable, Hashable {
    package enum Outcome: String, Sendable { case cached, executed, failed, cancelled, waiting }
    package var name: String
    package var platform: String
    package var outcome: Outcome
    /// In nanoseconds.
    package var duration: Int64
    /// At least one.
    package var reasons: [Reason]
    package init(name: String, platform: String, outcome: Outcome, duration: Int64, reasons: [Reason]) {
      self.name = name
      self.platform = platform
      self.outcome = outcome
      self.duration = duration
      self.reasons = reasons
    }
  }
  package struct Reason: Sendable, Hashable {
    package enum Kind: String, Sendable {
      /// Nothing that counts differs from an earlier build.
      case unchanged
      /// The command, an argument, an option or the base image differs.
      case definition
      /// Files that it reads differ.
      case content
      /// A step that it stands on was built anew.
      case input
      /// Told to.
      case forced
      case first, new, notKept, gone, notReached, source
    }
    package var kind: Kind
    package var text: String
    package init(_ kind: Kind, _ text: String) { (self.kind, self.text) = (kind, text) }
  }
  package var build: BuildSummary
  /// What it was compared with; nil when there is none.
  package var previous: BuildSummary?
  /// Inputs before those that read them.
  package var steps: [Step]
  package init(build: BuildSummary, previous: BuildSummary?, steps: [Step]) {
    self.build = build
    self.previous = previous
    self.steps = steps
  }
}
