internal import BuildInterface
internal import BuildKitProto
internal import BuildSolver
internal import ContentStore
internal import LLB
internal import OCIModel

/// Says what a build would do, from the edges that it would build. Runs nothing and fetches no layer.
struct ForecastBuilder {
  let services: EngineServices
  let session: SolveSession
  let cache: any CacheManager
  let emulation: any EmulationPlanning
  let buildPlatform: Platform

  /// - Parameter images: those that the frontend looked up, by `mode`.
  func forecast(_ result: FrontendResult, images: [ProvenanceCapture.Image], mode: ImageResolveMode) async throws -> BuildForecast {
    var states = CacheForecast(services: services, session: session, cache: cache)
    do {
      let forecast = try await forecast(result, images, mode, &states)
      await states.close()
      return forecast
    } catch {
      await states.close()
      throw error
    }
  }

  private func forecast(
    _ result: FrontendResult, _ images: [ProvenanceCapture.Image], _ mode: ImageResolveMode, _ states: inout CacheForecast
  ) async throws -> BuildForecast {
    var out = BuildForecast(buildPlatform: buildPlatform)
    out.isMultiPlatform = result.isMultiPlatform
    var vertices: [Vertex] = [], seen: Set<Digest> = [], outputs: [Digest: Set<Int>] = [:]
    for target in result.targets {
      if let edge = (target.reference as? EngineReference)?.edge { outputs[edge.vertex.digest, default: []].insert(edge.index) }
      let own = (target.reference as? EngineReference)?.edge.map { ForecastBuilder.vertices(below: $0) } ?? []
      out.targets.append(.init(id: target.id, platform: target.platform, file: target.file, stages: target.stages, steps: own.map(\.digest)))
      for vertex in own where seen.insert(vertex.digest).inserted { vertices.append(vertex) }
    }
    for edge in vertices.flatMap(\.inputs) { outputs[edge.vertex.digest, default: []].insert(edge.index) }
    let support = await support(vertices)
    for vertex in vertices {
      guard let payload = vertex.payload as? OpPayload else { continue }
      var step = ForecastBuilder.step(vertex, payload)
      if case .exec(let exec)? = payload.op.op {
        if let refusal = ExecOperation.refusal(exec) { throw ErrorTranslation.placed(refusal, vertex, payload) }
        step.support = support[payload.platform] ?? .native
      }
      do { step.cache = try await states.look(up: vertex, payload, outputs: outputs[vertex.digest] ?? [0]) } catch let error as BuildError { throw ErrorTranslation.placed(error, vertex, payload) }
      out.steps.append(step)
    }
    ForecastBuilder.markUnneeded(&out, forced: Set(vertices.filter(\.options.ignoreCache).map(\.digest)))
    out.sources = sources(vertices, out.targets)
    out.images = await found(images, mode)
    return out
  }

  /// What only steps read whose results are there already is not made either, whether its own result is there or not.
  /// A step that ignores the cache is made all the same: what it makes is part of its users' keys.
  private static func markUnneeded(_ forecast: inout BuildForecast, forced: Set<Digest>) {
    var needed = Set(forecast.targets.compactMap(\.steps.last)).union(forced)
    for i in forecast.steps.indices.reversed() {
      let step = forecast.steps[i]
      guard needed.contains(step.digest) else {
        if step.cache == .miss || step.cache == .unknown, ![.image, .context, .git, .http, .source].contains(step.kind) { forecast.steps[i].cache = .hit }
        continue
      }
      if step.cache != .hit { needed.formUnion(step.inputs) }
    }
  }

  /// Inputs before their users.
  private static func vertices(below edge: Edge) -> [Vertex] {
    var out: [Vertex] = [], seen: Set<Digest> = [edge.vertex.digest], stack: [(vertex: Vertex, next: Int)] = [(edge.vertex, 0)]
    while let (vertex, next) = stack.last {
      if next < vertex.inputs.count {
        stack[stack.count - 1].next += 1
        let input = vertex.inputs[next].vertex
        if seen.insert(input.digest).inserted { stack.append((input, 0)) }
      } else {
        stack.removeLast()
        out.append(vertex)
      }
    }
    return out
  }

