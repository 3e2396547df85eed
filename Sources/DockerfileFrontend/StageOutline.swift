internal import DockerfileSyntax

/// An ARG with its value in this build.
struct DeclaredArgument: Sendable {
  var name: String
  var value = ""
  var documentation: String?
  var range: SourceRange
  /// The arguments that its default is made of.
  var uses: Set<String> = []
}

/// What a stage takes from outside.
struct StageOutline {
  struct Need {
    var name: String
    var required: Bool
    var range: SourceRange
  }
  var declared: [String: DeclaredArgument] = [:]
  private(set) var used: Set<String> = []
  private(set) var secrets: [Need] = []
  private(set) var agents: [Need] = []

  mutating func use(_ name: String) { used.insert(name) }
  mutating func needSecret(_ name: String, required: Bool, at range: SourceRange) {
    if !secrets.contains(where: { $0.name == name }) { secrets.append(Need(name: name, required: required, range: range)) }
  }
  mutating func needSSH(_ name: String, required: Bool, at range: SourceRange) {
    if !agents.contains(where: { $0.name == name }) { agents.append(Need(name: name, required: required, range: range)) }
  }

  /// The declared arguments that are used, by the stage or by another one's default.
  var arguments: [DeclaredArgument] {
    var all: Set<String> = [], rest = Array(used)
    while let name = rest.popLast() { if all.insert(name).inserted { rest += declared[name]?.uses ?? [] } }
    return all.compactMap { declared[$0] }
  }
}

extension StageState {
  /// Its outline with those of the stages that it stands on and reads; of two of a name the nearest counts.
  func gathered() -> BuildOutline {
    var seen: Set<ObjectIdentifier> = [], stack = [self]
    var arguments: [String: DeclaredArgument] = [:], secrets: [String: StageOutline.Need] = [:], agents: [String: StageOutline.Need] = [:]
    while let stage = stack.popLast() {
      guard seen.insert(ObjectIdentifier(stage)).inserted else { continue }
      for argument in stage.outline.arguments where arguments[argument.name] == nil { arguments[argument.name] = argument }
      for need in stage.outline.secrets where secrets[need.name] == nil { secrets[need.name] = need }
      for need in stage.outline.agents where agents[need.name] == nil { agents[need.name] = need }
      stack += stage.dependencies.map(\.stage).reversed() + (stage.base.map { [$0] } ?? [])
    }
    func sorted(_ needs: [String: StageOutline.Need]) -> [BuildOutline.Need] {
      needs.values.sorted { ($0.range.start.line, $0.name) < ($1.range.start.line, $1.name) }
        .map { BuildOutline.Need(name: $0.name, required: $0.required, ranges: $0.range.lineRanges) }
    }
    return BuildOutline(
      name: name ?? "", documentation: documentation ?? "",
      arguments: arguments.values.sorted { ($0.range.start.line, $0.name) < ($1.range.start.line, $1.name) }
        .map { .init(name: $0.name, value: $0.value, documentation: $0.documentation ?? "", ranges: $0.range.lineRanges) },
      secrets: sorted(secrets), agents: sorted(agents))
  }
}
