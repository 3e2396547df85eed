internal import BuildInterface
internal import BuildProgress
internal import DockerEngine
internal import HostOS
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// An output that goes into a Docker engine.
struct DockerLoad: Sendable, Hashable {
  /// Of the export.
  var id: String
  /// The Docker context to use; nil: as the environment says.
  var context: String?
  /// Asked for by `type=docker`; else (`--load`) it is done when an engine answers.
  var isRequired: Bool
}

/// Brings images into Docker engines while they are exported. What an engine can take decides what it gets: one whose store is containerd's an OCI archive of all
/// platforms, an older one the archive of its own platform alone; the others then stay in the local store, and the user is told.
struct DockerLoads {
  /// An engine that answers, and the pipe that its archive goes through.
  private struct Open: Sendable {
    let client: DockerClient
    let output: HostOS.Descriptor
    let input: HostOS.Descriptor
  }
  private var request: SolveRequest
  private var client: ClientDescription
  private var opened: [Open] = []

  private init(_ plan: BuildPlan, _ client: ClientDescription) {
    request = plan.request
    self.client = client
  }

  /// Runs a build with its request made to fit the engines that are there, and ends when they have taken what it made.
  static func during(
    _ plan: BuildPlan, _ client: ClientDescription, _ facts: CommandFacts, progress: any ProgressSink, say: (String) -> Void,
    _ build: @Sendable @escaping (SolveRequest, ClientDescription) async throws -> SolveResponse
  ) async throws -> SolveResponse {
    if plan.loads.isEmpty { return try await build(plan.request, client) }
    var loads = DockerLoads(plan, client)
    do {
      for load in plan.loads { try await loads.open(load, plan, facts, say) }
    } catch {
      await loads.close()
      throw error
    }
    let (request, description, opened) = (loads.request, loads.client, loads.opened)
    return try await run(opened, progress) { try await build(request, description) }
  }

  private func close() async {
    for one in opened { await one.client.shutdown() }
  }

  // MARK: - Before the build

  private mutating func open(_ load: DockerLoad, _ plan: BuildPlan, _ facts: CommandFacts, _ say: (String) -> Void) async throws {
    let environment = facts.environment
    let client: DockerClient
    let engine: DockerFacts
    do {
      client = try await Blocking.run { try DockerClient(DockerEndpoint.find(environment: environment, context: load.context)) }
      do { engine = try await client.facts() } catch {
        await client.shutdown()
        throw error
      }
    } catch let error as DockerError {
      guard !load.isRequired else {
        throw BuildError(
          error.code == .configuration ? .invalidArgument : .unavailable, .usage, "type=docker without dest loads the image into a Docker engine, and \(error)",
          suggestion: (error.advice.map { $0 + " " } ?? "") + "For a file: -o type=docker,dest=FILE; to keep the image here: --load.")
      }
      request.exports.removeAll { $0.id == load.id }
      // Who has no Docker has nothing to be told but this.
      say("No Docker engine to load the image into (\(error)); it is kept in the local store: manifold run, manifold images")
      return
    }
    do {
      try fit(load, engine, plan, facts.host, say)
      let (output, input) = try HostOS.Descriptor.pipe()
      self.client.exports[load.id] = .descriptor(input.raw)
      opened.append(Open(client: client, output: output, input: input))
    } catch {
      await client.shutdown()
      throw error
    }
  }

  /// Chooses what the engine gets.
  private mutating func fit(_ load: DockerLoad, _ engine: DockerFacts, _ plan: BuildPlan, _ host: Platform, _ say: (String) -> Void) throws {
    guard let i = request.exports.firstIndex(where: { $0.id == load.id }) else { return }
    if engine.keepsIndexes {
      request.exports[i].type = "oci"
      return
    }
    let isIndex = plan.platforms.count > 1 || TruthWord.parse(request.frontendAttributes["multi-platform"] ?? "") == true
    guard isIndex else { return }
    let platforms = plan.platforms.isEmpty ? [host.normalized] : plan.platforms
    guard let own = engine.platform.best(of: platforms) else {
      let names = platforms.map(\.description).joined(separator: ", ")
      guard load.isRequired else {
        request.exports.remove(at: i)
        return say("The Docker engine runs \(engine.platform) and keeps no other platform's images: \(names) stays in the local store")
      }
      throw BuildError.usage(
        "the Docker engine runs \(engine.platform) and keeps no other platform's images; this build is for \(names)", suggestion: "Add --platform \(engine.platform), or keep the image here: --load.")
    }
    request.exports[i].attributes["only-platform"] = platforms[own].fullDescription
    let rest = platforms.indices.filter { $0 != own }.map { platforms[$0].description }
    keepHere(like: request.exports[i])
    if !rest.isEmpty {
      say("The Docker engine's store holds one platform of an image: it gets \(platforms[own]); \(rest.joined(separator: ", ")) \(rest.count == 1 ? "stays" : "stay") in the local store")
    }
  }

