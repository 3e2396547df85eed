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
  }

  private func resolveBases(needed: Set<ObjectIdentifier>) async throws {
    var lookups: [Lookup] = []
    for (i, stage) in table.stages.enumerated() where stage.base == nil && !stage.isDispatched && !stage.isResolved {
      let isNeeded = needed.contains(ObjectIdentifier(stage))
      stage.isResolved = isNeeded
      if stage.baseName == Converter.scratchName {
        useScratch(stage)
        continue
      }
      let lookup = try lookup(stage, index: i)
      stage.baseName = lookup.reference.description
      if isNeeded { lookups.append(lookup) }
    }
    let resolve = request.resolveImage
    let found = try await withThrowingTaskGroup(of: (Lookup, Result<ResolvedImage, any Error>).self) { group in
      for lookup in lookups {
        group.addTask { (lookup, await Self.result { try await resolve(lookup.reference, lookup.options) }) }
      }
      var found: [(Lookup, Result<ResolvedImage, any Error>)] = []
      for try await result in group { found.append(result) }
      return found.sorted { $0.0.index < $1.0.index }
    }
    var failures: [any Error] = []
    for (lookup, result) in found {
      let stage = table.stages[lookup.index]
      switch result {
      case .success(let image): try located(at: stage.origin) { try use(image, for: stage, lookup) }
      case .failure(let error): failures.append(baseFailure(error, of: stage, lookup))
      }
    }
    if !failures.isEmpty { throw ManyFailures.one(of: failures) }
  }

  /// A function of its own: Swift 6.3 optimises a closure that returns a tuple from its `do` and another from its `catch` into wrong elements.
  private static func result(_ body: () async throws -> ResolvedImage) async -> Result<ResolvedImage, any Error> {
    do { return .success(try await body()) } catch { return .failure(error) }
  }

  private func useScratch(_ stage: StageState) {
    stage.state = graph.scratch
    var image = ImageConfig(platform: targetPlatform)
    image.config.workingDir = "/"
    if targetPlatform.os != "windows" { image.config.env = ["PATH=" + Converter.defaultPath] }
    stage.image = image
    stage.platform = targetPlatform
    if stage.isImplicit { stage.isDispatched = true }
  }

  private func lookup(_ stage: StageState, index: Int) throws -> Lookup {
    let reference: Reference
    do { reference = try Reference(parsing: stage.baseName).withDefaultTag } catch {
      throw failure(
        "failed to parse stage name \(GoText.quoted(stage.baseName)): \(error)", at: stage.origin.range, word: stage.origin.range(of: stage.writtenBase),
        suggestion: argumentAdvice(for: stage.writtenBase, where: "FROM") ?? Converter.imageAdvice(stage.baseName))
    }
    let platform = stage.platform ?? targetPlatform
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

  /// The gateway's own words (not found, no such platform and which there are…), at the FROM, COPY or mount that asked.
  private func baseFailure(_ error: any Error, of stage: StageState, _ lookup: Lookup) -> any Error {
    if error is CancellationError { return error }
    var failure = (error as? BuildError) ?? BuildError(.unavailable, .registry, "\(error)", cause: error)
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
