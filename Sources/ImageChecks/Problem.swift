internal import ContentStore
internal import ImageStores
internal import LayerArchive
internal import OCIModel
internal import OCIRegistry

/// Why a piece of an image cannot be had, when that is the image's fault. What is the way's fault (no connection, no right to read) is thrown on.
struct Problem: Error, Sendable {
  enum Kind: Sendable { case missing, size, digest, other }
  var kind: Kind
  var message: String
  var isMissing: Bool { kind == .missing }

  init(_ kind: Kind = .other, _ message: String) { (self.kind, self.message) = (kind, message) }

  /// The code for a blob; `other` when nothing more is known.
  func code(missing: Finding.Code, other: Finding.Code) -> Finding.Code {
    switch kind {
    case .missing: missing
    case .size: .wrongSize
    case .digest: .wrongDigest
    case .other: other
    }
  }

  /// As `init(of:)`; a connection that breaks whenever one thing is sent, while the registry answers otherwise, is that thing's fault too: so registries send what they
  /// hold less of than they remember.
  static func of(_ error: any Error, _ source: any ImageSource) async throws -> Problem {
    guard let broken = error as? RegistryError, broken.code == .network else { return try Problem(of: error) }
    do { _ = try await source.root() } catch { throw broken }
    return Problem(.other, "\(broken.host) answers, but does not send it whole: \(broken.message)")
  }

  init(of error: any Error) throws {
    switch error {
    case let error as RegistryError:
      switch error.code {
      case .notFound: self.init(.missing, "it is not there")
      case .digestMismatch: self.init(.digest, "\(error)")
      case .sizeMismatch: self.init(.size, "\(error)")
      case .invalidResponse, .unsupported, .serverFailure, .refused: self.init(.other, "\(error)")
      default: throw error
      }
    case let error as StoreError:
      switch error.code {
      case .notFound: self.init(.missing, "it is not there")
      case .digestMismatch: self.init(.digest, "\(error)")
      case .sizeMismatch: self.init(.size, "\(error)")
      case .invalid, .tooLarge: self.init(.other, "\(error)")
      default: throw error
      }
    case let error as ImageStoreError:
      switch error.code {
      case .notFound: self.init(.missing, "it is not there")
      case .invalidContent: self.init(.other, "\(error)")
      default: throw error
      }
    case let error as OCIError: self.init(.other, "\(error)")
    case let error as LayerArchiveError: self.init(.other, "\(error)")
    default: throw error
    }
  }
}