  /// The whole image in the local store, if no output puts it there yet. An engine answers for the whole, so this one comes last.
  private mutating func keepHere(like export: ExportRequest) {
    if request.exports.contains(where: { $0.type == "image" && TruthWord.parse($0.attributes["store"] ?? "true") == true && TruthWord.parse($0.attributes["push"] ?? "") != true }) { return }
    if let i = request.exports.firstIndex(where: { $0.type == "image" }) { return request.exports[i].attributes["store"] = "true" }
    var attributes = export.attributes
    attributes["only-platform"] = nil
    request.exports.append(ExportRequest(type: "image", attributes: attributes, id: "kept-\(export.id)"))
  }

  // MARK: - The build

  private enum Ended { case built(Result<SolveResponse, any Error>), loaded(Result<Void, any Error>) }

  private static func run(_ opened: [Open], _ progress: any ProgressSink, _ build: @Sendable @escaping () async throws -> SolveResponse) async throws -> SolveResponse {
    let (built, failure) = await withTaskGroup(of: Ended.self) { group in
      for one in opened { group.addTask { .loaded(await load(one, progress)) } }
      group.addTask {
        do { return .built(.success(try await build())) } catch { return .built(.failure(error)) }
      }
      var built: Result<SolveResponse, any Error> = .failure(CancellationError())
      var failure: (any Error)?
      for await ended in group {
        switch ended {
        case .built(let result):
          built = result
          // An archive that is not whole must not look so: whoever reads it is ended first.
          if case .failure = result { group.cancelAll() }
          for one in opened { try? one.input.close() }
        case .loaded(.failure(let error)):
          // The build then fails to write, for which this is the reason.
          if !(error is CancellationError) { failure = failure ?? error }
          group.cancelAll()
        case .loaded(.success): break
        }
      }
      return (built, failure)
    }
    for one in opened { await one.client.shutdown() }
    if let failure { throw failure }
    return try built.get()
  }

  private static func load(_ one: Open, _ progress: any ProgressSink) async -> Result<Void, any Error> {
    do {
      // The reader closes what it is given.
      let own = dup(one.output.raw)
      try one.output.close()
      _ = try await one.client.load(from: own) { send in
        try await ProgressTask("importing to docker", id: "docker:\(one.client.endpoint.text):\(UInt64.random(in: .min ... .max))", progress).run { vertex in
          try await send { show($0, vertex) }
        }
      }
      return .success(())
    } catch let error as DockerError {
      return .failure(BuildError(.failedPrecondition, .build, "the image cannot be loaded: \(error)", suggestion: error.advice))
    } catch { return .failure(error) }
  }

  private static func show(_ message: DockerMessage, _ vertex: ProgressTask) {
    guard !message.id.isEmpty else {
      if !message.text.isEmpty { vertex.log(message.text, stream: 1) }
      return
    }
    let now = wallClock()
    vertex.status(
      "\(message.text.lowercased()) \(message.id)", current: message.current, total: message.total, started: now, completed: message.total > 0 && message.current >= message.total ? now : nil)
  }
}

extension Platform {
  /// The place of the one that a machine of this platform would take.
  fileprivate func best(of platforms: [Platform]) -> Int? {
    let matcher = PlatformMatcher(only: self)
    return platforms.indices.filter { matcher.matches(platforms[$0]) }.min { matcher.isBetter(platforms[$0], than: platforms[$1]) }
  }
}
