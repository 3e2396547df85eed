internal import ArgumentParser
internal import BuildInterface
internal import ContentStore
internal import ImageTools
internal import OCIModel

/// `manifold tag`: docker's.
struct TagCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tag", abstract: "Give an image of the local store another name.", usage: "manifold tag <image> <name[:tag]>",
    discussion: """
      Examples:
        manifold tag hello reg/me/hello:1
        manifold tag 3f2a9c hello:old

      The name stands for all platforms of the image. A name that stood for another image is taken from it.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The image: a name, a digest or an id.", valueName: "image")) var source: String
  @Argument(help: ArgumentHelp("Its new name.", valueName: "name[:tag]")) var target: String

  func validate() throws {
    if try Reference(parsing: target).digest != nil { throw ValidationError("refusing to create a tag with a digest reference") }
  }

  mutating func run() async throws {
    let (source, target) = (source, try StoreAccess.reference(target))
    try await StoreAccess.withStore(global) { engine in
      let found = try await StoredImages(engine.store).find(source)
      try await LocalImages(engine.store).tag(target, found.image.root)
    }
  }
}
