internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel

extension Converter {
  /// Looks up the base images of all stages that the target needs, at once, and adds their ONBUILD triggers, which may need
  /// more stages in turn.
  mutating func resolve(_ target: StageState) async throws {
    while true {
      let reachable = Set(target.reachable.map(ObjectIdentifier.init))
      try await resolveBases(needed: looksAtAllStages ? Set(table.stages.map(ObjectIdentifier.init)) : reachable)
      var needsMore = false
      for stage in table.stages where reachable.contains(ObjectIdentifier(stage)) {
        stage.inherit()
        // An image that is only read from runs nothing, its triggers included. (To look for what those read would not end where an image's trigger names the image.)
        if stage.isImplicit { continue }
        var triggers = stage.image.config.onBuild
        if let base = stage.base, !stage.readsOnbuildOfBase {
          for command in base.commands { if case .onbuild(let onbuild) = command.instruction { triggers.append(onbuild.expression) } }
          stage.readsOnbuildOfBase = true
        }
        guard !triggers.isEmpty else { continue }
        if try addTriggers(triggers, to: stage) { needsMore = true }
        stage.image.config.onBuild = []
      }
      if !needsMore { return }
    }
  }

  private struct Lookup: Sendable {
    var index: Int
    var reference: Reference
    var platform: Platform
    var options: ImageResolveOptions
    /// What is taken in place of the image.
    var context: NamedContexts.Found?
  }
  private enum Base: Sendable { case image(ResolvedImage), context(NamedContexts.Loaded) }
  private struct Found: Sendable {
    var lookup: Lookup
    var result: Result<Base, any Error>
  }

  private func resolveBases(needed: Set<ObjectIdentifier>) async throws {
    var lookups: [Lookup] = []
    for (i, stage) in table.stages.enumerated() where stage.base == nil && !stage.isDispatched && !stage.isResolved {
      let isNeeded = needed.contains(ObjectIdentifier(stage))
      stage.isResolved = isNeeded
      if stage.baseName == Converter.scratchName, stage.replacement == nil {
        useScratch(stage)
        continue
      }
      let lookup = try lookup(stage, index: i)
      if stage.replacement == nil { stage.baseName = lookup.reference.description }
      if isNeeded { lookups.append(lookup) }
    }
    let (resolve, contexts) = (request.resolveImage, request.contexts)
    let found = try await withThrowingTaskGroup(of: Found.self) { group in
      for lookup in lookups { group.addTask { Found(lookup: lookup, result: await Self.base(lookup, contexts, resolve)) } }
      var found: [Found] = []
      for try await result in group { found.append(result) }
      return found.sorted { $0.lookup.index < $1.lookup.index }
    }
    var failures: [any Error] = []
    for one in found {
      let lookup = one.lookup, stage = table.stages[lookup.index]
      switch one.result {
      case .success(.image(let image)): try located(at: stage.origin) { try use(image, for: stage, lookup) }
      case .success(.context(let context)): try located(at: stage.origin) { try use(context, for: stage, lookup) }
      case .failure(let error): failures.append(baseFailure(error, of: stage, lookup))
      }
    }
    if !failures.isEmpty { throw ManyFailures.one(of: failures) }
  }

  private static func base(
    _ lookup: Lookup, _ contexts: NamedContexts?, _ resolve: @Sendable (Reference, ImageResolveOptions) async throws -> ResolvedImage
  ) async -> Result<Base, any Error> {
    do {
      if let context = lookup.context, let contexts { return .success(.context(try await contexts.load(context))) }
      return .success(.image(try await resolve(lookup.reference, lookup.options)))
    } catch { return .failure(error) }
  }

  private static func emptyImage(_ platform: Platform) -> ImageConfig {
    var image = ImageConfig(platform: platform)
    image.config.workingDir = "/"
    if platform.os != "windows" { image.config.env = ["PATH=" + Converter.defaultPath] }
    return image
  }

  private func useScratch(_ stage: StageState) {
    stage.state = graph.scratch
    stage.image = Converter.emptyImage(targetPlatform)
    stage.platform = targetPlatform
    if stage.isImplicit { stage.isDispatched = true }
  }

  private func lookup(_ stage: StageState, index: Int) throws -> Lookup {
    if let context = stage.replacement, let name = try? Reference(parsing: context.name) {
      let platform = context.platform ?? targetPlatform
      return Lookup(index: index, reference: name, platform: platform, options: ImageResolveOptions(platform: platform), context: context)
    }
    let reference: Reference
    do { reference = try Reference(parsing: stage.baseName).withDefaultTag } catch {
      throw failure(
        "failed to parse stage name \(GoText.quoted(stage.baseName)): \(error)", at: stage.origin.range, word: stage.origin.range(of: stage.writtenBase),
        suggestion: argumentAdvice(for: stage.writtenBase, where: "FROM") ?? Converter.imageAdvice(stage.baseName))
    }
    let platform = stage.platform ?? targetPlatform
    if let context = request.contexts?.find(reference.description, platform: platform) {
      return Lookup(index: index, reference: reference, platform: platform, options: ImageResolveOptions(platform: platform), context: context)
    }
    let prefix = "[" + (options.isMultiPlatform ? platform.fullDescription + " " : "") + "internal]"
    return Lookup(
      index: index, reference: reference, platform: platform,
      options: ImageResolveOptions(platform: platform, mode: options.resolveMode, logName: "\(prefix) load metadata for \(reference)"))
  }

