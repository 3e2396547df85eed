package import BuildInterface
package import BuildkitdConfig
package import ContentStore

/// What the program hands to its commands: ways to reach an engine, so that commands know none themselves.
package struct Composition: Sendable {
  /// The engine in this process. It may start the program anew, in namespaces of its own: before it is opened a command has neither written nor
  /// read anything that a second start would miss or repeat.
  package var openEngine: @Sendable (EngineSettings) async throws -> any EmbeddedEngine
  /// Serves BuildKit's protocol until a signal ends it. It may start the program anew, as `openEngine` may.
  package var runDaemon: @Sendable (DaemonSettings) async throws -> Void
  package init(
    openEngine: @escaping @Sendable (EngineSettings) async throws -> any EmbeddedEngine,
    runDaemon: @escaping @Sendable (DaemonSettings) async throws -> Void = { _ in throw BuildError(.internal, .build, "no daemon was handed to the commands") }
  ) {
    self.openEngine = openEngine
    self.runDaemon = runDaemon
  }

  @TaskLocal static var current: Composition?

  /// The composition the command runs under. Throws when there is none: a command run outside `Manifold.main`.
  static func required() throws -> Composition {
    guard let current else { throw BuildError(.internal, .build, "no engine was handed to the commands") }
    return current
  }

  /// Opens the engine, and shuts it down however `body` ends.
  func withEngine<T: Sendable>(_ settings: EngineSettings, _ body: (any EmbeddedEngine) async throws -> T) async throws -> T {
    let engine = try await openEngine(settings)
    do {
      let value = try await body(engine)
      await engine.shutdown()
      return value
    } catch {
      await engine.shutdown()
      throw error
    }
  }
}

/// Settings of the engine that come from the command line and the environment.
package struct EngineSettings: Sendable, Hashable {
  /// nil is the default place (`StoreLayout.defaultRoot`, which reads MANIFOLD_ROOT).
  package var root: String?
  package var insecureRegistries: Set<String>
  /// A `buildkitd.toml`; nil takes MANIFOLD_CONFIG's, else the default place's, if there is one.
  package var config: String?
  /// Steps at once; nil is chosen from cores and memory.
  package var jobs: Int?
  package var debug: Bool
  /// How large the store may grow by itself.
  package var storeLimit: StoreLimit
  /// A daemon's settings, in which its flags are already; `config` is not read then.
  package var daemon: BuildkitdFile?
  package init(root: String? = nil, insecureRegistries: Set<String> = [], config: String? = nil, jobs: Int? = nil, debug: Bool = false, storeLimit: StoreLimit = .automatic) {
    self.root = root
    self.insecureRegistries = insecureRegistries
    self.config = config
    self.jobs = jobs
    self.debug = debug
    self.storeLimit = storeLimit
  }
}

/// The engine in this process, with the local disk as its client.
package protocol EmbeddedEngine: BuildBackend, LocalEngine, BuildExplaining, FailedStepShell {
  func client(_ description: ClientDescription) -> any ClientServices
  /// Where its images and their content are.
  var store: ContentStore { get }
  /// What of this machine makes builds less than they would be elsewhere; to be shown before the first.
  var notes: [String] { get }
  func shutdown() async
}

extension EmbeddedEngine {
  package var notes: [String] { [] }
}
