internal import BuildInterface
internal import BuildKitProto
internal import BuildSolver
internal import OCIModel
internal import Synchronization

/// What a source turned out to be, known when its cache key is.
final class SourcePin: Sendable {
  private let known = Mutex<Digest?>(nil)
  var digest: Digest? {
    get { known.withLock { $0 } }
    set { known.withLock { $0 = newValue } }
  }
}

/// What one result was made from.
struct ProvenanceCapture: Sendable {
  struct Image: Sendable, Hashable {
    var reference: Reference
    var platform: Platform?
    var digest: Digest
    /// From the client's own disk: no registry has it by this name.
    var isLocal = false
  }
  struct Download: Sendable, Hashable {
    var url: String
    var digest: Digest
  }
  struct Repository: Sendable, Hashable {
    /// With the ref behind `#`.
    var url: String
    var commit: String
  }
  /// A secret or an agent that steps may use.
  struct Lent: Sendable, Hashable {
    var id: String
    var isOptional: Bool
  }

  private(set) var images: [Image] = []
  private(set) var downloads: [Download] = []
  private(set) var repositories: [Repository] = []
  /// Names of the client's directories.
  private(set) var locals: Set<String> = []
  private(set) var secrets: [Lent] = []
  private(set) var agents: [Lent] = []
  /// A step could reach the network.
  private(set) var usesNetwork = false

  init(images: [Image] = [], downloads: [Download] = [], locals: Set<String> = [], secrets: [Lent] = [], usesNetwork: Bool = false) {
    (self.images, self.downloads, self.locals, self.secrets, self.usesNetwork) = (images, downloads, locals, secrets, usesNetwork)
  }

  /// Of the ops that an edge's result came from.
  init(_ ops: [(vertex: Vertex, op: any Op)]) {
    for (vertex, op) in ops {
      switch op {
      case let image as ImageSource: if let digest = image.pin.digest { add(Image(reference: image.reference, platform: image.platform, digest: digest, isLocal: image.layout != nil)) }
      case let file as HTTPSource: if let digest = file.pin.digest { add(Download(url: file.url, digest: digest)) }
      case let git as GitSource: if let commit = git.pin.hash { add(git.repository, commit) }
      case let local as LocalSourceOperation: locals.insert(local.name)
      case is ExecOperation:
        guard let payload = vertex.payload as? OpPayload, case .exec(let exec)? = payload.op.op else { continue }
        add(exec)
      default: break
      }
    }
  }

  private mutating func add(_ exec: Pb_ExecOp) {
    for mount in exec.mounts {
      switch mount.mountType {
      case .secret: ProvenanceCapture.add(Lent(id: mount.secretOpt.id, isOptional: mount.secretOpt.optional), to: &secrets)
      case .ssh: ProvenanceCapture.add(Lent(id: mount.sshopt.id.isEmpty ? "default" : mount.sshopt.id, isOptional: mount.sshopt.optional), to: &agents)
      default: break
      }
    }
    for secret in exec.secretenv { ProvenanceCapture.add(Lent(id: secret.id, isOptional: secret.optional), to: &secrets) }
    if exec.network != .none { usesNetwork = true }
  }

  /// Needed once, needed always.
  private static func add(_ lent: Lent, to list: inout [Lent]) {
    guard let i = list.firstIndex(where: { $0.id == lent.id }) else { return list.append(lent) }
    if !lent.isOptional { list[i].isOptional = false }
  }

  mutating func add(_ image: Image) {
    let isKnown = images.contains { known in
      known.reference == image.reference && known.isLocal == image.isLocal && known.platform?.normalized == image.platform?.normalized
    }
    if !isKnown { images.append(image) }
  }

  private mutating func add(_ download: Download) {
    if !downloads.contains(where: { $0.url == download.url }) { downloads.append(download) }
  }

  private mutating func add(_ repository: GitRepository, _ commit: String) {
    add(Repository(url: repository.remote + (repository.ref.isEmpty ? "" : "#" + repository.ref), commit: commit))
    for name in [repository.tokenSecret, repository.headerSecret] { if let name { ProvenanceCapture.add(Lent(id: name, isOptional: true), to: &secrets) } }
  }

  private mutating func add(_ repository: Repository) {
    if !repositories.contains(where: { $0.url == repository.url }) { repositories.append(repository) }
  }

  mutating func merge(_ other: ProvenanceCapture) {
    other.images.forEach { add($0) }
    other.downloads.forEach { add($0) }
    other.repositories.forEach { add($0) }
    locals.formUnion(other.locals)
    for lent in other.secrets { ProvenanceCapture.add(lent, to: &secrets) }
    for lent in other.agents { ProvenanceCapture.add(lent, to: &agents) }
    if other.usesNetwork { usesNetwork = true }
  }

  /// Leaves out images by digest that are there by tag, and puts everything in order.
  mutating func finish() {
    func tagged(_ reference: Reference) -> String { "\(reference.name):\(reference.tag ?? Reference.defaultTag)" }
    let byTag = Set(images.filter { $0.reference.digest == nil }.map { tagged($0.reference) })
    images.removeAll { $0.reference.digest != nil && byTag.contains(tagged($0.reference)) }
    images.sort { $0.reference.description < $1.reference.description }
    downloads.sort { $0.url < $1.url }
    repositories.sort { $0.url < $1.url }
    secrets.sort { $0.id < $1.id }
    agents.sort { $0.id < $1.id }
  }

  /// Of images that were looked up for every platform of a result, those for one of them; all others.
  static func images(_ all: [Image], of platform: Platform, among platforms: [Platform]) -> [Image] {
    let forEach = Set(
      Set(all.map(\.reference)).filter { reference in
        let known = all.filter { $0.reference == reference }.compactMap(\.platform)
        return platforms.allSatisfy { wanted in known.contains { $0.normalized == wanted.normalized } }
      })
    return all.filter { image in
      guard forEach.contains(image.reference), let own = image.platform else { return true }
      return own.os == platform.os && own.architecture == platform.architecture
    }
  }
}
