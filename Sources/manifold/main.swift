import BuildDaemon
import BuildEngine
import BuildInterface
import BuildKitAPI
import BuildkitdConfig
import EmbeddedBackend
import HostOS
import ManifoldCommands

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

// The composition root: the only place that knows both the commands and the engine.

extension EmbeddedBackend: EmbeddedEngine {}

/// The engine in namespaces of its own, where those are allowed.
@Sendable func openEngine(_ settings: EngineSettings) async throws -> EmbeddedBackend {
  var obstacle: HostError?
  #if os(Linux)
    obstacle = try Namespaces.enterIfPossible()
  #endif
  var options = EmbeddedBackend.Options(
    root: settings.root, jobs: settings.jobs, insecureRegistries: settings.insecureRegistries, config: settings.config, obstacle: obstacle?.message, storeLimit: settings.storeLimit)
  options.settings = settings.daemon
  if let told = settings.daemon?.history {
    if told.maxAge > 0 { options.history.limits.age = told.maxAge / 1_000_000_000 }
    if told.maxEntries > 0 { options.history.limits.entries = told.maxEntries }
  }
  options.history.status = { WireErrors.status($0) }
  options.frontendServer = FrontendProgramServer()
  return try await EmbeddedBackend(options)
}

let composition = Composition(
  openEngine: { try await openEngine($0) },
  runDaemon: { settings in
    let engine = try await openEngine(settings.engine)
    do { try await DaemonRun.run(engine, settings) } catch {
      await engine.shutdown()
      throw error
    }
    await engine.shutdown()
  })

exit(await Manifold.main(Manifold.arguments(CommandLine.arguments), composition))
