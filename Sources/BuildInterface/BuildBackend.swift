package import BuildProgress
package import OCIModel

/// A place that runs builds: the engine in this process, or a BuildKit builder reached over gRPC.
package protocol BuildBackend: Sendable {
  /// Runs the build to its end. Progress goes to `progress` until this returns. Cancelling the task stops all its steps.
  /// Throws `BuildError`.
  func solve(_ request: SolveRequest, client: any ClientServices, progress: any ProgressSink) async throws -> SolveResponse
}

/// What only the engine on this machine can do.
package protocol LocalEngine: Sendable {
  /// Which platforms run here, and how.
  func platformSupport(for platforms: [Platform]) async -> [PlatformSupport]
  /// The images of the local store, newest first.
  func images() async throws -> [LocalImage]
  /// Runs a command in an image; returns its exit status.
  func run(_ request: RunRequest) async throws -> Int32
  /// Takes a name away from an image of the local store; false when nothing has it.
  func removeImage(_ reference: Reference) async throws -> Bool
  /// What takes room in the store. The sizes add up to what is on the disk.
  func diskUsage() async throws -> [UsageRecord]
  /// Removes cache; answers, and tells `removed` on the way, what is gone.
  @discardableResult
  func prune(_ request: PruneRequest, removed: @escaping @Sendable (UsageRecord) -> Void) async throws -> [UsageRecord]
  /// Reads the whole store again. With `repair`, what is broken goes, so that the next build makes it anew.
  func verifyStore(repair: Bool) async throws -> StoreReport
}

/// A look into a step that failed, for a build that was asked to keep it (`SolveRequest.keepsFailedStep`).
package protocol FailedStepShell: Sendable {
  /// Opens the step's shell in its filesystem as the step left it, with its environment, user, mounts and platform, on this process's standard streams;
  /// with `terminal` they are one. Answers the shell's exit status; nil when no step of that build was kept. What was kept goes with the call.
  func openShell(inFailedStepOf ref: String, terminal: Bool) async throws -> Int32?
}

/// How steps of a platform run here; shown before the first step of a build.
package struct PlatformSupport: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    case native
    /// By the program named, as `QEMU 7.2.22`.
    case emulated(by: String)
    /// With the reason and the mend.
    case impossible(reason: String)
  }
  package var platform: Platform
  package var kind: Kind
  package init(platform: Platform, kind: Kind) {
    self.platform = platform
    self.kind = kind
  }
}

/// An image of the local store: a name and the index or manifest behind it.
package struct LocalImage: Sendable, Hashable {
  package var reference: Reference
  package var digest: Digest
  package var platforms: [Platform]
  package var created: Timestamp
  /// Compressed bytes of all blobs, each once.
  package var size: Int64
  package init(reference: Reference, digest: Digest, platforms: [Platform], created: Timestamp, size: Int64) {
    self.reference = reference
    self.digest = digest
    self.platforms = platforms
    self.created = created
    self.size = size
  }
}

/// `manifold run`.
package struct RunRequest: Sendable {
  package struct Volume: Sendable, Hashable {
    package var source: String, destination: String, readOnly: Bool
    package init(source: String, destination: String, readOnly: Bool) {
      self.source = source
      self.destination = destination
      self.readOnly = readOnly
    }
  }
  package var image: Reference
  /// nil takes the host's, or the only one the image has.
  package var platform: Platform?
  package var arguments: [String]
  package var environment: [String]
  package var volumes: [Volume]
  package var workingDirectory: String?
  package var user: String?
  package var entrypoint: [String]?
  package var interactive: Bool
  package var tty: Bool
  package var network: String?
  package init(
    image: Reference, platform: Platform? = nil, arguments: [String] = [], environment: [String] = [], volumes: [Volume] = [], workingDirectory: String? = nil,
    user: String? = nil, entrypoint: [String]? = nil, interactive: Bool = false, tty: Bool = false, network: String? = nil
  ) {
    self.image = image
    self.platform = platform
    self.arguments = arguments
    self.environment = environment
    self.volumes = volumes
    self.workingDirectory = workingDirectory
    self.user = user
    self.entrypoint = entrypoint
    self.interactive = interactive
    self.tty = tty
    self.network = network
  }
}
