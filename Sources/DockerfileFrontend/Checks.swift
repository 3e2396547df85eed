internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

/// Checks that need more than the file: arguments, images, what is ignored. Each stands where BuildKit's converter makes it.
extension CheckScope {
  /// Variables that an instruction used and nothing has set.
  func checkUndefined(_ unmatched: Set<String>, in stage: StageState, at origin: InstructionOrigin, escape: Unicode.Scalar) {
    guard let log, !unmatched.isEmpty else { return }
    let names = unmatched.filter { !stage.argumentNames.contains($0) && !Converter.nonVariables.contains($0) }
    if names.isEmpty { return }
    // To list them costs as much as to compare with them.
    let known = log.mayCompare(stage.state.environment.count) ? stage.state.environment.names : []
    for name in names.sorted() {
      let near = nearest(to: name, among: known).map { " (did you mean $\($0)?)" } ?? ""
      report(.undefinedVar, "Usage of undefined variable '$\(name)'\(near)", in: origin, variable: name, escape: escape)
    }
  }

  /// Arguments that FROM used and nothing declares.
  func checkFromArguments(_ unmatched: Set<String>, declared: [String: DeclaredArgument], _ globals: Environment, at origin: InstructionOrigin, escape: Unicode.Scalar) {
    guard let log else { return }
    let names = unmatched.filter { declared[$0] == nil && globals[$0] == nil }
    if names.isEmpty { return }
    let known = log.mayCompare(declared.count + globals.count) ? Set(declared.keys).union(globals.names).sorted() : []
    for name in names.sorted() {
      let near = nearest(to: name, among: known).map { " (did you mean \($0)?)" } ?? ""
      report(.undefinedArgInFrom, "FROM argument '\(name)' is not declared\(near)", in: origin, variable: name, escape: escape)
    }
  }

  func checkStagePlatform(_ written: String, _ expansion: WordExpansion, of stage: Stage, _ globals: Environment) {
    if expansion.matched == ["TARGETPLATFORM"], expansion.unmatched.isEmpty, expansion.text == globals["TARGETPLATFORM"] ?? "" {
      report(.redundantTargetPlatform, "Setting platform to predefined \(written) in FROM is redundant as this is the default behavior", in: stage.origin, "--platform")
    }
    guard expansion.matched.isEmpty, expansion.unmatched.isEmpty, let platform = try? Platform(parsing: expansion.text) else { return }
    // A stage named after its platform is meant to be so.
    let name = stage.name ?? ""
    if name.contains(platform.os) || name.contains(platform.architecture) { return }
    report(.fromPlatformFlagConstDisallowed, "FROM --platform flag should not use constant value \(GoText.quoted(expansion.text))", in: stage.origin, "--platform=" + written, written)
  }

  func checkBasePlatform(_ name: String, asked: Platform, found: Platform, at origin: InstructionOrigin) {
    guard asked.os != found.os || asked.architecture != found.architecture else { return }
    let (asked, found) = (asked.normalized.fullDescription, found.normalized.fullDescription)
    report(
      .invalidBaseImagePlatform, "Base image \(name) was pulled with platform \(GoText.quoted(found)), expected \(GoText.quoted(asked)) for current build",
      at: origin.range)
  }

  private static let secretWords: Set<String> = ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"]
  private static let harmlessWords: Set<String> = ["public", "file", "version"]

  /// Names that look like secrets by one of their words.
  func checkSecret(_ name: String, in instruction: String, at origin: InstructionOrigin) {
    let words = name.lowercased().split(separator: "_", omittingEmptySubsequences: false).map(String.init)
    guard words.contains(where: Self.secretWords.contains), !words.contains(where: Self.harmlessWords.contains) else { return }
    report(
      .secretsUsedInArgOrEnv, "Do not use ARG or ENV instructions for sensitive data (\(instruction) \(GoText.quoted(name)))", in: origin, name)
  }

  func checkForm(_ pair: KeyValue, at origin: InstructionOrigin) {
    guard pair.isLegacy else { return }
    let name = origin.keyword
    report(.legacyKeyValueFormat, "\"\(name) key=value\" should be used instead of legacy \"\(name) key value\" format", in: origin, pair.key)
  }

  func checkPort(_ word: String, at origin: InstructionOrigin) {
    guard let form = Ports.form(of: word) else { return }
    if form.transport != form.transport.lowercased() {
      report(.exposeProtoCasing, "Defined protocol '\(word)' in EXPOSE instruction should be lowercase", in: origin, word)
    }
    if form.mapsToHost {
      report(.exposeInvalidFormat, "EXPOSE instruction should not define an IP address or host-port mapping, found '\(word)'", in: origin, word)
    }
  }

