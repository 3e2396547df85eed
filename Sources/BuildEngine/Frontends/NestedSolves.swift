internal import BuildInterface
internal import BuildKitProto
internal import BuildOutputs
internal import DockerfileFrontend
internal import OCIModel

extension Engine {
  /// Frontends within frontends at most: one that asks for itself must come to an end.
  static let maximumDepth = 16

  /// A frontend by its name, as builds and frontends ask for it. Throws `BuildError`.
  func frontend(_ name: String, _ attributes: [String: String]) throws -> any Frontend {
    switch name {
    case DockerfileFrontend.name: return DockerfileFrontend()
    case FrontendImage.name:
      guard let source = attributes[FrontendImage.sourceKey], !source.isEmpty else { throw BuildError(.invalidArgument, .usage, "no source specified for gateway") }
      if source == DockerfileFrontend.name, !attributes.keys.contains(where: { $0 == "context:\(source)" || $0.hasPrefix("context:\(source)::") }) { return DockerfileFrontend() }
      if DockerfileFrontend.serves(image: source, attributes: attributes) { return DockerfileFrontend() }
      return FrontendImage(source: source, engine: self)
    default: throw BuildError(.invalidArgument, .usage, "invalid frontend: \(name)", suggestion: "there are dockerfile.v0 and gateway.v0, which runs a frontend image")
    }
  }

  /// A build within a build. Throws `BuildError`.
  func solve(_ request: NestedSolve, within gateway: EngineGateway) async throws -> NestedResult {
    if !request.sourcePolicies.isEmpty { throw BuildError(.unimplemented, .usage, "source policies of a build within a build are not supported yet") }
    let caches = gateway.build.caches.add(try request.cacheImports.map { try CacheSource($0) })
    let result: NestedResult
    if let definition = request.definition, !definition.def.isEmpty {
      guard request.frontend.isEmpty else { throw BuildError(.invalidArgument, .usage, "cannot solve with both Definition and Frontend specified") }
      result = NestedResult(reference: try await gateway.reference(definition, caches: caches))
    } else if !request.frontend.isEmpty {
      var environment = gateway.environment
      environment.attributes = request.attributes
      environment.inputs = request.inputs
      environment.depth += 1
      guard environment.depth <= Self.maximumDepth else { throw BuildError(.resourceExhausted, .usage, "frontends that ask for frontends: more than \(Self.maximumDepth) deep") }
      // What the client's command line names goes by an attribute (BuildKit's `cache-imports`).
      let named = gateway.build.caches.add(try Self.cacheImports(request.attributes).map { try CacheSource($0) })
      let inner = EngineGateway(environment: environment, build: gateway.build, caches: caches + named.filter { cache in !caches.contains { $0 === cache } })
      result = NestedResult(try await frontend(request.frontend, request.attributes).build(inner))
    } else {
      result = NestedResult()
    }
    if request.evaluates { try await Self.evaluate(result) }
    return result
  }

  private static func evaluate(_ result: NestedResult) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for reference in result.all { group.addTask { try await reference.evaluate() } }
      try await group.waitForAll()
    }
  }

  private static func cacheImports(_ attributes: [String: String]) throws -> [CacheOption] {
    guard let text = attributes["cache-imports"], !text.isEmpty else { return [] }
    guard let list = try? JSONValue(parsing: text).arrayValue else { throw BuildError(.invalidArgument, .usage, "the attribute cache-imports is no list in JSON") }
    return list.compactMap { item in
      guard let type = item["Type"]?.stringValue else { return nil }
      let attributes = item["Attrs"]?.objectValue?.members.compactMap { key, value in value.stringValue.map { (key, $0) } } ?? []
      return CacheOption(type: type, attributes: Dictionary(attributes) { _, last in last })
    }
  }
}
