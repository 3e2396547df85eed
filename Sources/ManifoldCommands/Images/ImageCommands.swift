internal import BuildInterface
internal import ContentStore
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

/// What commands about images share: the places that their words name, opened as they are needed.
enum ImageCommands {
  /// A location for `manifest` and `imagetools`; the error says what it is of.
  static func location(_ text: String) throws -> ImageLocation {
    do { return try ImageLocation(parsing: text) } catch let error as ImageStoreError { throw BuildError.usage(error.message, suggestion: error.advice) }
  }

  /// Registries among locations.
  static func references(_ locations: [ImageLocation]) -> [Reference] {
    locations.compactMap { if case .registry(let reference) = $0 { reference } else { nil } }
  }

  /// Opens what the locations need for the length of `body`, which Ctrl-C ends: a registry client always, the engine's store when one of them is local. (Opening the
  /// engine starts the program anew, so nothing may have been read or written before.) `insecure`: registries that may be reached without verified TLS.
  static func withAccess<T: Sendable>(
    _ global: GlobalOptions, _ locations: [ImageLocation], insecure: [Reference] = [], opensStore: Bool = false, _ body: @Sendable @escaping (ImageAccess) async throws -> T
  ) async throws -> T {
    guard opensStore || locations.contains(where: \.isLocal) else {
      return try await RegistryAccess.withClient(global, insecure: insecure) { client in try await body(ImageAccess(client: client, store: nil)) }
    }
    return try await withEngine(global, insecure: insecure) { _, access in try await body(access) }
  }

  /// As `withAccess`, with the engine as well.
  static func withEngine<T: Sendable>(
    _ global: GlobalOptions, insecure: [Reference] = [], _ body: @Sendable @escaping (any EmbeddedEngine, ImageAccess) async throws -> T
  ) async throws -> T {
    let composition = try Composition.required()
    let settings = global.settings(try CommandFacts.current())
    return try await Interruption.guarding { _ in
      try await composition.withEngine(settings) { engine in
        try await RegistryAccess.withOpenClient(global, insecure: insecure) { client in try await body(engine, ImageAccess(client: client, store: engine.store)) }
      }
    }
  }
}
