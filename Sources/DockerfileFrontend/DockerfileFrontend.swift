package import BuildInterface
internal import BuildProgress
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

/// Builds Dockerfiles (BuildKit's `dockerfile.v0`, and `docker/dockerfile` of a `# syntax` line): for every platform asked for a
/// graph and an image config, the same vertices as BuildKit makes of the same input. What is the same for several platforms
/// (the context, a stage pinned to the build platform) has one digest in all of them, and the solver runs it once.
package struct DockerfileFrontend: Frontend {
  package static let name = "dockerfile.v0"

  package init() {}

  package func build(_ gateway: any FrontendGateway) async throws -> FrontendResult {
    let lookups = SourceLookups(gateway)
    return try await withTaskCancellationHandler {
      defer { lookups.cancel() }
      return try await build(gateway, lookups)
    } onCancel: {
      lookups.cancel()
    }
  }

  private func build(_ gateway: any FrontendGateway, _ lookups: SourceLookups) async throws -> FrontendResult {
    let variants = try PlatformVariants(gateway.environment)
    var jobs: [FrontendJob] = []
    for variant in variants.variants {
      let job = try await job(for: variant, gateway, lookups)
      if let other = OtherSyntax(of: job) {
        guard variants.variants.count == 1 else { throw BuildError(.unimplemented, .usage, "a frontend image (\(other.reference)) and a Dockerfile for each platform do not go together") }
        return try await other.build(job)
      }
      jobs.append(job)
    }
    let call = try FrontendCall(gateway.environment.attributes)
    if call == .describe { return answer(FrontendCall.description) }
    // A wrong argument is refused whatever is asked; a wrong line of the file where the file is looked into.
    for job in jobs { try job.options.checkCheckArgument() }
    if let call { return try await answer(call, jobs, gateway) }
    do {
      let result = try await build(jobs, variants)
      for job in jobs { await warn(of: job.log.findings, job.source.map, gateway) }
      return result
    } catch {
      for job in jobs { await warn(of: job.log.findings, job.source.map, gateway) }
      throw error
    }
  }

  /// Reads one Dockerfile.
  private func job(for variant: PlatformVariants.Variant, _ gateway: any FrontendGateway, _ lookups: SourceLookups) async throws -> FrontendJob {
    var environment = gateway.environment
    environment.attributes = variant.attributes
    let context = try await BuildContext(environment, variant.options, gateway)
    let source = try await context.readDockerfile(gateway)
    return FrontendJob(gateway: gateway, lookups: lookups, context: context, source: source, options: variant.options, places: variant.places, log: CheckLog())
  }

  private func answer(_ call: FrontendCall, _ jobs: [FrontendJob], _ gateway: any FrontendGateway) async throws -> FrontendResult {
    if call == .lint {
      var reports: [(CheckReport, SourceMap)] = []
      for job in jobs { reports.append((await job.lint(), job.source.map)) }
      return answer(CheckReport.metadata(reports, failsOnOwn: jobs.contains { $0.options.failsOnOwnChecks }))
    }
    guard jobs.count == 1, let job = jobs.first else { throw PlatformVariants.ambiguous(call.rawValue) }
    if call == .targets { return answer(try job.parse(.silent).targetsMetadata(job.source.map.data)) }
    let outline = try await job.look(.outline).gathered()
    await warn(of: job.log.findings, job.source.map, gateway)
    return answer(outline.metadata(job.source.map.data))
  }

  private func answer(_ metadata: [String: [UInt8]]) -> FrontendResult { FrontendResult(targets: [], isMultiPlatform: false, metadata: metadata) }

  private func build(_ jobs: [FrontendJob], _ variants: PlatformVariants) async throws -> FrontendResult {
    let options = variants.options
    let platforms: [Platform?] = options.platforms.isEmpty ? [nil] : options.platforms
    var files = [String](repeating: "", count: platforms.count), requests: [(place: Int, request: ConversionRequest, job: FrontendJob)] = []
    for job in jobs {
      var request = try await job.request()
      for place in job.places {
        request.target = platforms[place]
        requests.append((place, request, job))
        files[place] = job.options.filename
        // One platform tells for all that have the file.
        request.checks = .silent
      }
    }
    let conversions = try await withThrowingTaskGroup(of: Converted.self) { [requests] group in
      for (place, request, job) in requests { group.addTask { Converted(place: place, result: await Self.convert(request, job)) } }
      var found: [Converted] = []
      for try await result in group { found.append(result) }
      let results = found.sorted { $0.place < $1.place }.map(\.result)
      let failures = results.compactMap { result -> (any Error)? in if case .failure(let error) = result { error } else { nil } }
      if !failures.isEmpty { throw ManyFailures.one(of: failures) }
      return try results.map { try $0.get() }
    }
    return result(conversions, platforms.map { $0 ?? options.buildPlatform }, files, options)
  }

  /// A type, and a function, of their own: from a tuple that one closure returns in two ways the optimiser of Swift 6.3 was seen to lose the place.
  private struct Converted: Sendable {
    var place: Int
    var result: Result<(Conversion, (any FrontendReference)?), any Error>
  }
  private static func convert(_ request: ConversionRequest, _ job: FrontendJob) async -> Result<(Conversion, (any FrontendReference)?), any Error> {
    do {
      let conversion = try await Converter.convert(request)
      return .success((conversion, conversion.definition.isScratch ? nil : try await job.gateway.solve(conversion.definition.proto)))
    } catch { return .failure(error) }
  }

  private func result(
    _ conversions: [(Conversion, (any FrontendReference)?)], _ platforms: [Platform], _ files: [String], _ options: FrontendOptions
  ) -> FrontendResult {
    var result = FrontendResult(targets: [], isMultiPlatform: options.isMultiPlatform)
    var list: [JSONValue] = []
    for (((conversion, reference), platform), file) in zip(zip(conversions, platforms), files) {
      let id = platform.normalized.fullDescription, platform = Self.exported(platform, conversion.image.platform)
      var target = FrontendResult.Target(
        id: id, platform: platform, reference: reference, imageConfig: conversion.image.json.encoded(), baseImageConfig: conversion.baseImage?.json.encoded())
      (target.file, target.stages) = (file, conversion.stages)
      result.targets.append(target)
      list.append(["ID": .string(id), "Platform": platform.json])
      if let epoch = conversion.epoch {
        result.metadata["source.date.epoch" + (options.isMultiPlatform ? "/" + id : "")] = Array(String(epoch.seconds).utf8)
      }
    }
    result.metadata["refs.platforms"] = JSONValue.object(JSONObject([("Platforms", .array(list))])).encoded()
    return result
  }

  /// What an index says of an image: a Windows image's version and features come from its base where none were asked for.
  private static func exported(_ asked: Platform, _ image: Platform) -> Platform {
    var platform = asked.normalized
    if platform.os == "windows", image.os == "windows" {
      if platform.osVersion.isEmpty { platform.osVersion = image.osVersion }
      if platform.osFeatures.isEmpty { platform.osFeatures = image.osFeatures }
    }
    return platform.normalized
  }

  /// Warnings of a build, as BuildKit puts them into its progress: at the step that read the Dockerfile.
  private func warn(of findings: [CheckFinding], _ map: SourceMap, _ gateway: any FrontendGateway) async {
    let vertex = map.definition?.head ?? Digest.sha256(of: map.data)
    let source = WarningSource(filename: map.filename, data: map.data, language: map.language)
    for finding in findings {
      await gateway.warn(
        VertexWarning(
          vertex: vertex, short: finding.short, detail: [finding.rule.description] + (finding.patch.map { [$0] } ?? []), url: finding.rule.url, sourceInfo: source,
          ranges: finding.ranges.map { WarningRange(start: .init(line: $0.start.line), end: .init(line: $0.end.line)) }))
    }
  }
}

