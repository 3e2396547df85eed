internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import ContentStore
internal import ImageStores
internal import ImageTools
internal import OCIModel
internal import OCIRegistry

/// How the verbs about local images reach the store: through the engine, which alone knows where its namespaces must be.
enum StoreAccess {
  /// Opens the engine, and shuts it down however `body` ends. Ctrl-C cancels `body`.
  static func withStore<T: Sendable>(_ global: GlobalOptions, _ body: @escaping @Sendable (any EmbeddedEngine) async throws -> T) async throws -> T {
    let composition = try Composition.required()
    let settings = global.settings(try CommandFacts.current())
    return try await Interruption.guarding { _ in
      do { return try await composition.withEngine(settings, body) } catch let error as ImageToolsError { throw BuildError(error) }
    }
  }

  /// As `withStore`, with a client of registries.
  static func withStoreAndRegistry<T: Sendable>(
    _ global: GlobalOptions, _ body: @escaping @Sendable (any EmbeddedEngine, RegistryClient) async throws -> T
  ) async throws -> T {
    do { return try await ImageCommands.withEngine(global) { engine, access in try await body(engine, access.client) } } catch let error as ImageToolsError { throw BuildError(error) }
  }

  /// `--platform`: several, or separated by commas.
  static func platforms(_ texts: [String], host: Platform) throws -> [Platform] {
    try texts.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }.map { text in
      do throws(OCIError) { return try Platform(parsing: text, default: host) } catch { throw BuildError.usage("--platform: \(error.message)") }
    }
  }

  static func reference(_ text: String) throws -> Reference {
    do throws(OCIError) { return try Reference(parsing: text) } catch { throw BuildError.usage(error.message) }
  }

  static func view(_ name: String) throws -> ProgressMode {
    guard let mode = ProgressMode(rawValue: name) else {
      throw BuildError.usage("--progress \(name): there is no such view", suggestion: "Views are \(ProgressMode.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    return mode
  }
}

extension BuildError {
  init(_ error: ImageToolsError) {
    let code: Code =
      switch error.code {
      case .noSuchImage, .noSuchPlatform, .notHere: .notFound
      case .ambiguous, .invalidArchive: .invalidArgument
      // What an image or an archive asks for, and no store here can hold; the message names it.
      case .unsupported: .unimplemented
      }
    self.init(code, .usage, error.message, suggestion: error.suggestion, cause: error.cause)
  }
}
