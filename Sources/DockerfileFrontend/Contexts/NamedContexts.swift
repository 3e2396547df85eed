internal import BuildInterface
internal import LLB
internal import OCIModel
internal import PathPatterns

/// The build contexts that were given names (`--build-context`): what stands in for a stage or an image of that name, for every platform or for one.
struct NamedContexts: Sendable {
  static let attributePrefix = "context:"
  private static let metadataPrefix = "input-metadata:"

  let options: FrontendOptions
  let environment: FrontendEnvironment
  let gateway: any FrontendGateway
  let lookups: SourceLookups

  /// One that was found by its name.
  struct Found: Sendable {
    /// As it was given: `docker-image://…`, `local:NAME`, an address.
    var input: String
    /// Familiar, without the tag `latest`.
    var name: String
    /// How it is shown: with the platform, where it was given for one.
    var key: String
    var platform: Platform?
  }

  /// Names that are taken.
  private static let ownNames: Set<String> = ["scratch", "context"]

  /// - Parameter platform: nil stands for this machine's; it is asked for by no name.
  func find(_ name: String, platform: Platform?) -> Found? {
    guard !options.contexts.isEmpty, !NamedContexts.ownNames.contains(name.lowercased()) else { return nil }
    // What cannot name a context has none.
    guard let name = NamedContexts.normalized(name) else { return nil }
    let ofPlatform = name + "::" + (platform ?? environment.buildPlatform).normalized.fullDescription
    for key in [ofPlatform, name] {
      if let input = options.contexts[key] { return Found(input: input, name: name, key: key, platform: platform) }
    }
    return nil
  }

  static func normalized(_ name: String) -> String? {
    guard let familiar = try? Reference(parsing: name).familiar else { return nil }
    return familiar.hasSuffix(":latest") ? String(familiar.dropLast(":latest".count)) : familiar
  }

  /// What a context turned out to be.
  struct Loaded: Sendable {
    /// Puts it into a graph; nil for a client's directory, of which only what is read is taken.
    var state: (@Sendable (Graph) throws -> State)?
    var directory: Directory?
    /// Of an image.
    var config: ImageConfig?

    init(config: ImageConfig? = nil, _ state: @escaping @Sendable (Graph) throws -> State) { (self.state, self.config) = (state, config) }
    init(directory: Directory) { self.directory = directory }
  }

  /// A directory of the client.
  struct Directory: Sendable {
    var name: String
    var sessionID: String
    var key: String
    var sharedKey: String
    var excludes: [String]

    func state(in graph: Graph, followPaths: [String]) -> State {
      var local = LocalOptions(sessionID: sessionID, sharedKeyHint: "context:\(key)-\(sharedKey)")
      (local.excludePatterns, local.followPaths) = (excludes, followPaths)
      return graph.local(name, local, options: VertexOptions(name: "[context \(key)] load from client"))
    }
  }

  func load(_ found: Found) async throws -> Loaded {
    let input = found.input
    if let address = try RemoteAddress(input, what: "the context \(found.key)") {
      switch address {
      case .git(let repository): return Loaded { $0.git(repository, options: VertexOptions(name: "[internal] load git source \(input)")) }
      case .http(let url):
        return Loaded { [key = found.key] in $0.http(url, HTTPOptions(filename: "context"), options: VertexOptions(name: "[context \(key)] \(url)")) }
      }
    }
    guard let colon = input.firstIndex(of: ":") else { throw invalid(found, "it has no kind") }
    let kind = input[..<colon], rest = String(input[input.index(after: colon)...])
    let place = rest.hasPrefix("//") ? String(rest.dropFirst(2)) : rest
    switch kind {
    case "docker-image": return try await image(place, found)
    case "oci-layout": return try await layout(place, found)
    case "local": return try await directory(rest, found)
    case "input": return try definition(rest, found)
    case "target": throw invalid(found, "a target is another build of a bake file", suggestion: "build it first, and name what it gave: a directory, an OCI layout or an image")
    default: throw invalid(found, "\(kind) is no kind of context")
    }
  }

  private func invalid(_ found: Found, _ why: String, suggestion: String? = nil, cause: (any Error)? = nil) -> BuildError {
    BuildError(
      .invalidArgument, .usage, "the build context \(found.key)=\(found.input.prefix(200)): \(why)",
      suggestion: suggestion ?? "a context is a directory, a git repository or file by its address, docker-image://NAME or oci-layout://DIRECTORY[:TAG]", cause: cause)
  }

  // MARK: Kinds

  private func image(_ text: String, _ found: Found) async throws -> Loaded {
    if text == Converter.scratchName { return Loaded { $0.scratch } }
    let reference: Reference
    do { reference = try Reference(parsing: text).withDefaultTag } catch { throw invalid(found, "\(error)", cause: error) }
    let platform = found.platform
    var lookup = ImageResolveOptions(platform: platform ?? environment.buildPlatform, mode: options.resolveMode, logName: "[context \(found.key)] load metadata for \(text)")
    lookup.isPlatformImplied = platform == nil
    let image = try await lookups.image(reference, lookup)
    var config = try ImageConfig(parsing: image.config).knownMembersOnly
    config.created = nil
    return Loaded(config: config) { [name = "[context \(found.key)] \(text)"] in
      $0.image(image.reference, options: VertexOptions(name: name, platform: platform))
    }
  }

