/// What a `# check=` line or BUILDKIT_DOCKERFILE_CHECK says: `skip=Rule,Rule;error=true;experimental=all`.
package struct CheckOptions: Sendable, Hashable {
  package var skipsAll = false
  package var skipped: Set<String> = []
  package var runsAllExperimental = false
  package var experimental: Set<String> = []
  /// A finding fails the build.
  package var failsBuild = false

  package init() {}

  /// Reads the options as BuildKit does: at most three parts, of which a later one of a kind counts.
  package init(parsing text: String) throws(DockerfileError) {
    let text = text.trimmedSpace
    if text.isEmpty { return }
    for part in text.split(separator: ";", maxSplits: 2, omittingEmptySubsequences: false).map(String.init) {
      guard let (name, raw) = part.cut(at: "=") else { throw DockerfileError(.directive, "invalid check option \(part.quoted)") }
      let value = raw.trimmedSpace
      switch name.trimmedSpace {
      case "skip": if value == "all" { skipsAll = true } else { skipped = Self.names(value) }
      case "experimental": if value == "all" { runsAllExperimental = true } else { experimental = Self.names(value) }
      case "error":
        guard let flag = GoValues.bool(value) else { throw DockerfileError(.directive, "failed to parse check option \(part.quoted): true or false is wanted") }
        failsBuild = flag
      case let other:
        throw DockerfileError(
          .directive, "invalid check option \(other.quoted)", suggestion: Suggestion.nearest(to: other, among: ["skip", "error", "experimental"]))
      }
    }
  }

  private static func names(_ list: String) -> Set<String> { Set(list.split(separator: ",", omittingEmptySubsequences: false).map { String($0).trimmedSpace }) }

  /// With what a comment above an instruction adds; it cannot make findings fail a build.
  func merging(_ other: CheckOptions) -> CheckOptions {
    var merged = self
    merged.skipsAll = skipsAll || other.skipsAll
    merged.runsAllExperimental = runsAllExperimental || other.runsAllExperimental
    merged.skipped.formUnion(other.skipped)
    merged.experimental.formUnion(other.experimental)
    return merged
  }

  func runs(_ rule: CheckRule) -> Bool {
    rule.isExperimental ? runsAllExperimental || experimental.contains(rule.name) : !(skipsAll || skipped.contains(rule.name))
  }

  /// The options of a comment that reads `check=…`; nil for any other comment, and for options that are none.
  static func ofComments(_ comments: [String]) -> CheckOptions? {
    for comment in comments {
      var reader = DirectiveReader(comment: "")
      guard let directive = try? reader.read(Array(comment.unicodeScalars), number: 1), directive.name == "check" else { continue }
      return try? CheckOptions(parsing: directive.firstWord)
    }
    return nil
  }
}

extension ParserDirective {
  /// The value up to its first space: all that counts of a `check` line.
  package var firstWord: String { String(String.UnicodeScalarView(value.unicodeScalars.prefix { $0 != " " })) }
}
