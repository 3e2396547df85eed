package import BuildKitProto
package import BuildProgress
package import OCIModel

/// A result that a frontend can read before the build ends (BuildKit's gateway reference). Lazy: solved at first use.
package protocol FrontendReference: Sendable {
  /// Solves it now; errors of its steps surface here.
  func evaluate() async throws
  /// The file's bytes, `limit` at most (a longer file throws). Symlinks are resolved inside the reference's root. Throws `BuildError.notFound`.
  func readFile(_ path: String, limit: Int) async throws -> [UInt8]
  /// Whether the path exists (a symlink at the end is not followed).
  func exists(_ path: String) async throws -> Bool
  /// The file's first bytes: `count`, or fewer where there are no more. Throws `BuildError.notFound`.
  func readStart(of path: String, count: Int) async throws -> [UInt8]
  /// The names in a directory, sorted; those of directories end in a slash. Throws `BuildError.notFound`.
  func entries(_ directory: String) async throws -> [String]
  /// The graph that it is the result of; empty for scratch.
  var definition: Pb_Definition { get }
  /// A part of a file, as much of it as there is; `length` nil is all from `offset` on, and more than `limit` bytes throw. Throws `BuildError.notFound`.
  func readFile(_ path: String, offset: Int64, length: Int64?, limit: Int) async throws -> [UInt8]
  /// What is in a directory (not below), sorted, in fsutil's form: those whose names match the pattern, all when it is empty. Throws `BuildError.notFound`.
  func readDirectory(_ path: String, matching pattern: String) async throws -> [Fsutil_Types_Stat]
  /// A file's status in fsutil's form, of what a symlink at the end points at. Throws `BuildError.notFound`.
  func status(of path: String) async throws -> Fsutil_Types_Stat
}

extension FrontendReference {
  package func readStart(of path: String, count: Int) async throws -> [UInt8] { Array(try await readFile(path, limit: 1 << 30).prefix(count)) }
  /// What lies there cannot be listed.
  package func entries(_ directory: String) async throws -> [String] { throw BuildError(.notFound, .build, "\(directory) cannot be listed") }
  package var definition: Pb_Definition { Pb_Definition() }
  package func readFile(_ path: String, offset: Int64, length: Int64?, limit: Int) async throws -> [UInt8] {
    let rest = try await readFile(path, limit: limit).dropFirst(Int(clamping: offset))
    return Array(length.map { rest.prefix(Int(clamping: max(0, $0))) } ?? rest)
  }
  /// What lies there cannot be listed.
  package func readDirectory(_ path: String, matching pattern: String) async throws -> [Fsutil_Types_Stat] { throw BuildError(.notFound, .build, "\(path) cannot be listed") }
  package func status(of path: String) async throws -> Fsutil_Types_Stat { throw BuildError(.notFound, .build, "\(path) cannot be looked at") }
}

/// All that a frontend may ask of the engine: solve, resolve, warn, run.
package protocol FrontendGateway: Sendable {
  /// A build within the build: of a graph, or of another frontend, whose results are this one's to read and to return.
  func solve(_ request: NestedSolve) async throws -> NestedResult
  /// What a source stands for now: of an image its digest and config, of a repository its commit, of a download its checksum. In the wire's messages.
  func resolveSource(
    _ request: Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest
  ) async throws -> Moby_Buildkit_V1_Frontend_ResolveSourceMetaResponse
  /// Prepares a container over results of this build. Whoever asked for it releases it; the build's end does otherwise.
  func newContainer(_ request: ContainerRequest) async throws -> any FrontendContainer
  /// Makes a lazy reference of the definition's result; nothing runs yet.
  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference
  /// The time of what a source gives, before it is fetched where that can be told: of a git commit; of a file of the web as its server says, else of the newest file in
  /// it if it is an archive. nil for what has none. `logName` is the progress line.
  func time(of source: Pb_SourceOp, logName: String) async throws -> Timestamp?
  /// The config of an image. `logName` is the progress line, `[internal] load metadata for …`.
  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage
  /// Shows a warning; `vertex` is the digest of the vertex it is about.
  func warn(_ warning: VertexWarning) async
  /// Runs `body` as a vertex of its own in progress: `[internal] …`. Errors are the vertex's error.
  func progress<T: Sendable>(named name: String, _ body: @Sendable () async throws -> T) async throws -> T
  /// The build's fixed facts.
  var environment: FrontendEnvironment { get }
}