  private static func imageAdvice(_ name: String) -> String {
    for scheme in ["https://", "http://", "docker://"] where name.hasPrefix(scheme) { return "an image's name has no \(scheme): \(name.dropFirst(scheme.count))" }
    if (try? Reference(parsing: name.lowercased())) != nil { return "did you mean \(name.lowercased())?" }
    return "an image is named as in alpine:3.20 or registry.example.com:5000/team/app"
  }

  private func use(_ resolved: ResolvedImage, for stage: StageState, _ lookup: Lookup) throws {
    let reference = resolved.reference.with(digest: resolved.digest)
    stage.baseName = reference.description
    var image = try ImageConfig(parsing: resolved.config).knownMembersOnly
    stage.baseImage = image
    image.created = nil
    let platform = lookup.platform
    stage.image = image
    let hasLayers = !image.diffIDs.isEmpty || image.history.contains { !$0.emptyLayer }
    if hasLayers {
      let name = stage.nextStepName("FROM \(reference)", platform: platform, environment: Environment(), showsPlatform: options.isMultiPlatform)
      stage.state = graph.image(
        reference, resolveMode: options.resolveMode.llb,
        options: VertexOptions(
          name: name, platform: platform, description: ["com.docker.dockerfile.v1.command": stage.isImplicit ? "" : stage.origin.code],
          location: stage.isForMount ? SourceLocation(request.sourceMap, []) : location(of: stage.origin)))
      checks.checkBasePlatform(stage.expandedBase, asked: platform, found: image.platform, at: stage.origin)
    } else {
      stage.state = graph.scratch
    }
    stage.platform = platform
    if stage.isImplicit { stage.isDispatched = true }
  }

  /// What has the place of a stage, or of its base.
  private func use(_ context: NamedContexts.Loaded, for stage: StageState, _ lookup: Lookup) throws {
    let state: State
    if let directory = context.directory {
      let input = "context:\(lookup.index)"
      stage.contextDirectory = (input, directory)
      state = graph.placeholder(input)
    } else {
      state = try context.state?(graph) ?? graph.scratch
    }
    stage.state = state
    if stage.replacement != nil {
      stage.isDispatched = true
      // BuildKit leaves the platform empty where there is no image, and then nobody can run what is built on it.
      var image = context.config ?? ImageConfig(platform: lookup.platform)
      image.created = nil
      stage.image = image
      if let config = context.config { stage.state.platform = config.platform }
      if context.config != nil, !image.platform.os.isEmpty, !image.platform.architecture.isEmpty { stage.platform = image.platform }
      return
    }
    var image = context.config ?? Converter.emptyImage(lookup.platform)
    stage.baseImage = image
    image.created = nil
    stage.image = image
    stage.state.platform = lookup.platform
    stage.platform = lookup.platform
    if stage.isImplicit { stage.isDispatched = true }
  }

  /// The gateway's own words (not found, no such platform and which there are…), at the FROM, COPY or mount that asked.
  private func baseFailure(_ error: any Error, of stage: StageState, _ lookup: Lookup) -> any Error {
    if error is CancellationError { return error }
    var failure = (error as? BuildError) ?? BuildError(.unavailable, .registry, "\(error)", cause: error)
    guard lookup.context == nil else {
      if failure.sources.isEmpty { failure.sources.append(request.sourceMap.place(stage.origin.range)) }
      return failure
    }
    let name = lookup.reference.familiar
    if !failure.message.contains(name), !failure.message.contains(lookup.reference.description) { failure.message = "\(name): \(failure.message)" }
    failure.sources.append(request.sourceMap.place(stage.origin.range, word: stage.origin.range(of: stage.writtenBase)))
    // A name without a registry or folder may as well have been meant as a stage, whatever the registry says of it.
    if failure.suggestion == nil, !name.contains("/") {
      let near = nearestStage(to: name)
      if stage.isImplicit {
        failure.suggestion = "no stage is named \(stage.writtenBase), so it was looked up as an image" + (near.map { "; did you mean the stage \($0)?" } ?? "")
      } else if let near {
        failure.suggestion = "did you mean the stage \(near)?"
      }
    }
    return failure
  }
}

extension ImageConfig {
  /// Without members that Docker's and OCI's types do not have: a new image does not claim them.
  var knownMembersOnly: ImageConfig {
    var copy = self
    copy.unknown = JSONObject()
    copy.config.unknown = JSONObject()
    return copy
  }
}

extension BuildInterface.ImageResolveMode {
  var llb: ResolveMode {
    switch self {
    case .default: .default
    case .forcePull: .pull
    case .preferLocal: .local
    }
  }
}
