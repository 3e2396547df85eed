/// Checks that need nothing but the file.
extension Dockerfile {
  /// Parses a syntax tree and reports what its instructions look like, also those before a mistake.
  ///
  /// - Throws: as ``init(_:)``.
  package init(_ tree: SyntaxTree, checks: CheckScope) throws(DockerfileError) {
    for warning in tree.warnings {
      switch warning.code {
      case .emptyContinuationLine: checks.report(.noEmptyContinuation, "Empty continuation line", at: warning.range)
      case .invalidUTF8: checks.report(.invalidUTF8, warning.message, at: warning.range)
      }
    }
    try self.init(tree) { node in InstructionChecks(node: node, scope: checks.merging(comments: node.comments)).run() }
    checkStageNames(checks)
    checkCasing(checks)
  }

  private func checkStageNames(_ checks: CheckScope) {
    var seen: Set<String> = []
    for stage in stages {
      guard let name = stage.name else { continue }
      if name == "context" || name == "scratch" {
        checks.report(.reservedStageName, "Stage name should not use the same name as reserved stage \(name.quoted)", in: stage.origin, "as " + name, name)
      }
      if !seen.insert(name).inserted {
        checks.report(.duplicateStageName, "Duplicate stage name \(name.quoted), stage names should be unique", in: stage.origin, name)
      }
    }
  }

  /// The case of most instructions is the one that all should have. ARGs before the first FROM are not counted, as in BuildKit.
  private func checkCasing(_ checks: CheckScope) {
    let origins = stages.flatMap { [$0.origin] + $0.instructions.map(\.origin) }
    let lower = origins.count { $0.keyword == $0.keyword.lowercased() }
    let upper = origins.count { $0.keyword != $0.keyword.lowercased() && $0.keyword == $0.keyword.uppercased() }
    let isLower = lower > upper
    for origin in origins where origin.keyword != (isLower ? origin.keyword.lowercased() : origin.keyword.uppercased()) {
      checks.report(
        .consistentInstructionCasing,
        "Command '\(origin.keyword)' should match the case of the command majority (\(isLower ? "lowercase" : "uppercase"))", in: origin, origin.keyword)
    }
  }
}

/// What one instruction's own text shows.
struct InstructionChecks {
  let node: InstructionNode
  let scope: CheckScope

  /// `built` is nil before the instruction was given its meaning.
  func run() -> (InstructionBuilder.Built) -> Void {
    switch node.keyword.asciiLowercased {
    case "maintainer": scope.report(.maintainerDeprecated, "Maintainer instruction is deprecated in favor of using label", at: node.range, word: node.keywordRange)
    case "from":
      let words = node.arguments
      if words.count == 3, words[2] != words[2].lowercased() {
        scope.report(.stageNameCasing, "Stage name '\(words[2])' should be lowercase", at: node.range, word: node.range(ofArgument: 2))
      }
      if words.count >= 3, !matchesCase(words[1]) {
        scope.report(.fromAsCasing, "'\(words[1])' and '\(node.keyword)' keywords' casing do not match", at: node.range, word: node.range(ofArgument: 1))
      }
    default: break
    }
    return { built in
      switch built {
      case .stage(let stage): if let name = stage.name { checkDescription("FROM", [name]) }
      case .instruction(.arg(let arg)): checkDescription("ARG", arg.arguments.map(\.key))
      default: break
      }
    }
  }

  /// FROM's own case is another rule's matter.
  private func matchesCase(_ word: String) -> Bool {
    if node.keyword == node.keyword.lowercased() { return word == word.lowercased() }
    if node.keyword == node.keyword.uppercased() { return word == word.uppercased() }
    return true
  }

  private func checkDescription(_ instruction: String, _ names: [String]) {
    guard let last = node.comments.last, let first = names.first else { return }
    let word = String(String.UnicodeScalarView(last.unicodeScalars.prefix { $0 != " " }))
    if names.contains(word) { return }
    scope.report(
      .invalidDefinitionDescription, "Comment for \(instruction) should follow the format: `# \(names.count > 1 ? "<arg_key>" : first) <description>`", at: node.range)
  }
}
