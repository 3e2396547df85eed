package import BuildKitProto
package import BuildProgress
package import OCIModel

/// What is asked of an engine about a build, instead of building (`SolveRequest.inquiry`). The frontend works as for a build; no step runs.
package enum Inquiry: Sendable, Hashable {
  /// What would be done (`SolveResponse.forecast`).
  case forecast
  /// The graphs alone (`SolveResponse.definitions`).
  case definitions
}

/// What a build would do, from the graph that it would execute.
package struct BuildForecast: Sendable {
  /// A platform that is built.
  package struct Target: Sendable {
    /// As in progress and metadata.
    package var id: String
    package var platform: Platform
    /// The source file that it is built from.
    package var file: String
    /// The stages of that file, in its order.
    package var stages: [SourceStage]
    /// The steps that it needs, inputs before their users.
    package var steps: [Digest]
    package init(id: String, platform: Platform, file: String, stages: [SourceStage], steps: [Digest]) {
      (self.id, self.platform, self.file, self.stages, self.steps) = (id, platform, file, stages, steps)
    }
  }

  /// A vertex of the graph.
  package struct Step: Sendable {
    package enum Kind: String, Sendable {
      case image, context, git, http, source
      case run, file, merge, diff
    }
    /// Whether its result is there already, as far as that can be told without running or fetching anything.
    package enum Cache: String, Sendable {
      case hit, miss
      /// Depends on what another step will make, or on what a server says.
      case unknown
    }
    package var digest: Digest
    /// As in progress: `[linux/arm64 build 2/5] RUN make`.
    package var name: String
    package var kind: Kind
    package var platform: Platform
    /// How its process runs; nil where it has none.
    package var support: PlatformSupport.Kind?
    package var cache: Cache
    package var inputs: [Digest]
    /// The lines it comes from, of `file`.
    package var file: String
    package var lines: ClosedRange<Int>?
    /// These lines, as one.
    package var text: String

    package init(
      digest: Digest, name: String, kind: Kind, platform: Platform, support: PlatformSupport.Kind? = nil, cache: Cache = .unknown, inputs: [Digest] = [],
      file: String = "", lines: ClosedRange<Int>? = nil, text: String = ""
    ) {
      (self.digest, self.name, self.kind, self.platform, self.support, self.cache) = (digest, name, kind, platform, support, cache)
      (self.inputs, self.file, self.lines, self.text) = (inputs, file, lines, text)
    }
  }

  /// A base image, found.
  package struct Image: Sendable, Hashable {
    package var name: String
    package var platform: Platform
    /// Of what the name points at.
    package var digest: Digest
    package var isLocal: Bool
    package var layers: Int
    /// Bytes that are not in the store: of them is fetched what a step reads.
    package var missing: Int64
    package init(name: String, platform: Platform, digest: Digest, isLocal: Bool, layers: Int, missing: Int64) {
      (self.name, self.platform, self.digest, self.isLocal, self.layers, self.missing) = (name, platform, digest, isLocal, layers, missing)
    }
  }

  /// What is read from elsewhere: a directory of the client, a repository, a file from the web.
  package struct Source: Sendable, Hashable {
    package var kind: Step.Kind
    /// The directory's name among the client's, else the address.
    package var name: String
    /// The paths that are read of a directory; empty for all.
    package var paths: [String]
    /// Patterns of what is left out.
    package var excludes: [String]
    /// The platforms that read it.
    package var targets: [String]
    package init(kind: Step.Kind, name: String, paths: [String], excludes: [String], targets: [String]) {
      (self.kind, self.name, self.paths, self.excludes, self.targets) = (kind, name, paths, excludes, targets)
    }
  }

  package var targets: [Target] = []
  /// Each once, inputs before their users.
  package var steps: [Step] = []
  package var images: [Image] = []
  package var sources: [Source] = []
  /// What the frontend warned of.
  package var warnings: [VertexWarning] = []
  /// Where native steps run.
  package var buildPlatform: Platform
  package var isMultiPlatform = false
  package init(buildPlatform: Platform) { self.buildPlatform = buildPlatform }
}

/// A stage of a source file, and whether a target needs it.
package struct SourceStage: Sendable, Hashable {
  /// As in progress; empty for the only stage of a file.
  package var name: String
  package var isNeeded: Bool
  /// Steps that it would have of its own.
  package var steps: Int
  package init(name: String, isNeeded: Bool, steps: Int) { (self.name, self.isNeeded, self.steps) = (name, isNeeded, steps) }
}

/// The graph of one platform, for whoever asked.
package struct TargetDefinition: Sendable {
  package var id: String
  /// Without ops for the empty filesystem.
  package var definition: Pb_Definition
  package init(id: String, definition: Pb_Definition) { (self.id, self.definition) = (id, definition) }
}
