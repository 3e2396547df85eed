internal import NIOHTTP1
internal import OCIModel
internal import Synchronization

/// A connection's place among the mirrors of a registry (containerd's rules): the mirror's own path comes before the repository's, and `ns` tells which
/// registry is meant, for mirrors of several.
struct MirrorRole: Hashable, Sendable {
  var mirror: RegistryMirror
  /// As in references: `docker.io`.
  var registry: String

  /// What the mirror is asked in place of the registry.
  func rewritten(_ call: RegistryConnection.Call) -> RegistryConnection.Call {
    guard case .path(let path, let query) = call.target, path.hasPrefix("/v2/") else { return call }
    var out = call
    out.target = .path("/v2" + mirror.path + path.dropFirst(3), query: query + [(name: "ns", value: registry)])
    out.scopes = call.scopes.prefixed(by: mirror.path)
    return out
  }
}

extension RegistryScopes {
  /// Of the same repositories below a path, `/project`.
  func prefixed(by path: String) -> RegistryScopes {
    guard !path.isEmpty else { return self }
    return RegistryScopes(challenge: strings.map { word in
      word.hasPrefix("repository:") ? "repository:" + path.dropFirst() + "/" + word.dropFirst("repository:".count) : word
    }.joined(separator: " "))
  }
}

/// Which mirrors a client has given up, and what it has said already.
final class MirrorMemory: Sendable {
  private struct State: Sendable {
    var unreachable: Set<String> = []
    var told: Set<RegistryNotice> = []
  }
  private let state = Mutex(State())
  private let tell: (@Sendable (RegistryNotice) -> Void)?

  init(_ tell: (@Sendable (RegistryNotice) -> Void)?) { self.tell = tell }

  func isUnreachable(_ mirror: RegistryMirror) -> Bool { state.withLock { $0.unreachable.contains(mirror.host) } }

  func note(_ notice: RegistryNotice) {
    guard state.withLock({ $0.told.insert(notice).inserted }) else { return }
    tell?(notice)
  }

  /// A mirror did not do what was asked: whether the next may be asked. What it merely lacks is no news; one that cannot be reached is not asked again.
  func passesOver(_ connection: RegistryConnection, _ error: any Error) -> Bool {
    guard let role = connection.role, let error = error as? RegistryError else { return false }
    switch error.code {
    case .shutDown, .local, .unsupported: return false
    case .notFound: return true
    case .network, .tls: state.withLock { _ = $0.unreachable.insert(role.mirror.host) }
    default: break
    }
    note(.mirrorFailed(mirror: "\(role.mirror)", registry: role.registry, reason: error.reason))
    return true
  }
}

extension RegistryError {
  /// In one line, without advice, which is about the registry itself.
  var reason: String {
    var short = self
    short.advice = ""
    return "\(short)"
  }
}

extension RegistryClient {
  /// Where to read what `domain` has: its mirrors, in their order, then itself. Never empty.
  func readers(of domain: String) -> (mirrors: [RegistryConnection], own: RegistryConnection) {
    let settings = configuration.registries[domain] ?? configuration.registries[RegistryHosts.address(of: domain)]
    let mirrors = (settings?.mirrors ?? []).filter { !mirrorMemory.isUnreachable($0) }
    return (mirrors.map { connection(to: MirrorRole(mirror: $0, registry: domain)) }, connection(domain))
  }

  /// Asks the mirrors of a registry, then the registry. The error is the registry's own; it says that mirrors were asked before.
  func reading<T: Sendable>(_ domain: String, _ body: (RegistryConnection) async throws -> T) async throws -> T {
    let (mirrors, own) = readers(of: domain)
    var asked: [String] = []
    for mirror in mirrors {
      do { return try await body(mirror) } catch {
        guard mirrorMemory.passesOver(mirror, error) else { throw error }
        let code = (error as? RegistryError)?.code
        asked.append("\(mirror.role.map { "\($0.mirror)" } ?? mirror.domain) (\(code == .notFound ? "does not have it" : "failed"))")
      }
    }
    do { return try await body(own) } catch var error as RegistryError where !asked.isEmpty {
      error.advice = ["Asked before: \(asked.count == 1 ? "the mirror" : "the mirrors") \(asked.joined(separator: ", ")).", error.advice].filter { !$0.isEmpty }.joined(separator: "\n")
      throw error
    }
  }
}
