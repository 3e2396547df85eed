internal import BuildInterface
internal import BuildKitProto
internal import LLB
internal import OCIModel

/// A main context that is not a directory of the client.
enum RemoteContext: Sendable {
  case git(GitAddress, shown: String)
  /// A tar archive, compressed or not: the context is what it holds.
  case archive(String)
  /// Any other file, which is the Dockerfile.
  case file(String)
  /// What another build has made.
  case definition(Definition)

  /// What a downloaded context is called.
  static let filename = "context"

  init(_ address: RemoteAddress, shown: String, _ options: FrontendOptions, _ gateway: any FrontendGateway) async throws {
    switch address {
    case .git(var repository):
      if let word = options.buildArguments["BUILDKIT_CONTEXT_KEEP_GIT_DIR"], GoText.bool(word) == true { repository.keepsGitDirectory = true }
      // Times in the image are then times of the source; what the address says itself wins.
      if repository.modificationTime.isEmpty, !(options.buildArguments["SOURCE_DATE_EPOCH"] ?? "").isEmpty { repository.modificationTime = "commit" }
      self = .git(repository, shown: shown)
    case .http(let url):
      let reference = try await gateway.solve(try RemoteContext.download(url, in: Graph()).marshal().proto)
      self = ArchiveHead.isArchive(try await reference.readStart(of: RemoteContext.filename, count: ArchiveHead.size)) ? .archive(url) : .file(url)
    }
  }

  private static func download(_ url: String, in graph: Graph) -> State {
    graph.http(url, HTTPOptions(filename: filename), options: VertexOptions(name: "[internal] load remote build context"))
  }

  func state(in graph: Graph) throws -> State {
    switch self {
    case .git(let repository, let shown): return graph.git(repository, options: VertexOptions(name: "[internal] load git source \(shown)"))
    case .file(let url): return RemoteContext.download(url, in: graph)
    case .definition(let definition): return try graph.state(of: definition)
    case .archive(let url):
      var copy = CopyOptions()
      copy.attemptUnpack = true
      return try graph.scratch.file([.copy(from: RemoteContext.download(url, in: graph), "/" + RemoteContext.filename, to: "/", copy)])
    }
  }

  func definition() throws -> Definition { try state(in: Graph()).marshal() }

  /// What its time can be asked of; nil where it has none.
  func source() throws -> Definition? {
    switch self {
    case .git: try definition()
    case .archive(let url), .file(let url): try RemoteContext.download(url, in: Graph()).marshal()
    case .definition: nil
    }
  }
}
