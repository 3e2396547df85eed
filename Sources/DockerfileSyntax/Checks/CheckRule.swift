/// A rule that a Dockerfile is checked by: something that works, and should not be written so.
///
/// Names, descriptions, addresses and messages of the reference's rules are those that BuildKit gives out: editors, CI logs and `check=skip=` lines
/// hold them. Rules of our own (`isOwn`) go through the same machinery.
package struct CheckRule: Sendable, Hashable {
  package let name: String
  package let description: String
  /// Where the reference explains it; empty for rules that it does not.
  package let url: String
  /// Runs only when `experimental=` asks for it.
  package let isExperimental: Bool
  /// A rule that the Dockerfile reference does not have. Its findings are told, and fail nothing unless that is asked for.
  package let isOwn: Bool

  private init(_ name: String, _ description: String, page: String? = nil, isExperimental: Bool = false, isOwn: Bool = false) {
    (self.name, self.description, self.isExperimental, self.isOwn) = (name, description, isExperimental, isOwn)
    url = page.map { "https://docs.docker.com/go/dockerfile/rule/\($0)/" } ?? ""
  }
}

extension CheckRule {
  package static let stageNameCasing = CheckRule("StageNameCasing", "Stage names should be lowercase", page: "stage-name-casing")
  package static let fromAsCasing = CheckRule("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword", page: "from-as-casing")
  package static let noEmptyContinuation = CheckRule(
    "NoEmptyContinuation", "Empty continuation lines will become errors in a future release", page: "no-empty-continuation")
  package static let consistentInstructionCasing = CheckRule(
    "ConsistentInstructionCasing", "All commands within the Dockerfile should use the same casing (either upper or lower)", page: "consistent-instruction-casing")
  package static let duplicateStageName = CheckRule("DuplicateStageName", "Stage names should be unique", page: "duplicate-stage-name")
  package static let reservedStageName = CheckRule("ReservedStageName", "Reserved words should not be used as stage names", page: "reserved-stage-name")
  package static let jsonArgsRecommended = CheckRule(
    "JSONArgsRecommended", "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals", page: "json-args-recommended")
  package static let maintainerDeprecated = CheckRule(
    "MaintainerDeprecated", "The MAINTAINER instruction is deprecated, use a label instead to define an image author", page: "maintainer-deprecated")
  package static let undefinedArgInFrom = CheckRule("UndefinedArgInFrom", "FROM command must use declared ARGs", page: "undefined-arg-in-from")
  package static let workdirRelativePath = CheckRule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes", page: "workdir-relative-path")
  package static let undefinedVar = CheckRule("UndefinedVar", "Variables should be defined before their use", page: "undefined-var")
  package static let multipleInstructionsDisallowed = CheckRule(
    "MultipleInstructionsDisallowed", "Multiple instructions of the same type should not be used in the same stage", page: "multiple-instructions-disallowed")
  package static let legacyKeyValueFormat = CheckRule(
    "LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used", page: "legacy-key-value-format")
  package static let invalidBaseImagePlatform = CheckRule("InvalidBaseImagePlatform", "Base image platform does not match expected target platform")
  package static let redundantTargetPlatform = CheckRule(
    "RedundantTargetPlatform", "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    page: "redundant-target-platform")
  package static let secretsUsedInArgOrEnv = CheckRule(
    "SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands", page: "secrets-used-in-arg-or-env")
  package static let invalidDefaultArgInFrom = CheckRule(
    "InvalidDefaultArgInFrom", "Default value for global ARG results in an empty or invalid base image name", page: "invalid-default-arg-in-from")
  package static let fromPlatformFlagConstDisallowed = CheckRule(
    "FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value", page: "from-platform-flag-const-disallowed")
  package static let copyIgnoredFile = CheckRule("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore", page: "copy-ignored-file")
  package static let invalidDefinitionDescription = CheckRule(
    "InvalidDefinitionDescription",
    "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    page: "invalid-definition-description", isExperimental: true)
  package static let exposeProtoCasing = CheckRule("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase", page: "expose-proto-casing")
  package static let exposeInvalidFormat = CheckRule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release", page: "expose-invalid-format")

  // MARK: Ours

  package static let invalidUTF8 = CheckRule("InvalidUTF8", "A Dockerfile should be UTF-8 text", isOwn: true)
  package static let platformArgShadowed = CheckRule(
    "PlatformArgShadowed", "A predefined platform argument should not be given a constant value", isOwn: true)
  package static let emulatedCrossCompile = CheckRule(
    "EmulatedCrossCompile", "A stage that can build for every platform natively should not run under emulation", isOwn: true)
  package static let platformCacheShared = CheckRule(
    "PlatformCacheShared", "A cache mount with content for one platform should have the platform in its id", isOwn: true)
  package static let platformCommandForeign = CheckRule(
    "PlatformCommandForeign", "A command of one operating system should not be in a stage that is built for another", isOwn: true)

  /// All rules, those of the reference first.
  package static let all: [CheckRule] = [
    stageNameCasing, fromAsCasing, noEmptyContinuation, consistentInstructionCasing, duplicateStageName, reservedStageName, jsonArgsRecommended,
    maintainerDeprecated, undefinedArgInFrom, workdirRelativePath, undefinedVar, multipleInstructionsDisallowed, legacyKeyValueFormat,
    invalidBaseImagePlatform, redundantTargetPlatform, secretsUsedInArgOrEnv, invalidDefaultArgInFrom, fromPlatformFlagConstDisallowed, copyIgnoredFile,
    invalidDefinitionDescription, exposeProtoCasing, exposeInvalidFormat, invalidUTF8, platformArgShadowed, emulatedCrossCompile, platformCacheShared, platformCommandForeign,
  ]

  /// The rule of that name, letter case ignored.
  package static func named(_ name: String) -> CheckRule? { all.first { $0.name.lowercased() == name.lowercased() } }
}

/// What a check found.
package struct CheckFinding: Sendable, Hashable {
  package var rule: CheckRule
  package var message: String
  /// One range a line, in BuildKit's shape.
  package var ranges: [SourceRange]
  /// What to write instead, as a unified diff; rules of our own have it where it can be said.
  package var patch: String?
  /// The word that it is about.
  package var focus: SourceRange?

  package init(_ rule: CheckRule, _ message: String, ranges: [SourceRange], patch: String? = nil, focus: SourceRange? = nil) {
    (self.rule, self.message, self.ranges, self.patch, self.focus) = (rule, message, ranges, patch, focus)
  }

  /// `Rule: message (line 3)`: how a build's progress shows it.
  package var short: String { "\(rule.name): \(message)" + (ranges.first.map { $0.start.line > 0 ? " (line \($0.start.line))" : "" } ?? "") }
}
