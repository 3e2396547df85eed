internal import ArgumentParser
internal import BuildInterface
internal import HostOS

/// `manifold daemon`: reads its flags itself, as buildkitd reads them.
struct DaemonCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "daemon", abstract: "Serve BuildKit's protocol to docker buildx and buildctl.", usage: "manifold daemon [flags]",
    discussion: "manifold daemon --help tells of its flags.", helpNames: [])
  /// That the program was started as `buildkitd`.
  static let buildkitdMark = "--started-as-buildkitd"

  @Argument(parsing: .captureForPassthrough) var words: [String] = []

  mutating func run() async throws {
    let asBuildkitd = words.first == Self.buildkitdMark
    let flags = try DaemonFlags(parsing: asBuildkitd ? Array(words.dropFirst()) : words)
    switch flags.request {
    case .help: return Terminal.output(DaemonFlags.help(asBuildkitd: asBuildkitd))
    case .version: return Terminal.output(asBuildkitd ? "buildkitd manifold \(Manifold.version)\n" : "manifold \(Manifold.version)\n")
    case .run: break
    }
    let facts = try CommandFacts.current()
    let file = try await Blocking.run { try DaemonSettings.file(flags, facts, isRoot: HostFacts.isRoot) }
    let settings = try DaemonSettings(flags, facts, isRoot: HostFacts.isRoot, file: file)
    try await Composition.required().runDaemon(settings)
  }
}