  /// Of several the last counts; the place told is the one before, which has no effect.
  func checkOnlyOne(_ origin: InstructionOrigin, in stage: StageState) {
    if let before = stage.lastPlaces.updateValue(origin, forKey: origin.keyword.uppercased()) {
      report(
        .multipleInstructionsDisallowed,
        "Multiple \(origin.keyword) instructions should not be used in the same stage because only the last one will be used", at: before.range)
    }
  }

  /// A SHELL says that somebody thought of it.
  func checkShellForm(_ command: CommandInstruction, in stage: StageState) {
    guard command.command.prependsShell, stage.image.config.shell.isEmpty else { return }
    report(
      .jsonArgsRecommended, "JSON arguments recommended for \(command.origin.keyword) to prevent unintended behavior related to OS signals",
      at: command.origin.range)
  }

  /// Only the first WORKDIR can depend on the base image.
  func checkWorkdir(_ workdir: WorkdirInstruction, in stage: StageState) {
    defer { stage.hasWorkdir = true }
    guard !stage.hasWorkdir, !stage.paths.isAbsolute(workdir.path) else { return }
    report(.workdirRelativePath, "Relative workdir \(GoText.quoted(workdir.path)) can have unexpected results if the base image changes", in: workdir.origin, workdir.path)
  }

  /// A source of COPY or ADD that the context is without. With exceptions in the list nothing is told: a folder may be excluded and a file in it not.
  func checkIgnored(_ path: String, by ignored: PatternList, _ verb: String, at origin: InstructionOrigin) {
    guard log != nil, !ignored.hasExceptions else { return }
    let written = path, path = SlashPath.clean(path)
    if path == "." || path == "/", !ignored.texts.contains(where: { ["*", "**", "**/*"].contains($0) }) { return }
    guard ignored.matches(path) else { return }
    report(.copyIgnoredFile, "Attempting to \(verb) file \(GoText.quoted(path)) that is excluded by .dockerignore", in: origin, written)
  }
}

extension Converter {
  /// Bases whose names come out wrong when no build argument is given.
  func checkBasesWithDefaults(stageName: String) {
    // The same mistake will be an error further on.
    guard checks.log != nil, let defaults = try? globalArguments(stageName: stageName, given: [:]).environment else { return }
    for stage in request.dockerfile.stages {
      guard let name = try? lexer.expand(stage.baseName, environment: StateWords(defaults)).text else { return }
      if (try? Reference(parsing: name)) == nil {
        checks.report(.invalidDefaultArgInFrom, "Default value for ARG \(stage.baseName) results in empty or invalid base image name", in: stage.origin, stage.baseName)
      }
    }
  }

  /// `check=error=true`
  func failOnFindings() throws {
    let rules = checks.failures(includingOwn: options.failsOnOwnChecks)
    guard let first = rules.first else { return }
    throw BuildError(
      .failedPrecondition, .usage, "lint violation found for rules: \(rules.joined(separator: ", "))",
      suggestion: "manifold explain-check \(first) says what it is about; check=skip=\(first) passes it over")
  }
}

extension FrontendOptions {
  /// What BUILDKIT_DOCKERFILE_CHECK says; nil when it is not given.
  @discardableResult
  func checkCheckArgument() throws -> CheckOptions? {
    guard let text = buildArguments["BUILDKIT_DOCKERFILE_CHECK"] else { return nil }
    do { return try CheckOptions(parsing: text) } catch { throw FrontendOptions.wrongChecks("build-arg:BUILDKIT_DOCKERFILE_CHECK", error, []) }
  }

  /// The same, else what the file's own `# check=` line says.
  func checkOptions(of source: BuildContext.Source) throws -> CheckOptions {
    if let given = try checkCheckArgument() { return given }
    guard let directive = ParserDirective.find("check", in: source.text) else { return CheckOptions() }
    do { return try CheckOptions(parsing: directive.firstWord) } catch {
      throw FrontendOptions.wrongChecks("check options", error, [source.map.place(directive.range)])
    }
  }

  private static func wrongChecks(_ place: String, _ error: DockerfileError, _ sources: [SourcePlace]) -> BuildError {
    BuildError(
      .invalidArgument, .usage, "failed to parse \(place): \(error.message)",
      suggestion: error.suggestion.map { "did you mean \($0)?" } ?? "options are written as in check=skip=StageNameCasing,FromAsCasing;error=true", sources: sources)
  }
}
