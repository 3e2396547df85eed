internal import BuildExecutor
package import BuildInterface
internal import BuildSnapshots
internal import ContentStore
package import HostOS
internal import OCIModel
internal import OCIRegistry
internal import PathPatterns

/// `manifold run`: one process in a container over an image, on a layer that goes with it.
extension Engine {
  /// The process's standard streams, and where words about it go.
  package struct Terminal: Sendable {
    package var input: HostOS.Descriptor
    package var output: HostOS.Descriptor
    package var error: HostOS.Descriptor
    /// Passed on to the process.
    package var signals: AsyncStream<Int32>?
    package init(input: HostOS.Descriptor, output: HostOS.Descriptor, error: HostOS.Descriptor, signals: AsyncStream<Int32>? = nil) {
      self.input = input
      self.output = output
      self.error = error
      self.signals = signals
    }
  }

  /// Runs a command in an image, which is fetched if it is not here; returns its exit status. `say` gets lines for the person. Throws `BuildError`.
  package func run(
    _ request: RunRequest, client: any ClientServices, terminal: Terminal, say: @escaping @Sendable (String) -> Void
  ) async throws -> Int32 {
    var network = options.registry
    network.onNotice = { say("\($0)") }
    let registry = RegistryClient(network, credentials: ClientCredentials(service: client.credentials))
    do {
      let status = try await run(request, registry: registry, terminal: terminal, say: say)
      await registry.shutdown()
      return status
    } catch {
      await registry.shutdown()
      throw ErrorTranslation.buildError(error)
    }
  }

  private func run(
    _ request: RunRequest, registry: RegistryClient, terminal: Terminal, say: @escaping @Sendable (String) -> Void
  ) async throws -> Int32 {
    let (image, platform) = try await image(for: request, registry: registry, say: say)
    guard platform.os == options.platform.os else {
      throw BuildError(
        .failedPrecondition, .usage, "\(image.reference.familiar) is an image for \(platform.fullDescription), and this machine runs \(options.platform.os) programs only",
        suggestion: platform.os == "windows" ? "run it on Windows: docker run there, of the same version or a later one that runs \(image.config.platform.osVersion.isEmpty ? "it" : image.config.platform.osVersion)" : nil)
    }
    let provider = RunLayers(registry: registry, reference: image.reference, say: say)
    let tree = try await services.refs.chain(of: image, provider: provider)
    let layer: MutableRef
    do {
      layer = try await refs.newMutable(parent: tree, description: "run \(image.reference.familiar)", recordType: .regular)
    } catch {
      await tree?.release()
      throw error
    }
    let result: Result<StepExit, any Error>
    do {
      let spec = try RunSpec(request: request, config: image.config.config, platform: platform).process()
      // The runtime wants a terminal at its input to give the process one; without -i nothing is ever typed at this.
      let silent = request.tty && !request.interactive ? try HostOS.Descriptor.pseudoTerminal() : nil
      defer { withExtendedLifetime(silent?.controller) {} }
      let input = request.interactive ? terminal.input : try silent?.terminal ?? Descriptor.open("/dev/null")
      result = .success(
        try await services.executor.run(
          spec, root: try await layer.mountPlan(), locks: [],
          streams: .attached(input: input, output: terminal.output, error: terminal.error, terminal: request.tty, signals: terminal.signals)))
    } catch {
      result = .failure(error)
    }
    await layer.discard()
    await tree?.release()
    let exit = try result.get()
    // What the runtime had to say it said to the person itself.
    return exit.runtimeMessage.map(Engine.status(ofRuntimeMessage:)) ?? exit.code
  }

  /// Docker's exit codes for a command that did not start.
  static func status(ofRuntimeMessage message: String) -> Int32 {
    let text = message.lowercased()
    if text.contains("not found") || text.contains("no such file") { return 127 }
    if text.contains("permission denied") || text.contains("not permitted") || text.contains("is a directory") || text.contains("exec format") { return 126 }
    return 125
  }