  /// `STORE[:tag]@digest`, as the client offers a layout.
  private func layout(_ text: String, _ found: Found) async throws -> Loaded {
    guard let at = text.lastIndex(of: "@"), let digest = Digest(String(text[text.index(after: at)...])) else { throw invalid(found, "it has no digest") }
    let named = text[..<at]
    let store = String(named.prefix { $0 != ":" })
    let reference: Reference
    do { reference = try Reference(parsing: found.name).with(digest: digest) } catch { throw invalid(found, "\(error)", cause: error) }
    var lookup = ImageResolveOptions(platform: found.platform ?? environment.buildPlatform, logName: "[context \(found.key)] load metadata for \(reference)")
    (lookup.layout, lookup.isPlatformImplied) = (store, found.platform == nil)
    let image = try await lookups.image(reference, lookup)
    let config = try ImageConfig(parsing: image.config).knownMembersOnly
    return Loaded(config: config) { [session = environment.sessionID, platform = found.platform, name = "[context \(found.key)] OCI load from client"] in
      $0.ociLayout(reference.description, sessionID: session, storeID: store, options: VertexOptions(name: name, platform: platform))
    }
  }

  private func directory(_ name: String, _ found: Found) async throws -> Loaded {
    let session = options.localSessions[name] ?? options.sessionID
    var local = LocalOptions(sessionID: session, sharedKeyHint: "context:\(found.key)-\(BuildContext.ignoreFilename)")
    local.followPaths = [BuildContext.ignoreFilename]
    local.differ = LocalDiffer.none
    let definition = try Graph().local(name, local, options: VertexOptions(name: "[context \(found.key)] load \(BuildContext.ignoreFilename)")).marshal()
    let reference = try await gateway.solve(definition.proto)
    try await reference.evaluate()
    let excludes = try await ignored(in: reference, of: found)
    return Loaded(
      directory: Directory(
        name: name, sessionID: session, key: found.key, sharedKey: environment.attributes["sharedkey:localdir:" + found.key] ?? "", excludes: excludes))
  }

  private func ignored(in reference: any FrontendReference, of found: Found) async throws -> [String] {
    let bytes: [UInt8]
    do { bytes = try await reference.readFile(BuildContext.ignoreFilename, limit: 16 << 20) } catch let error as BuildError where error.code == .notFound { return [] }
    do {
      let excludes = try IgnoreFile.patterns(in: String(decoding: bytes, as: UTF8.self))
      _ = try PatternList(excludes)
      return excludes
    } catch {
      throw BuildError(.invalidArgument, .usage, "the build context \(found.key): failed parsing its \(BuildContext.ignoreFilename): \(error)", cause: error)
    }
  }

  /// What another build has made, as its steps.
  private func definition(_ name: String, _ found: Found) throws -> Loaded {
    guard let proto = environment.inputs[name] else { throw invalid(found, "the build has no input of this name") }
    var config: ImageConfig?
    if let text = environment.attributes[NamedContexts.metadataPrefix + name] {
      // A map of bytes, which JSON has in base64.
      do {
        if let encoded = try JSONValue(parsing: Array(text.utf8))["containerimage.config"]?.stringValue {
          guard let bytes = Base64Text.decoded(encoded) else { throw invalid(found, "its metadata is not base64") }
          config = try ImageConfig(parsing: bytes).knownMembersOnly
        }
      } catch let error as OCIError { throw invalid(found, "its metadata cannot be read: \(error)", cause: error) }
    }
    return Loaded(config: config) { try $0.state(of: Definition(proto)) }
  }
}

/// What an address of a build context is of.
enum RemoteAddress: Sendable {
  case git(GitAddress)
  /// A tar archive or a Dockerfile.
  case http(String)

  /// nil for what is no address.
  init?(_ text: String, what: String) throws {
    do {
      if let address = try GitAddress(parsing: text, context: true) {
        self = .git(address)
        return
      }
    } catch {
      throw BuildError(
        .invalidArgument, .usage, "\(what): \(error)", suggestion: "a repository is named as in https://host/repo.git#ref:folder or https://host/repo.git?branch=main&subdir=folder", cause: error)
    }
    guard Converter.isURL(text) else { return nil }
    self = .http(text)
  }
}

extension Base64Text {
  /// RFC 4648 with padding, as Go's JSON has bytes; nil for anything else.
  static func decoded(_ text: String) -> [UInt8]? {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var values = [UInt8](repeating: 0xff, count: 256)
    for (i, digit) in digits.enumerated() { values[Int(digit)] = UInt8(i) }
    var out: [UInt8] = [], bits: UInt32 = 0, count = 0
    let bytes = Array(text.utf8)
    guard bytes.count % 4 == 0 else { return nil }
    let end = bytes.firstIndex(of: UInt8(ascii: "=")) ?? bytes.count
    guard bytes.count - end <= 2, bytes[end...].allSatisfy({ $0 == UInt8(ascii: "=") }) else { return nil }
    for byte in bytes[..<end] {
      let value = values[Int(byte)]
      guard value < 64 else { return nil }
      (bits, count) = (bits << 6 | UInt32(value), count + 6)
      if count >= 8 {
        count -= 8
        out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return out
  }
}
