import BuildInterface
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

let composition = Composition { settings in
  var obstacle: HostError?
  #if os(Linux)
    obstacle = try Namespaces.enterIfPossible()
  #endif
  return try await EmbeddedBackend(
    .init(root: settings.root, jobs: settings.jobs, insecureRegistries: settings.insecureRegistries, config: settings.config, obstacle: obstacle?.message, storeLimit: settings.storeLimit))
}

exit(await Manifold.main(Array(CommandLine.arguments.dropFirst()), composition))