  /// The image, and the platform to run it as.
  private func image(
    for request: RunRequest, registry: RegistryClient, say: @escaping @Sendable (String) -> Void
  ) async throws -> (BaseImage, Platform) {
    let resolver = ImageResolver(store: store, images: images, client: registry)
    if let platform = request.platform {
      return (try await resolver.resolve(request.image, platform: platform, mode: .default), platform.normalized)
    }
    let host = options.platform.normalized
    // Of an image that is here for one platform only, the command has told already.
    if let only = try await resolver.onlyLocalPlatform(of: request.image), !PlatformMatcher(only: host).matches(only) {
      return (try await resolver.resolve(request.image, platform: only, mode: .preferLocal), only)
    }
    func warn(_ other: Platform) {
      say(
        "WARNING: The requested image's platform (\(other)) does not match the detected host platform (\(host)) and no specific platform was requested")
    }
    do {
      let image = try await resolver.resolve(request.image, platform: host, mode: .default)
      guard let other = image.otherPlatform else { return (image, host) }
      warn(other)
      return (image, other)
    } catch let error as BuildError where error.code == .notFound {
      let platforms = try await resolver.platforms(of: request.image)
      guard platforms.count == 1, let only = platforms.first else { throw error }
      warn(only)
      return (try await resolver.resolve(request.image, platform: only, mode: .default), only)
    }
  }
}

/// What a process in an image is, of the image's config and the command line: the rules of `docker run`.
struct RunSpec {
  let request: RunRequest
  let config: ImageConfig.RunConfig
  let platform: Platform

  func process() throws -> ProcessSpec {
    let entrypoint = request.entrypoint.map { $0 == [""] ? [] : $0 } ?? config.entrypoint ?? []
    // A new entrypoint does not get the image's command.
    let command = request.arguments.isEmpty && request.entrypoint == nil ? config.cmd ?? [] : request.arguments
    let arguments = entrypoint + command
    guard !arguments.isEmpty else {
      throw BuildError(.invalidArgument, .usage, "\(request.image.familiar) has no command of its own", suggestion: "say which to run: manifold run \(request.image.familiar) /bin/sh")
    }
    return ProcessSpec(
      arguments: arguments, environment: environment(), workingDirectory: request.workingDirectory ?? (config.workingDir.isEmpty ? "/" : config.workingDir),
      user: request.user ?? config.user, hostname: nil, network: try network(), mounts: try mounts(), platform: platform)
  }

  /// The image's, then the command line's; the last of a name counts.
  private func environment() -> [String] {
    var names: [String] = [], values: [String: String] = [:]
    var all = ["PATH=" + ImageDefaults.path]
    if request.tty { all.append("TERM=xterm") }
    for item in all + config.env + request.environment {
      let name = String(item.prefix { $0 != "=" })
      if values[name] == nil { names.append(name) }
      values[name] = item
    }
    return names.compactMap { values[$0] }
  }

  private func network() throws -> ProcessSpec.Network {
    switch request.network {
    case nil, "host", "default", "bridge": .host
    case "none": .none
    case let other?: throw BuildError(.unimplemented, .usage, "--network \(other): only host and none are supported")
    }
  }

  private func mounts() throws -> [ProcessMount] {
    try request.volumes.map { volume in
      guard volume.destination.hasPrefix("/") else {
        throw BuildError(.invalidArgument, .usage, "invalid volume: the destination \"\(volume.destination)\" is not an absolute path")
      }
      guard volume.source.hasPrefix("/") else {
        throw BuildError(.unimplemented, .usage, "named volumes are not supported: \"\(volume.source)\"", suggestion: "name a directory of this machine by its absolute path")
      }
      guard Files.exists(volume.source) else { throw BuildError(.notFound, .usage, "\(volume.source): no such file or directory to mount at \(volume.destination)") }
      return ProcessMount(
        destination: SlashPath.clean(volume.destination), plan: .bind(path: volume.source, readOnly: volume.readOnly), readOnly: volume.readOnly)
    }
  }
}

/// Brings the layers of an image that is to be run.
private struct RunLayers: LayerProvider {
  let registry: RegistryClient
  let reference: Reference
  let say: @Sendable (String) -> Void

  func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore) async throws {
    say("fetching \(descriptor.digest) of \(reference.familiar) (\(descriptor.size) bytes)")
    try await registry.fetchBlob(descriptor, from: reference, into: store)
  }
}
