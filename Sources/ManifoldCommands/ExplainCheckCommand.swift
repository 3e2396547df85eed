internal import ArgumentParser
internal import BuildInterface
internal import DockerfileSyntax

/// `manifold explain-check`: what a check of a Dockerfile is about.
struct ExplainCheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain-check", abstract: "Say what a check of a Dockerfile is about, with an example.", usage: "manifold explain-check [<rule>…]",
    discussion: """
      Examples:
        manifold explain-check                     # all rules
        manifold explain-check WorkdirRelativePath
        manifold build --check .                   # which of them a Dockerfile breaks

      A rule is passed over with a line `# check=skip=RULE` at the head of a Dockerfile or right above an instruction, or for one build with
      --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=RULE. With error=true what is found fails the build.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The rule's name. Default: a list of all.", valueName: "rule")) var names: [String] = []

  mutating func run() async throws { Terminal.output(try Self.text(names)) }

  static func text(_ names: [String]) throws -> String {
    if names.isEmpty { return list }
    let rules = try names.map { name in
      if let rule = CheckRule.named(name) { return rule }
      let meant = Spelling.nearest(to: name, among: CheckRule.all.map(\.name)).map { "Did you mean \($0)? " } ?? ""
      throw BuildError.usage("there is no check \"\(name)\"", suggestion: "\(meant)manifold explain-check lists them.")
    }
    return rules.map(text).joined(separator: "\n")
  }

  private static var list: String {
    let rows = CheckRule.all.map { [$0.name + ($0.isExperimental ? " (experimental)" : $0.isOwn ? " (manifold's own)" : ""), $0.explanation?.meaning ?? $0.description] }
    return Columns.text(rows.map { [$0[0], firstSentence($0[1])] }, padding: 3)
  }

  private static func firstSentence(_ text: String) -> String { text.firstRange(of: ". ").map { String(text[..<$0.lowerBound]) + "." } ?? text }

  private static func text(_ rule: CheckRule) -> String {
    let kind = rule.isExperimental ? " (experimental: runs only with check=experimental=\(rule.name))" : rule.isOwn ? " (manifold's own: fails a build only with --strict-checks)" : ""
    var out = "\(rule.name)\(kind)\n"
    guard let explanation = rule.explanation else { return out + rule.description + "\n" }
    out += "\n" + wrapped(explanation.meaning) + "\n" + wrapped(explanation.reason) + "\nInstead of\n\n"
    out += indented(explanation.bad) + "\nwrite\n\n" + indented(explanation.good)
    return out + (rule.url.isEmpty ? "" : "\n\(rule.url)\n")
  }

  private static func indented(_ text: String) -> String { text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.isEmpty ? "\n" : "  \($0)\n" }.joined() }

  /// Lines of up to 100 characters.
  private static func wrapped(_ text: String) -> String {
    var lines: [String] = [], line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, line.count + word.count + 1 > 100 {
        lines.append(line)
        line = ""
      }
      line += (line.isEmpty ? "" : " ") + word
    }
    return (lines + [line]).joined(separator: "\n") + "\n"
  }
}
