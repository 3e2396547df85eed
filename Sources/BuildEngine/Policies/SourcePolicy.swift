internal import BuildInterface
internal import BuildKitProto
internal import OCIModel
internal import PathPatterns

/// The rules of one policy, made ready: which sources a build may read, and what is read in their place (BuildKit's sourcepolicy).
struct SourcePolicy: Sendable {
  private struct Constraint {
    var key: String
    var value: String
    var condition: Moby_Buildkit_V1_Sourcepolicy_AttrMatch
    var expression: RegularExpression?
  }
  private struct Rule {
    var action: Moby_Buildkit_V1_Sourcepolicy_PolicyAction
    var identifier: String
    var type: Moby_Buildkit_V1_Sourcepolicy_MatchType
    /// Of a wildcard too: each `*` is a group.
    var expression: RegularExpression?
    var constraints: [Constraint]
    var updates: Moby_Buildkit_V1_Sourcepolicy_Update?
  }
  private let rules: [Rule]
  /// Rules of one policy.
  static let limit = 10_000

  /// Throws `BuildError` for rules that nobody could follow.
  init(_ policy: Moby_Buildkit_V1_Sourcepolicy_Policy) throws {
    guard policy.rules.count <= Self.limit else { throw Self.invalid("a source policy has \(policy.rules.count) rules, more than the limit of \(Self.limit)") }
    rules = try policy.rules.map { rule in
      guard rule.hasSelector else { throw Self.invalid("invalid nil selector in policy") }
      let selector = rule.selector
      if case .UNRECOGNIZED(let action) = rule.action { throw Self.invalid("source policy: rule \(action) \(selector.identifier): unknown type") }
      var expression: RegularExpression?
      switch selector.matchType {
      case .exact: break
      case .regex: expression = try Self.expression(selector.identifier)
      case .wildcard: expression = try Self.wildcard(selector.identifier)
      case .UNRECOGNIZED(let type): throw Self.invalid("unknown match type: \(type)")
      }
      let constraints = try selector.constraints.map { constraint in
        if case .UNRECOGNIZED(let condition) = constraint.condition { throw Self.invalid("unknown attr condition: \(condition)") }
        return Constraint(key: constraint.key, value: constraint.value, condition: constraint.condition, expression: constraint.condition == .matches ? try Self.expression(constraint.value) : nil)
      }
      return Rule(action: rule.action, identifier: selector.identifier, type: selector.matchType, expression: expression, constraints: constraints, updates: rule.hasUpdates ? rule.updates : nil)
    }
  }

  private static func invalid(_ what: String) -> BuildError { BuildError(.invalidArgument, .usage, what) }
  private static func expression(_ text: String) throws -> RegularExpression {
    do { return try RegularExpression(text) } catch { throw invalid("error matching source policy: invalid regex \(text.debugDescription): \(error.reason)") }
  }
  private static func wildcard(_ text: String) throws -> RegularExpression {
    guard !text.contains("**") else { throw invalid("error matching source policy: failed to translate wildcard \(text.debugDescription) to regexp: invalid wildcard: \"**\"") }
    var quoted = ""
    for scalar in text.unicodeScalars {
      if scalar == "*" { quoted += "(.*)" } else {
        if scalar.value < 0x80, #"\.+?()|[]{}^$"#.unicodeScalars.contains(scalar) { quoted += "\\" }
        quoted.unicodeScalars.append(scalar)
      }
    }
    return try expression("^" + quoted + "$")
  }

  private func matches(_ rule: Rule, _ source: Pb_SourceOp) -> Bool {
    for constraint in rule.constraints {
      let value = source.attrs[constraint.key] ?? ""
      switch constraint.condition {
      case .equal: guard Self.same(value, constraint.value) else { return false }
      case .notequal: guard !Self.same(value, constraint.value) else { return false }
      default: guard constraint.expression?.matches(value) == true else { return false }
      }
    }
    return Self.same(rule.identifier, source.identifier) || rule.expression?.matches(source.identifier) == true
  }