/// One Dockerfile that was read, and what is asked of it.
struct FrontendJob: Sendable {
  let gateway: any FrontendGateway
  let lookups: SourceLookups
  let context: BuildContext
  let source: BuildContext.Source
  let options: FrontendOptions
  /// Of the platforms it is for, in the build's list.
  let places: [Int]
  let log: CheckLog

  init(
    gateway: any FrontendGateway, lookups: SourceLookups, context: BuildContext, source: BuildContext.Source, options: FrontendOptions, places: [Int], log: CheckLog
  ) {
    (self.gateway, self.lookups, self.context, self.source, self.options, self.places, self.log) = (gateway, lookups, context, source, options, places, log)
  }

  func parse(_ checks: CheckScope) throws -> Dockerfile {
    do { return try Dockerfile(SyntaxTree.parse(bytes: source.map.data), checks: checks) } catch let error as DockerfileError { throw error.buildError(in: source.map) }
  }

  /// A conversion for no platform in particular.
  func request(_ mode: ConversionMode = .build) async throws -> ConversionRequest {
    let checks = CheckScope(log: log, options: try options.checkOptions(of: source))
    let dockerfile = try parse(checks)
    let excludes = try await context.ignorePatterns(source, gateway)
    var request = ConversionRequest(
      dockerfile: dockerfile, options: options, sourceMap: source.map, resolveImage: { [lookups] in try await lookups.image($0, $1) },
      mainContext: { [context] in try context.main(in: $0, followPaths: $1, excludes: excludes) })
    request.mode = mode
    // A question is answered for the machine that builds; a file for another system alone is looked at as that one builds it.
    request.platforms = places.filter(options.platforms.indices.contains).map { options.platforms[$0] }
    if mode != .build, let first = request.platforms.first, !request.platforms.contains(where: { $0.os == options.buildPlatform.os }) { request.target = first }
    request.contexts = NamedContexts(options: options, environment: gateway.environment, gateway: gateway, lookups: lookups)
    request.times = SourceTimes(context: context, lookups: lookups)
    request.checks = checks
    request.ignored = excludes.isEmpty ? nil : try? PatternList(excludes)
    return request
  }

