package import BuildInterface
internal import BuildProgress
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import Synchronization

/// Builds Dockerfiles (BuildKit's `dockerfile.v0`, and `docker/dockerfile` of a `# syntax` line): for every platform asked for a
/// graph and an image config, the same vertices as BuildKit makes of the same input. What is the same for several platforms
/// (the context, a stage pinned to the build platform) has one digest in all of them, and the solver runs it once.
package struct DockerfileFrontend: Frontend {
  package static let name = "dockerfile.v0"

  package init() {}

  package func build(_ gateway: any FrontendGateway) async throws -> FrontendResult {
    let images = ImageLookup(gateway)
    return try await withTaskCancellationHandler {
      defer { images.cancel() }
      return try await build(gateway, images)
    } onCancel: {
      images.cancel()
    }
  }

  private func build(_ gateway: any FrontendGateway, _ images: ImageLookup) async throws -> FrontendResult {
    let environment = gateway.environment
    let options = try FrontendOptions(environment: environment)
    let context = try BuildContext(environment, options)
    let source = try await context.readDockerfile(gateway)
    if environment.attributes["cmdline"] == nil { try OwnSyntax.check(source, buildArguments: options.buildArguments) }
    let dockerfile: Dockerfile
    do { dockerfile = try Dockerfile.parse(bytes: source.map.data) } catch { throw error.buildError(in: source.map) }
    await warn(about: dockerfile, source.map, options, gateway)
    let excludes = try await context.ignorePatterns(source, gateway)

    let platforms: [Platform?] = options.platforms.isEmpty ? [nil] : options.platforms
    let conversions = try await withThrowingTaskGroup(of: (Int, Conversion, (any FrontendReference)?).self) { group in
      for (i, platform) in platforms.enumerated() {
        let request = ConversionRequest(
          dockerfile: dockerfile, options: options, target: platform, sourceMap: source.map, resolveImage: { try await images.resolve($0, $1) },
          mainContext: { try context.main(in: $0, followPaths: $1, excludes: excludes) })
        group.addTask {
          let conversion = try await Converter.convert(request)
          return (i, conversion, conversion.definition.isScratch ? nil : try await gateway.solve(conversion.definition.proto))
        }
      }
      var found: [(Int, Conversion, (any FrontendReference)?)] = []
      for try await result in group { found.append(result) }
      return found.sorted { $0.0 < $1.0 }
    }
    return result(conversions.map { ($0.1, $0.2) }, platforms.map { $0 ?? options.buildPlatform }, options)
  }

  private func result(_ conversions: [(Conversion, (any FrontendReference)?)], _ platforms: [Platform], _ options: FrontendOptions) -> FrontendResult {
    var result = FrontendResult(targets: [], isMultiPlatform: options.isMultiPlatform)
    var list: [JSONValue] = []
    for ((conversion, reference), platform) in zip(conversions, platforms) {
      let platform = platform.normalized, id = platform.fullDescription
      result.targets.append(
        .init(
          id: id, platform: platform, reference: reference, imageConfig: conversion.image.json.encoded(), baseImageConfig: conversion.baseImage?.json.encoded()))
      list.append(["ID": .string(id), "Platform": platform.json])
      if let epoch = conversion.epoch {
        result.metadata["source.date.epoch" + (options.isMultiPlatform ? "/" + id : "")] = Array(String(epoch.seconds).utf8)
      }
    }
    result.metadata["refs.platforms"] = JSONValue.object(JSONObject([("Platforms", .array(list))])).encoded()
    return result
  }

  /// What the file says that works but is not what its writer may think.
  private func warn(about dockerfile: Dockerfile, _ map: SourceMap, _ options: FrontendOptions, _ gateway: any FrontendGateway) async {
    let vertex = map.definition?.head ?? Digest.sha256(of: map.data)
    func warn(_ text: String, _ range: DockerfileSyntax.SourceRange?) async {
      await gateway.warn(
        VertexWarning(
          vertex: vertex, short: text, sourceInfo: WarningSource(filename: map.filename, data: map.data, language: map.language),
          ranges: range.map { [WarningRange(start: .init(line: $0.start.line), end: .init(line: $0.end.line))] } ?? []))
    }
    for warning in dockerfile.tree.warnings { await warn("\(warning.message) (line \(warning.range.start.line))", warning.range) }
    for directive in dockerfile.tree.directives where directive.name == "check" {
      await warn("build checks are not supported yet: # check=\(directive.value) has no effect (line \(directive.range.start.line))", directive.range)
    }
    if options.buildArguments["BUILDKIT_DOCKERFILE_CHECK"] != nil {
      await warn("build checks are not supported yet: BUILDKIT_DOCKERFILE_CHECK has no effect", nil)
    }
  }
}

