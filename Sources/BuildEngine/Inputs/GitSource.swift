internal import BuildInterface
internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import LLB
internal import OCIModel
internal import Synchronization

/// `git://`: a checkout of a repository at a commit (BuildKit's source/git). What a branch or tag stands for is asked once a build; the commit is the cache key, so
/// a ref that has not moved is not fetched again.
struct GitSource: Op {
  let repository: GitRepository
  let keepsGitDirectory: Bool
  /// The SSH agent to be lent, by its id.
  let agent: String?
  /// Keys of SSH servers, when the definition says which are right.
  let knownHosts: String
  let services: EngineServices
  let pin = CommitPin()

  init(_ source: Pb_SourceOp, services: EngineServices) throws {
    var attributes = source.attrs
    func take(_ key: String) -> String? { attributes.removeValue(forKey: key) }
    func flag(_ key: String) -> Bool { take(key) == "true" }
    // The identifier is without protocol and user; the address that was meant is an attribute.
    let identifier = String(source.identifier.dropFirst("git://".count))
    // (A path that ends in .git or not: any protocol that does not care.)
    guard let named = try GitAddress(parsing: "git://" + identifier) else { throw InvalidDefinition("git source \(source.identifier): not a repository") }
    let remote = take(SourceAttribute.gitFullURL) ?? named.remote
    keepsGitDirectory = flag(SourceAttribute.gitKeepDirectory)
    repository = GitRepository(
      remote: remote.contains("://") || remote.contains("@") ? remote : "https://" + remote, ref: named.ref, subdirectory: named.subdirectory,
      checksum: take(SourceAttribute.gitChecksum) ?? "", skipsSubmodules: flag(SourceAttribute.gitSkipSubmodules),
      usesCommitTime: take(SourceAttribute.gitModificationTime) == "commit", fetchesByCommit: flag(SourceAttribute.gitFetchByCommit),
      tokenSecret: take(SourceAttribute.gitAuthToken), headerSecret: take(SourceAttribute.gitAuthHeader))
    self.services = services
    agent = take(SourceAttribute.gitSSHSocket)
    knownHosts = take(SourceAttribute.gitKnownHosts) ?? ""
    // One that changes what is fetched must not be passed over.
    if let other = attributes.keys.min() { throw BuildError(.unimplemented, .build, "git source \(repository.shown): the attribute \(other) is not supported yet") }
    guard repository.checksum.utf8.allSatisfy({ ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) || ($0 >= 0x41 && $0 <= 0x46) }) else {
      throw BuildError(.invalidArgument, .usage, "invalid checksum \(repository.checksum) for a git repository", suggestion: "it is the hash of a commit, or its first digits")
    }
  }

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    let found = try await resolved(context)
    pin.hash = found.hash
    // A tag that is annotated is the commit it is of, but for who sees the repository itself.
    var key = found.commit != nil && !keepsGitDirectory ? found.commit ?? "" : found.hash
    if keepsGitDirectory { key += ".git" + (found.ref.isEmpty ? "" : "#" + found.ref) }
    if !repository.subdirectory.isEmpty { key += ":" + repository.subdirectory }
    if repository.skipsSubmodules { key += "(skip-submodules)" }
    if repository.usesCommitTime { key += "(mtime=commit)" }
    return CacheMapAnswer(CacheMap(digest: CacheDigest(OpCacheKey.source(key))))
  }

  private func resolved(_ context: OpContext) async throws -> GitRepository.Resolved { try await services.sessions(of: context).ask { try await resolved(for: $0) } }

  /// What the ref stands for, on behalf of one build.
  func resolved(for session: SolveSession) async throws -> GitRepository.Resolved {
    let repository = try await authorized(for: session)
    return try await session.downloads.value(for: "git\0\(repository.remote)\0\(repository.ref)\0\(repository.checksum)") { try await repository.resolve() }
  }

  /// With what the client lends for the server, if it lends anything: by the server's own name first.
  private func authorized(for session: SolveSession) async throws -> GitRepository {
    var repository = repository
    let agents = session.client.agents, secrets = session.client.secrets
    if agent != nil || repository.isSSH {
      repository.ssh = try await SSHAccess.open(id: agent.map { $0.isEmpty ? SSHAccess.defaultID : $0 }, hosts: knownHosts, agents: agents)
    }
    for suffix in ["." + repository.host, ""] {
      if let name = repository.headerSecret, let header = try await secrets.secret(id: name + suffix) {
        repository.authorization = String(decoding: header, as: UTF8.self)
        return repository
      }
      if let name = repository.tokenSecret, let token = try await secrets.secret(id: name + suffix) {
        repository.authorization = "basic " + Base64.encoded(Array("x-access-token:".utf8) + token)
        return repository
      }
    }
    return repository
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    try await services.collector.beforeStep()
    let repository = try await services.sessions(of: context).ask { try await authorized(for: $0) }, found = try await resolved(context)
    let bare = try await services.refs.newMutable(parent: nil, description: "git repository \(repository.shown)", recordType: .internal)
    do {
      let tree = try await services.refs.newMutable(parent: nil, description: "git checkout of \(repository.shown)#\(repository.ref)", recordType: .gitCheckout)
      do {
        try await repository.checkOut(found, keepingGitDirectory: keepsGitDirectory, repository: try await Self.path(bare), into: try await Self.path(tree))
        await bare.discard()
        return [TreeResult(.snapshot(try await tree.commit()))]
      } catch {
        await tree.discard()
        throw error
      }
    } catch {
      await bare.discard()
      throw error
    }
  }

  /// What a ref turned out to be, known when the cache key is.
  final class CommitPin: Sendable {
    private let known = Mutex<String?>(nil)
    /// Of a commit, or of an annotated tag.
    var hash: String? {
      get { known.withLock { $0 } }
      set { known.withLock { $0 = newValue } }
    }
  }

  private static func path(_ layer: MutableRef) async throws -> String {
    guard case .bind(let path, _) = try await layer.mountPlan() else { throw InvalidDefinition("a checkout is written to a directory of its own") }
    return path
  }
}
