internal import BuildInterface
internal import BuildProgress
internal import HostOS
internal import LLB
internal import OCIModel

/// Brings what a build is to read and that is not in directories of this machine: standard input, and a Dockerfile of the web.
struct BuildInputs: Sendable {
  /// With what was brought.
  private(set) var plan: BuildPlan
  private var temporary: [String] = []

  init(plan: BuildPlan) { self.plan = plan }

  /// Standard input: a Dockerfile whole, of an archive its beginning only; the rest is read when the build asks for it.
  mutating func bring() async throws {
    if plan.context.dockerfile == .standardInput { try await useDockerfile { try StandardInput.dockerfileDirectory() } }
    guard plan.context.context == .standardInput else { return }
    let head = try await Blocking.run { try StandardInput.start(ArchiveHead.size) }
    if ArchiveHead.isArchive(head) {
      let id = BuildCommand.newID()
      plan.client.uploads[id] = StandardInput.upload(head)
      plan.request.frontendAttributes["context"] = ClientUpload.address(id)
      return
    }
    guard !head.isEmpty else {
      throw BuildError.usage("standard input is empty: it should be a tar archive, which is the context, or a Dockerfile", suggestion: "As in: tar c . | manifold build -   or: manifold build - < Dockerfile")
    }
    guard !plan.context.namesDockerfile else {
      throw BuildError.usage(
        "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles", suggestion: "Standard input is no tar archive, so it is the Dockerfile: leave -f out, or send an archive.")
    }
    try await useDockerfile { try StandardInput.dockerfileDirectory(head) }
    let empty = try await Blocking.run { try Files.makeTemporaryDirectory(prefix: "manifold-context-") }
    temporary.append(empty)
    plan.client.directories["context"] = empty
    plan.request.frontendAttributes["dockerfilekey"] = "dockerfile"
  }

  private mutating func useDockerfile(_ make: @escaping @Sendable () throws -> String) async throws {
    let directory = try await Blocking.run(make)
    temporary.append(directory)
    plan.client.directories["dockerfile"] = directory
  }

  /// buildx's limit.
  private static let largestDockerfile: Int64 = 2 << 20

  /// The Dockerfile of an address, fetched as ADD does it, with its proxies and its memory.
  mutating func download(by engine: any EmbeddedEngine, progress: any ProgressSink) async throws {
    guard case .address(let url) = plan.context.dockerfile else { return }
    let directory = try await Blocking.run { try Files.makeTemporaryDirectory(prefix: "manifold-dockerfile-") }
    temporary.append(directory)
    let definition = try Graph().http(url, HTTPOptions(filename: ContextInput.defaultFile), options: VertexOptions(name: "[internal] load \(url)")).marshal()
    let request = SolveRequest(ref: BuildCommand.newID(), definition: definition.proto, exports: [ExportRequest(type: "local")])
    let client = engine.client(ClientDescription(exports: ["0": .directory(path: directory)]))
    _ = try await engine.solve(request, client: client, progress: progress)
    let path = directory + "/" + ContextInput.defaultFile
    guard let size = try? Files.status(path).size, size <= BuildInputs.largestDockerfile else {
      throw BuildError.usage("the Dockerfile \(url) is larger than \(BuildInputs.largestDockerfile >> 20) MiB", suggestion: "Check the address: is it a Dockerfile's?")
    }
    plan.client.directories["dockerfile"] = directory
  }

  /// SSH agents that were started for this build's own keys, by the ids that steps name.
  mutating func lend(_ agents: [String: String]) { plan.client.agents.merge(agents) { $1 } }

  func remove() { for directory in temporary { try? Files.removeTree(directory) } }
}