extension DockerfileError {
  func buildError(in map: SourceMap) -> BuildError {
    BuildError(
      .invalidArgument, .usage, range.map { "dockerfile parse error on line \($0.start.line): \(message)" } ?? "\(map.filename): \(message)",
      suggestion: code == .empty ? Converter.emptyAdvice : suggestion.map { "did you mean \($0)?" },
      // A mistake of the whole file is shown at its beginning.
      sources: [range.map(map.place) ?? SourcePlace(filename: map.filename, data: map.data, lines: 1...1)])
  }
}

extension DockerfileFrontend {
  /// Whether a frontend image (`docker/dockerfile:1`) is one that this frontend stands for.
  package static func serves(image: String) -> Bool { OwnSyntax.isOurs(image) }
}

/// The frontends of a `# syntax` line that this one stands for: it needs no image and no network for them.
enum OwnSyntax {
  static let names: Set<String> = ["docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"]

  static func isOurs(_ reference: String) -> Bool { (try? Reference(parsing: reference)).map { names.contains($0.name) } ?? false }

  static func check(_ source: BuildContext.Source, buildArguments: [String: String]) throws {
    if let command = buildArguments["BUILDKIT_SYNTAX"] {
      let reference = GoText.trimmed(command).split(separator: " ").first.map(String.init) ?? ""
      guard isOurs(reference) else { throw refused(reference, "BUILDKIT_SYNTAX", []) }
    } else if let syntax = ParserDirective.detectSyntax(in: source.text), !isOurs(syntax.reference) {
      let line = max(1, syntax.line)
      throw refused(syntax.reference, "the syntax line", [SourcePlace(filename: source.map.filename, data: source.map.data, lines: line...line)])
    }
  }

  private static func refused(_ reference: String, _ origin: String, _ sources: [SourcePlace]) -> BuildError {
    BuildError(
      .unimplemented, .usage, "the frontend \(reference), named by \(origin), is not supported yet",
      suggestion: "docker/dockerfile (any version, labs too) is built in; for a Dockerfile, leave the line out", sources: sources)
  }
}

/// Looks every image up once, however many platforms and stages ask for it.
final class ImageLookup: Sendable {
  private struct Key: Hashable {
    var reference: Reference
    var platform: Platform
    var mode: BuildInterface.ImageResolveMode
    var logName: String
  }
  private let gateway: any FrontendGateway
  private let lookups = Mutex<[Key: Task<ResolvedImage, any Error>]>([:])

  init(_ gateway: any FrontendGateway) { self.gateway = gateway }

  func resolve(_ reference: Reference, _ options: ImageResolveOptions) async throws -> ResolvedImage {
    let key = Key(reference: reference, platform: options.platform, mode: options.mode, logName: options.logName)
    let task = lookups.withLock { lookups in
      if let running = lookups[key] { return running }
      let new = Task { [gateway] in try await gateway.resolveImage(reference, options: options) }
      lookups[key] = new
      return new
    }
    return try await task.value
  }

  /// Stops all lookups that are under way.
  func cancel() { lookups.withLock { for task in $0.values { task.cancel() } } }
}
