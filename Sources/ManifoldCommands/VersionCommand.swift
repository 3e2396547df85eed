internal import ArgumentParser
internal import OCIModel

struct VersionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Show the program's version and the platform it runs on.",
    discussion: """
      Examples:
        manifold version
        manifold --version
      """)

  @OptionGroup var global: GlobalOptions

  mutating func run() async throws { Terminal.output("manifold \(Manifold.version) \(Platform.current)\n") }
}
