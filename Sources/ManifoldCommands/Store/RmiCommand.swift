internal import ArgumentParser
internal import BuildInterface
internal import OCIModel

/// `manifold rmi`: takes images out of the local store, by their names.
struct RmiCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rmi", abstract: "Remove images from the local store.", usage: "manifold rmi <name[:tag]>…",
    discussion: """
      Examples:
        manifold rmi hello
        manifold rmi hello:1 hello:2

      An image's content goes with its last name, but for what the build cache has too.
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: .shortAndLong, help: .hidden) var force = false
  @Argument(help: ArgumentHelp("Images by their names.", valueName: "name[:tag]")) var names: [String] = []

  func validate() throws {
    if names.isEmpty { throw ValidationError("rmi needs the name of an image") }
    for name in names { _ = try Reference(parsing: name) }
  }

  mutating func run() async throws {
    let composition = try Composition.required()
    let (settings, names, force) = (global.settings(try CommandFacts.current()), names, force)
    try await Interruption.guarding { _ in
      try await composition.withEngine(settings) { engine in
        var missing: [String] = []
        for name in names {
          let reference = try Reference(parsing: name).withDefaultTag
          if try await engine.removeImage(reference) { Terminal.output("Untagged: \(reference.familiar)\n") } else { missing.append(reference.familiar) }
        }
        if !force, !missing.isEmpty { throw BuildError.usage("No such image: \(missing.joined(separator: ", "))") }
      }
    }
  }
}
