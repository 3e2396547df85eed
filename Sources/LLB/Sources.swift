internal import BuildKitProto
public import OCIModel

struct SourceOperation: Sendable {
  var identifier: String
  var attributes: [String: String]

  var isPlatformSpecific: Bool { identifier.hasPrefix("docker-image://") || identifier.hasPrefix("oci-layout://") }
  var isLocal: Bool { identifier.hasPrefix("local://") }
}

/// Attribute keys of source ops.
public enum SourceAttribute {
  public static let localSessionID = "local.session"
  public static let localUniqueID = "local.unique"
  public static let includePatterns = "local.includepattern"
  public static let followPaths = "local.followpaths"
  public static let excludePatterns = "local.excludepatterns"
  public static let sharedKeyHint = "local.sharedkeyhint"
  public static let localDiffer = "local.differ"
  public static let httpChecksum = "http.checksum"
  public static let httpFilename = "http.filename"
  public static let httpPermissions = "http.perm"
  public static let httpUID = "http.uid"
  public static let httpGID = "http.gid"
  public static let httpAuthHeaderSecret = "http.authheadersecret"
  public static let httpHeaderPrefix = "http.header."
  public static let gitKeepDirectory = "git.keepgitdir"
  public static let gitFullURL = "git.fullurl"
  public static let gitAuthHeader = "git.authheadersecret"
  public static let gitAuthToken = "git.authtokensecret"
  public static let gitKnownHosts = "git.knownsshhosts"
  public static let gitSSHSocket = "git.mountsshsock"
  public static let gitChecksum = "git.checksum"
  public static let gitSkipSubmodules = "git.skipsubmodules"
  public static let gitModificationTime = "git.mtime"
  public static let gitFetchByCommit = "git.fetchbycommit"
  public static let imageResolveMode = "image.resolvemode"
  public static let imageRecordType = "image.recordtype"
  public static let imageLayerLimit = "image.layerlimit"
  public static let imageChecksum = "image.checksum"
  public static let ociLayoutSessionID = "oci.session"
  public static let ociLayoutStoreID = "oci.store"
  public static let ociLayoutLayerLimit = "oci.layerlimit"
}

/// Where an image's name is looked up.
public enum ResolveMode: String, Sendable {
  /// The engine decides; the attribute is left out.
  case `default`
  /// Always the registry.
  case pull
  /// A local image first.
  case local
}

/// How the client's files are compared with those of an earlier transfer.
public enum LocalDiffer: String, Sendable {
  /// Not at all: everything is sent again.
  case none
  case metadata
}

/// Which part of a client's folder is wanted.
public struct LocalOptions: Sendable {
  /// The client session that has the folder; nil takes any session of the build.
  public var sessionID: String?
  public var includePatterns: [String] = []
  public var excludePatterns: [String] = []
  /// Paths to take with what their symlinks point to; empty takes all.
  public var followPaths: [String] = []
  /// Sources of one hint are expected to be the same files over time, and reuse one another's transfer.
  public var sharedKeyHint: String?
  public var differ: LocalDiffer?
  public init(sessionID: String? = nil, sharedKeyHint: String? = nil) { (self.sessionID, self.sharedKeyHint) = (sessionID, sharedKeyHint) }
}

/// How a download is kept.
public struct HTTPOptions: Sendable {
  public var checksum: Digest?
  /// The name of the file at the root of the result.
  public var filename: String?
  /// Permission bits; 0 leaves the default, 0600.
  public var permissions = 0
  public var uid = 0, gid = 0
  /// The name of a secret whose value is the Authorization header.
  public var authHeaderSecret: String?
  public var accept: String?, userAgent: String?
  public init(checksum: Digest? = nil, filename: String? = nil) { (self.checksum, self.filename) = (checksum, filename) }
}

extension Graph {
  /// An image of a registry. `reference` is used as given: pin it with a digest to make the vertex mean one image for good.
  public func image(
    _ reference: Reference, resolveMode: ResolveMode = .default, checksum: Digest? = nil, layerLimit: Int? = nil, internal: Bool = false,
    options: VertexOptions = VertexOptions()
  ) -> State {
    var options = options
    options.capabilities.insert(.sourceImage)
    var attributes: [String: String] = [:]
    if resolveMode != .default { attributes[SourceAttribute.imageResolveMode] = resolveMode.rawValue }
    if resolveMode == .pull { options.capabilities.insert(.sourceImageResolveMode) }
    if `internal` { attributes[SourceAttribute.imageRecordType] = "internal" }
    if let layerLimit {
      attributes[SourceAttribute.imageLayerLimit] = String(layerLimit)
      options.capabilities.insert(.sourceImageLayerLimit)
    }
    if let checksum {
      attributes[SourceAttribute.imageChecksum] = checksum.description
      options.capabilities.insert(.sourceImageChecksum)
    }
    return source("docker-image://\(reference.withDefaultTag)", attributes, options)
  }

