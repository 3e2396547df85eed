package import BuildInterface

/// What the program hands to its commands: ways to reach an engine, so that commands know none themselves.
package struct Composition: Sendable {
  /// The engine in this process. `needsSteps` says whether processes will be run in containers (which may mean re-executing
  /// the program in namespaces of its own).
  package var openEngine: @Sendable (EngineSettings) async throws -> any EmbeddedEngine
  package init(openEngine: @escaping @Sendable (EngineSettings) async throws -> any EmbeddedEngine) { self.openEngine = openEngine }

  @TaskLocal static var current: Composition?
}

/// Settings of the engine that come from the command line and the environment.
package struct EngineSettings: Sendable {
  /// nil is the default place.
  package var root: String?
  package var insecureRegistries: Set<String>
  /// Steps at once; nil is chosen from cores and memory.
  package var jobs: Int?
  package var debug: Bool
  package init(root: String? = nil, insecureRegistries: Set<String> = [], jobs: Int? = nil, debug: Bool = false) {
    self.root = root
    self.insecureRegistries = insecureRegistries
    self.jobs = jobs
    self.debug = debug
  }
}

/// The engine in this process, with the local disk as its client.
package protocol EmbeddedEngine: BuildBackend, LocalEngine {
  func client(_ description: ClientDescription) -> any ClientServices
  func shutdown() async
}