  private func support(_ vertices: [Vertex]) async -> [Platform: PlatformSupport.Kind] {
    let platforms = Set(
      vertices.compactMap { vertex -> Platform? in
        guard let payload = vertex.payload as? OpPayload, case .exec? = payload.op.op else { return nil }
        return payload.platform
      })
    if platforms.isEmpty { return [:] }
    let all = await emulation.support(for: platforms.sorted { $0.description < $1.description })
    return Dictionary(all.map { ($0.platform, $0.kind) }) { first, _ in first }
  }

  private static func step(_ vertex: Vertex, _ payload: OpPayload) -> BuildForecast.Step {
    var step = BuildForecast.Step(
      digest: vertex.digest, name: vertex.name, kind: kind(payload.op), platform: payload.platform, inputs: vertex.inputs.map(\.vertex.digest))
    guard let place = payload.locations.first, let first = place.ranges.map(\.startLine).min(), let last = place.ranges.map(\.endLine).max() else { return step }
    (step.file, step.lines) = (place.map.filename, max(1, first)...max(1, first, last))
    let lines = place.map.data.split(separator: 0x0a, omittingEmptySubsequences: false)
    if first >= 1, last >= first, last <= lines.count {
      let own = lines[(first - 1)...(last - 1)].map { String(decoding: $0, as: UTF8.self) }
      step.text = own.joined(separator: " ").split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" }).joined(separator: " ")
    }
    return step
  }

  private static func kind(_ op: Pb_Op) -> BuildForecast.Step.Kind {
    switch op.op {
    case .exec: .run
    case .file: .file
    case .merge: .merge
    case .diff: .diff
    case .source(let source):
      switch source.identifier.prefix(while: { $0 != ":" }) {
      case "docker-image": .image
      case "local": .context
      case "git": .git
      case "http", "https": .http
      default: .source
      }
    case .build, .passthrough, nil: .source
    }
  }

  private func sources(_ vertices: [Vertex], _ targets: [BuildForecast.Target]) -> [BuildForecast.Source] {
    let needs = targets.map { Set($0.steps) }
    var out: [BuildForecast.Source] = []
    for vertex in vertices {
      guard let payload = vertex.payload as? OpPayload, case .source(let source)? = payload.op.op else { continue }
      let kind = ForecastBuilder.kind(payload.op)
      if kind == .image { continue }
      func list(_ key: String) -> [String] { source.attrs[key].flatMap { try? JSONValue(parsing: $0).arrayValue?.compactMap(\.stringValue) } ?? [] }
      let name = kind == .context ? String(source.identifier.dropFirst("local://".count)) : URLWords.withoutPassword(source.identifier)
      let users = zip(targets, needs).filter { $1.contains(vertex.digest) }.map(\.0.id)
      let one = BuildForecast.Source(kind: kind, name: name, paths: list("local.followpaths"), excludes: list("local.excludepatterns"), targets: users)
      if let i = out.firstIndex(where: { $0.kind == one.kind && $0.name == one.name && $0.paths == one.paths && $0.excludes == one.excludes }) {
        for user in users where !out[i].targets.contains(user) { out[i].targets.append(user) }
      } else {
        out.append(one)
      }
    }
    return out
  }

  /// What the frontend looked up, as the registry or the store has it.
  private func found(_ images: [ProvenanceCapture.Image], _ mode: ImageResolveMode) async -> [BuildForecast.Image] {
    var out: [BuildForecast.Image] = []
    for image in images {
      guard let platform = image.platform, let base = try? await session.images.resolve(image.reference, platform: platform, mode: mode) else { continue }
      var missing: Int64 = 0
      for layer in base.manifest.layers where !services.store.contains(layer.digest) { missing += layer.size }
      let one = BuildForecast.Image(
        name: image.reference.familiar, platform: platform, digest: image.digest, isLocal: base.place == .localStore, layers: base.manifest.layers.count, missing: missing)
      if !out.contains(one) { out.append(one) }
    }
    return out.sorted { ($0.name, $0.platform.description) < ($1.name, $1.platform.description) }
  }
}

/// Addresses as they may be shown.
enum URLWords {
  /// Without what stands before the `@` of the host.
  static func withoutPassword(_ url: String) -> String {
    guard let scheme = url.firstRange(of: "://") else { return url }
    let rest = url[scheme.upperBound...], host = rest.prefix { $0 != "/" }
    guard let at = host.lastIndex(of: "@") else { return url }
    return url[..<scheme.upperBound] + "xxxxx" + rest[at...]
  }
}