  /// Swift takes texts for equal that are written differently.
  private static func same(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

  /// One pass. Of rules that allow or deny the last one that matches decides; the first that changes the source ends the pass. Whether it was changed.
  func apply(to source: inout Pb_SourceOp) throws -> Bool {
    let asked = source.identifier
    var isDenied = false
    for rule in rules where matches(rule, source) {
      switch rule.action {
      case .allow: isDenied = false
      case .deny: isDenied = true
      default: if try convert(&source, rule) { return true }
      }
    }
    guard !isDenied else { throw SourcePolicies.denied("source \(asked.debugDescription) denied by policy: source denied by policy") }
    return false
  }

  private func convert(_ source: inout Pb_SourceOp, _ rule: Rule) throws -> Bool {
    guard let updates = rule.updates else { throw Self.invalid("error mutating source policy: missing destination for convert rule") }
    let template = updates.identifier.isEmpty ? rule.identifier : updates.identifier
    let target: String
    switch rule.type {
    case .exact: target = template
    case .regex: target = rule.expression?.replacingAll(in: source.identifier, with: template) ?? template
    default: target = rule.expression.flatMap { expression in expression.firstMatch(in: source.identifier).map { expression.expand(template, $0) } } ?? source.identifier
    }
    var isChanged = false
    if !target.isEmpty, !Self.same(target, source.identifier) {
      source.identifier = target
      isChanged = true
    }
    for (key, value) in updates.attrs where !Self.same(source.attrs[key] ?? "", value) {
      source.attrs[key] = value
      isChanged = true
    }
    return isChanged
  }
}

/// All that decides for one build which sources it reads: what its client sent, and what the client answers when it is asked.
struct SourcePolicies: Sendable {
  let policies: [SourcePolicy]
  /// Asked after the policies.
  var verifier: (any PolicyService)?
  static let none = SourcePolicies()

  private init() { policies = [] }
  init(_ policies: [Moby_Buildkit_V1_Sourcepolicy_Policy], verifier: (any PolicyService)? = nil) throws {
    self.policies = try policies.map { try SourcePolicy($0) }
    self.verifier = verifier
  }

  /// Of a build.
  init(_ request: SolveRequest, _ client: any ClientServices) throws {
    if request.asksPolicy, client.policies == nil { throw BuildError(.invalidArgument, .usage, "the build names a session that judges its sources, and that session has no such service") }
    try self.init(request.sourcePolicies, verifier: request.asksPolicy ? client.policies : nil)
  }

  var isEmpty: Bool { policies.isEmpty && verifier == nil }
  static func denied(_ what: String) -> BuildError { BuildError(.permissionDenied, .usage, what) }

  /// Those of a frontend as well, after the build's own.
  func adding(_ more: [Moby_Buildkit_V1_Sourcepolicy_Policy]) throws -> SourcePolicies {
    more.isEmpty ? self : SourcePolicies(policies: policies + (try more.map { try SourcePolicy($0) }), verifier: verifier)
  }
  private init(policies: [SourcePolicy], verifier: (any PolicyService)?) { (self.policies, self.verifier) = (policies, verifier) }

  /// What is read in place of a source, perhaps itself. Throws when it may not be read. After each change all policies are asked again.
  func evaluate(_ source: Pb_SourceOp, platform: Pb_Platform?) async throws -> Pb_SourceOp {
    var source = source, asked = 0
    source.identifier = Self.normalized(source.identifier)
    while true {
      try applyAll(to: &source)
      guard let verifier else { return source }
      asked += 1
      guard asked <= 10 else { throw Self.denied("too many policy requests") }
      switch try await verifier.check(source, platform: platform) {
      case .allow: return source
      case .deny(let messages):
        throw Self.denied("source \(source.identifier.debugDescription) not allowed by policy: action DENY" + messages.map { "\n" + $0 }.joined())
      case .convert(let other):
        source.identifier = Self.normalized(other.identifier)
        source.attrs = other.attrs
      }
    }
  }

  private func applyAll(to source: inout Pb_SourceOp) throws {
    changes: for _ in 0...20 {
      for policy in policies where try policy.apply(to: &source) {
        source.identifier = Self.normalized(source.identifier)
        continue changes
      }
      return
    }
    throw Self.denied("too many mutations on a single source: too many operations")
  }

  /// The form that rules are written for: a short name must not slip by the rule of its long one.
  static func normalized(_ identifier: String) -> String {
    for scheme in ["docker-image://", "docker-image+blob://"] where identifier.hasPrefix(scheme) {
      if let reference = try? Reference(parsing: String(identifier.dropFirst(scheme.count))) { return scheme + reference.withDefaultTag.description }
    }
    return identifier
  }
}

extension EngineServices {
  /// A definition with the sources that its build may read. What it must not read is an error that names it.
  func applying(_ policies: SourcePolicies, to definition: Pb_Definition) async throws -> Pb_Definition {
    if policies.isEmpty { return definition }
    return try await SourcePolicyPass.run(policies, definition)
  }
}