  func look(_ mode: ConversionMode) async throws -> StageState { try await Converter.look(request(mode)) }

  /// What the checks find, with the mistake that they came to an end at.
  func lint() async -> CheckReport {
    var failure: CheckReport.Failure?
    do { _ = try await look(.check) } catch {
      let mistake = error as? BuildError
      let place = mistake?.sources.first { $0.filename == source.map.filename }
      let focus = place?.focus.map {
        DockerfileSyntax.SourceRange(start: .init(line: $0.startLine, column: $0.startColumn), end: .init(line: $0.endLine, column: $0.endColumn))
      }
      failure = CheckReport.Failure(
        message: (mistake?.message ?? "\(error)") + (mistake?.suggestion.map { " (\($0))" } ?? ""),
        ranges: place.map { DockerfileSyntax.SourceRange(lines: $0.lines).lineRanges } ?? [], focus: focus)
    }
    return CheckReport(entries: log.findings.map { .init($0) }, source: source.text, failure: failure)
  }
}

extension DockerfileError {
  func buildError(in map: SourceMap) -> BuildError {
    BuildError(
      .invalidArgument, .usage, range.map { "dockerfile parse error on line \($0.start.line): \(message)" } ?? "\(map.filename): \(message)",
      suggestion: code == .empty ? Converter.emptyAdvice : help,
      // A mistake of the whole file is shown at its beginning.
      sources: [range.map { map.place($0, word: focus) } ?? SourcePlace(filename: map.filename, data: map.data, lines: 1...1)])
  }
}

extension DockerfileFrontend {
  /// Whether a frontend image (`docker/dockerfile:1`) is one that this frontend stands for.
  package static func serves(image: String, attributes: [String: String]) -> Bool { OwnSyntax.isOurs(image) && !OwnSyntax.isImageWanted(attributes) }
  /// Attributes that are this program's own matter, and no frontend's.
  package static let ownAttributes = OwnSyntax.imageKeys
}

/// The frontends of a `# syntax` line that this one stands for: it needs no image and no network for them.
enum OwnSyntax {
  static let names: Set<String> = ["docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"]

  /// Attributes by which a client wants the image itself to run.
  static let imageKeys = ["manifold.frontend-image", "build-arg:MANIFOLD_FRONTEND_IMAGE"]

  static func isImageWanted(_ attributes: [String: String]) -> Bool { imageKeys.contains { ["1", "true"].contains(attributes[$0]?.lowercased()) } }

  static func isOurs(_ reference: String) -> Bool { (try? Reference(parsing: reference)).map { names.contains($0.name) } ?? false }
}

/// A frontend of a `# syntax` line, or of the build argument that stands for one, that is an image: the build is its (BuildKit's forwardGateway).
struct OtherSyntax {
  static let argument = "BUILDKIT_SYNTAX"
  let reference: String
  let commandLine: String
  /// The line that named it; nil for the build argument.
  private let line: Int?

  /// nil where this frontend does the work itself. `docker/dockerfile` is this one, unless the client wants the image (ARCHITECTURE.md, frontends).
  init?(of job: FrontendJob) {
    let attributes = job.gateway.environment.attributes
    // Whoever asked has chosen already.
    if attributes["cmdline"] != nil { return nil }
    if let command = job.options.buildArguments[Self.argument] {
      commandLine = command
      reference = GoText.trimmed(command).split(separator: " ").first.map(String.init) ?? ""
      line = nil
    } else if let syntax = ParserDirective.detectSyntax(in: job.source.text) {
      (reference, commandLine, line) = (syntax.reference, syntax.commandLine, max(1, syntax.line))
    } else {
      return nil
    }
    if OwnSyntax.isOurs(reference), !OwnSyntax.isImageWanted(attributes) { return nil }
  }

  func build(_ job: FrontendJob) async throws -> FrontendResult {
    let environment = job.gateway.environment
    var attributes = environment.attributes
    (attributes["cmdline"], attributes["source"]) = (commandLine, reference)
    do {
      return try FrontendResult(
        try await job.gateway.solve(NestedSolve(frontend: "gateway.v0", attributes: attributes, inputs: environment.inputs)), platform: environment.buildPlatform)
    } catch var error as BuildError where error.sources.isEmpty {
      if let line {
        error.sources = [SourcePlace(filename: job.source.map.filename, data: job.source.map.data, lines: line...line)]
      } else {
        error.message = "failed with \(Self.argument) = \(commandLine): \(error.message)"
      }
      throw error
    }
  }
}
