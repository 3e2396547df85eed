internal import DockerfileSyntax
internal import LLB
internal import OCIModel

/// How steps are shown: `[linux/arm64 build 2/5] RUN make`.
extension StageState {
  /// Counts a step and gives its name. `platform` is shown in multi-platform builds, with the target beside it when the step
  /// runs on one platform for another (`linux/amd64->arm64`).
  func nextStepName(_ text: String, platform: Platform?, environment: Environment, isOnbuild: Bool = false, showsPlatform: Bool) -> String {
    guard stepCount > 0 else { return text }
    var name = "["
    if showsPlatform, let platform { name += platform.fullDescription + StageState.crossTarget(of: platform, environment) + " " }
    if !displayName.isEmpty { name += displayName + " " }
    stepIndex += 1
    let width = String(stepCount).count, number = String(stepIndex)
    name += String(repeating: " ", count: max(0, width - number.count)) + "\(number)/\(stepCount)] "
    return name + (isOnbuild ? "ONBUILD " : "") + text
  }

  private static func crossTarget(of base: Platform, _ environment: Environment) -> String {
    guard var target = declaredTarget(environment) else { return "" }
    if target.os.isEmpty { target.os = base.os }
    if target.architecture.isEmpty { target.architecture = base.architecture }
    target = target.normalized
    if target.os != base.os { return "->" + target.fullDescription }
    guard target.architecture != base.architecture else { return "" }
    return "->" + target.architecture + (target.variant.isEmpty ? "" : "/" + target.variant)
  }

  /// The platform in the stage's TARGET… variables, when it declared any.
  private static func declaredTarget(_ environment: Environment) -> Platform? {
    if let text = environment["TARGETPLATFORM"], let platform = try? Platform(parsing: text) { return platform }
    let (os, architecture, variant) = (environment["TARGETOS"], environment["TARGETARCH"], environment["TARGETVARIANT"])
    if os == nil, architecture == nil, variant == nil { return nil }
    return Platform(os: os ?? "", architecture: architecture ?? "", variant: variant ?? "")
  }
}

enum StepText {
  /// The first word in upper case.
  static func uppercasingInstruction(_ text: String) -> String {
    guard let space = text.firstIndex(of: " ") else { return text.uppercased() }
    return text[..<space].uppercased() + text[space...]
  }

  /// Variables expanded, or the text as it is when it cannot be.
  static func expanding(_ text: String, _ lexer: WordLexer, _ environment: some WordEnvironment) -> String {
    (try? lexer.expand(text, environment: environment).text) ?? text
  }

  /// The first line of a heredoc, with dots for more.
  static func summary(ofHeredoc content: String) -> String {
    let lines = GoText.trimmed(content).replacing("\r\n", with: "\n").split(separator: "\n", omittingEmptySubsequences: false)
    guard let first = lines.first else { return "" }
    return String(first) + (lines.count > 1 ? "..." : "")
  }
}

extension GoText {
  /// Without white space at both ends.
  static func trimmed(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }), let last = scalars.lastIndex(where: { !$0.properties.isWhitespace }) else { return "" }
    return String(scalars[first...last])
  }
}

/// A state's variables, for the word lexer.
struct StateWords: WordEnvironment {
  private let environment: Environment
  init(_ environment: Environment) { self.environment = environment }
  func value(of name: String) -> String? { environment[name] }
}

/// The same with the variables that receive secrets shown as asterisks.
struct MaskedWords: WordEnvironment {
  let base: StateWords
  let masked: Set<String>
  func value(of name: String) -> String? { masked.contains(name) ? "****" : base.value(of: name) }
}