extension FrontendGateway {
  /// Nothing has a time.
  package func time(of source: Pb_SourceOp, logName: String) async throws -> Timestamp? { nil }
  /// Graphs only, one at a time.
  package func solve(_ request: NestedSolve) async throws -> NestedResult {
    guard request.frontend.isEmpty, let definition = request.definition else { throw BuildError(.unimplemented, .usage, "no other frontend can be asked here") }
    let reference = try await solve(definition)
    if request.evaluates { try await reference.evaluate() }
    return NestedResult(reference: reference)
  }
  /// Of a gateway that reaches no source.
  package func resolveSource(
    _ request: Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest
  ) async throws -> Moby_Buildkit_V1_Frontend_ResolveSourceMetaResponse {
    throw BuildError(.unimplemented, .usage, "sources cannot be looked up here")
  }
  /// Of a gateway that runs nothing.
  package func newContainer(_ request: ContainerRequest) async throws -> any FrontendContainer { throw BuildError(.unimplemented, .usage, "no container can be run here") }
}

package struct FrontendEnvironment: Sendable {
  /// Where native steps run: `BUILDPLATFORM`'s default.
  package var buildPlatform: Platform
  /// The frontend's attributes (`SolveRequest.frontendAttributes`).
  package var attributes: [String: String]
  package var inputs: [String: Pb_Definition]
  /// Names the client whose files local sources read: part of their vertices' digests, so that two clients' contexts are never one
  /// vertex. Unique to the build's client; never empty in a build.
  package var sessionID: String
  /// The workers that a frontend is told of: here, the one that there is.
  package var workers: [Moby_Buildkit_V1_Types_WorkerRecord] = []
  /// How many frontends asked for this one.
  package var depth = 0
  package init(buildPlatform: Platform, attributes: [String: String], inputs: [String: Pb_Definition] = [:], sessionID: String) {
    self.buildPlatform = buildPlatform
    self.attributes = attributes
    self.inputs = inputs
    self.sessionID = sessionID
  }
}

/// When to ask the registry although the local store knows the name (BuildKit's image-resolve-mode).
package enum ImageResolveMode: String, Sendable {
  /// The local store first when it has the platform, else the registry.
  case `default` = "default"
  /// `--pull`: always the registry.
  case forcePull = "pull"
  case preferLocal = "local"
}

package struct ImageResolveOptions: Sendable {
  package var platform: Platform
  package var mode: ImageResolveMode
  package var logName: String
  /// Nobody asked for the platform: it is the build's own.
  package var isPlatformImplied = false
  /// The client's OCI layout (`LayoutService`) that is asked instead of a registry; the name is then only a name, and its digest says which image.
  package var layout: String?
  package init(platform: Platform, mode: ImageResolveMode = .default, logName: String = "") {
    self.platform = platform
    self.mode = mode
    self.logName = logName
  }
}

package struct ResolvedImage: Sendable {
  /// The name to build on; what a later step must use (usually the name asked for).
  package var reference: Reference
  /// Digest of what the name points at: the index for a multi-platform image.
  package var digest: Digest
  /// The config document of the asked platform, as received.
  package var config: [UInt8]
  package init(reference: Reference, digest: Digest, config: [UInt8]) {
    self.reference = reference
    self.digest = digest
    self.config = config
  }
}

/// What a frontend returns: one result, or one a platform (BuildKit's exptypes metadata, typed).
package struct FrontendResult: Sendable {
  package struct Target: Sendable {
    /// `linux/arm/v7`: the platform's id in progress, metadata and folders.
    package var id: String
    package var platform: Platform
    /// nil for an empty filesystem (`FROM scratch` and nothing more).
    package var reference: (any FrontendReference)?
    /// `containerimage.config`: JSON without created time and rootfs, which the exporter fills in.
    package var imageConfig: [UInt8]
    /// `containerimage.base.config`, when there is a base image.
    package var baseImageConfig: [UInt8]?
    /// The file it was made from, and that file's stages; for whoever asks what a build would do.
    package var file = ""
    package var stages: [SourceStage] = []
    /// Statements about it that the frontend made (a list of what is in it, …).
    package var attestations: [ResultAttestation] = []
    package init(id: String, platform: Platform, reference: (any FrontendReference)?, imageConfig: [UInt8], baseImageConfig: [UInt8]? = nil) {
      self.id = id
      self.platform = platform
      self.reference = reference
      self.imageConfig = imageConfig
      self.baseImageConfig = baseImageConfig
    }
  }
  /// In the order the platforms were asked for. Empty only for the answer to a question (`requestid`), which is in `metadata`.
  package var targets: [Target]
  /// Whether the result is an index even with one target (`multi-platform` attribute or several platforms).
  package var isMultiPlatform: Bool
  package var metadata: [String: [UInt8]]
  package init(targets: [Target], isMultiPlatform: Bool, metadata: [String: [UInt8]] = [:]) {
    self.targets = targets
    self.isMultiPlatform = isMultiPlatform
    self.metadata = metadata
  }
}

/// Turns a source into LLB through a gateway, and nothing else.
package protocol Frontend: Sendable {
  func build(_ gateway: any FrontendGateway) async throws -> FrontendResult
}