  /// A folder of the client, by the name under which the client offers it.
  public func local(_ name: String, _ local: LocalOptions = LocalOptions(), options: VertexOptions = VertexOptions()) -> State {
    var options = options
    var attributes: [String: String] = [:]
    func set(_ key: String, _ value: String?, _ capability: Capability?) {
      guard let value, !value.isEmpty else { return }
      attributes[key] = value
      if let capability { options.capabilities.insert(capability) }
    }
    func list(_ patterns: [String]) -> String? { patterns.isEmpty ? nil : JSONValue.array(patterns.map { .string($0) }).encodedString() }
    set(SourceAttribute.localSessionID, local.sessionID, .sourceLocalSessionID)
    set(SourceAttribute.includePatterns, list(local.includePatterns), .sourceLocalIncludePatterns)
    set(SourceAttribute.followPaths, list(local.followPaths), .sourceLocalFollowPaths)
    set(SourceAttribute.excludePatterns, list(local.excludePatterns), .sourceLocalExcludePatterns)
    set(SourceAttribute.sharedKeyHint, local.sharedKeyHint, .sourceLocalSharedKeyHint)
    set(SourceAttribute.localDiffer, local.differ?.rawValue, nil)
    options.capabilities.insert(.sourceLocal)
    return source("local://" + name, attributes, options)
  }

  /// A file downloaded from an `http://` or `https://` URL.
  public func http(_ url: String, _ http: HTTPOptions = HTTPOptions(), options: VertexOptions = VertexOptions()) -> State {
    var options = options
    var attributes: [String: String] = [:]
    func set(_ key: String, _ value: String?, _ capability: Capability?) {
      guard let value, !value.isEmpty else { return }
      attributes[key] = value
      if let capability { options.capabilities.insert(capability) }
    }
    set(SourceAttribute.httpChecksum, http.checksum?.description, .sourceHTTPChecksum)
    set(SourceAttribute.httpFilename, http.filename, nil)
    set(SourceAttribute.httpPermissions, http.permissions == 0 ? nil : "0" + String(http.permissions, radix: 8), .sourceHTTPPermissions)
    set(SourceAttribute.httpUID, http.uid == 0 ? nil : String(http.uid), .sourceHTTPOwner)
    set(SourceAttribute.httpGID, http.gid == 0 ? nil : String(http.gid), .sourceHTTPOwner)
    set(SourceAttribute.httpAuthHeaderSecret, http.authHeaderSecret, .sourceHTTPAuth)
    set(SourceAttribute.httpHeaderPrefix + "accept", http.accept, .sourceHTTPHeader)
    set(SourceAttribute.httpHeaderPrefix + "user-agent", http.userAgent, .sourceHTTPHeader)
    options.capabilities.insert(.sourceHTTP)
    return source(url, attributes, options)
  }

  /// An image of an OCI layout that a client session offers as `storeID`.
  public func ociLayout(_ reference: String, sessionID: String? = nil, storeID: String? = nil, layerLimit: Int? = nil, options: VertexOptions = VertexOptions()) -> State {
    var options = options
    var attributes: [String: String] = [:]
    attributes[SourceAttribute.ociLayoutSessionID] = sessionID
    attributes[SourceAttribute.ociLayoutStoreID] = storeID
    attributes[SourceAttribute.ociLayoutLayerLimit] = layerLimit.map { String($0) }
    options.capabilities.insert(.sourceOCILayout)
    return source("oci-layout://" + reference, attributes, options)
  }

  func source(_ identifier: String, _ attributes: [String: String], _ options: VertexOptions) -> State {
    var options = options
    let operation = SourceOperation(identifier: identifier, attributes: attributes)
    if operation.isLocal, attributes[SourceAttribute.localSessionID] == nil { options.capabilities.insert(.sourceLocalUnique) }
    let id = add(Vertex(operation: .source(operation), options: options))
    return State(graph: self, output: Output(node: .vertex(id), index: 0), platform: options.platform)
  }
}
