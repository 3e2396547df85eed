internal import BuildInterface
internal import ContentStore
internal import HostOS
internal import OCIModel

/// One `--build-context NAME=…`: what stands in for a stage or an image of that name. buildx's rules (util/buildflags, build/opt.go).
struct NamedContextSpec: Sendable, Hashable {
  enum Source: Sendable, Hashable {
    /// Of this machine, absolute; and as it was written.
    case directory(String, written: String)
    /// A repository, a file of the web or `docker-image://`: as it was written.
    case address(String)
    /// A layout of this machine, absolute, the tag and the digest of the image in it.
    case layout(String, tag: String?, digest: Digest)
  }
  /// Familiar, without the tag `latest`.
  var name: String
  var source: Source

  /// nil for an empty text, which the peers pass over.
  init?(parsing text: String, facts: CommandFacts) throws {
    if text.isEmpty { return nil }
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 else { throw BuildError.usage("--build-context \(text): expected NAME=VALUE", suggestion: NamedContextSpec.forms) }
    let (written, value) = (parts[0], parts[1])
    // A context of one platform is written name::os/arch.
    let platform = written.firstRange(of: "::").map { String(written[$0.lowerBound...]) } ?? ""
    do {
      let familiar = try Reference(parsing: String(written.dropLast(platform.count))).familiar
      name = (familiar.hasSuffix(":latest") ? String(familiar.dropLast(":latest".count)) : familiar) + (platform.isEmpty ? "" : "::" + (try Platform(parsing: String(platform.dropFirst(2))).normalized.fullDescription))
    } catch {
      throw BuildError.usage("--build-context \(text): \(written) cannot name a context: \(error)", suggestion: "A name is that of a stage, or of an image as FROM has it.")
    }
    source = try NamedContextSpec.source(value, of: text, facts)
  }

  static let forms =
    "A value is a directory, a git repository (https://host/repo.git#ref:directory), the address of a file, docker-image://NAME, or oci-layout://DIRECTORY[:TAG][@DIGEST]."

  private static func source(_ value: String, of text: String, _ facts: CommandFacts) throws -> Source {
    if value.hasPrefix("target:") {
      throw BuildError.usage(
        "--build-context \(text): a target: context is another target of a bake file, and there is none here",
        suggestion: "Build it first, and name what it gave: a directory (-o DIR), an OCI layout (-o type=oci,tar=false,dest=DIR) or an image.")
    }
    if value.hasPrefix("docker-image://") {
      let name = String(value.dropFirst("docker-image://".count))
      if name != "scratch" { do { _ = try Reference(parsing: name) } catch { throw BuildError.usage("--build-context \(text): \(error)") } }
      return .address(value)
    }
    if try ContextInput.isAddress(value) { return .address(value) }
    if value.hasPrefix("oci-layout://") { return try layout(String(value.dropFirst("oci-layout://".count)), of: text, facts) }
    let path = facts.absolute(value)
    guard !value.isEmpty, let status = try? Files.status(path) else {
      throw BuildError.usage("--build-context \(text): there is no directory \(value)", suggestion: forms)
    }
    guard status.kind == .directory else { throw BuildError.usage("--build-context \(text): \(value) is a file; it must be a directory", suggestion: forms) }
    return .directory(path, written: value)
  }

  /// `DIRECTORY[:TAG][@DIGEST]`. The digest is looked up now, so that the build has one image whatever becomes of the tag.
  private static func layout(_ written: String, of text: String, _ facts: CommandFacts) throws -> Source {
    var path = written, digest: Digest?, tag: String?
    if let at = path.lastIndex(of: "@"), let found = Digest(String(path[path.index(after: at)...])) { (path, digest) = (String(path[..<at]), found) }
    if let colon = path.lastIndex(of: ":"), Reference.isTag(path[path.index(after: colon)...]) { (path, tag) = (String(path[..<colon]), String(path[path.index(after: colon)...])) }
    if tag == nil, digest == nil { tag = Reference.defaultTag }
    do {
      let layout = try OCILayout.open(facts.absolute(path))
      if let digest { return .layout(layout.path, tag: tag, digest: digest) }
      // As buildx: the only image there is, where none has the tag.
      let manifests = try layout.index().manifests
      if manifests.count == 1, let only = manifests.first { return .layout(layout.path, tag: tag, digest: only.digest) }
      return .layout(layout.path, tag: tag, digest: try layout.resolve(tag).digest)
    } catch let error as StoreError {
      throw BuildError.usage("--build-context \(text): \(error)", suggestion: "A layout is a directory, as `-o type=oci,tar=false,dest=DIR` and skopeo's oci: make it.")
    }
  }
}

extension PlatformValues {
  /// Contexts for all platforms, and for some: these as `NAME::PLATFORM`, in the frontend's form.
  func specs(_ platforms: [Platform], _ facts: CommandFacts) throws -> [NamedContextSpec] {
    var out = try common.compactMap { try NamedContextSpec(parsing: $0, facts: facts) }
    for platform in platforms {
      for text in of(platform) {
        guard var spec = try NamedContextSpec(parsing: text, facts: facts) else { continue }
        spec.name += "::" + platform.normalized.fullDescription
        out.append(spec)
      }
    }
    return out
  }
}

extension [NamedContextSpec] {
  /// The frontend's attributes for them, and what the client offers for that.
  func offer(_ attributes: inout [String: String], _ client: inout ClientDescription) {
    var capabilities = Set((attributes["frontend.caps"] ?? "").split(separator: ",").map(String.init))
    for spec in self {
      capabilities.insert("moby.buildkit.frontend.contexts+forward")
      let key = "context:" + spec.name
      switch spec.source {
      case .address(let value):
        attributes[key] = value
        if value.contains("?"), !value.hasPrefix("docker-image:") { capabilities.insert("moby.buildkit.frontend.gitquerystring+forward") }
      case .directory(let path, _):
        // These names are the main context's.
        let name = spec.name == "context" || spec.name.hasPrefix("dockerfile") ? "_" + spec.name : spec.name
        client.directories[name] = path
        attributes[key] = "local:" + name
        attributes["sharedkey:localdir:" + spec.name] = path.split(separator: "/").last.map(String.init) ?? "/"
      case .layout(let path, let tag, let digest):
        let id = BuildCommand.newID()
        client.layouts[id] = path
        attributes[key] = "oci-layout://" + id + (tag.map { ":" + $0 } ?? "") + "@\(digest)"
      }
    }
    if !capabilities.isEmpty { attributes["frontend.caps"] = capabilities.sorted().joined(separator: ",") }
  }
}
