package import BuildKitProto

/// One build, as BuildKit's control API asks for it (api/services/control, SolveRequest): a definition or a frontend with
/// attributes, and what becomes of the result.
package struct SolveRequest: Sendable {
  /// Identifies the build in progress and history; any unique text.
  package var ref: String
  /// LLB to solve as it is. Exactly one of this and `frontend` is used; a frontend wins.
  package var definition: Pb_Definition?
  /// `dockerfile.v0` here; empty with a definition.
  package var frontend: String
  /// The frontend's attributes by the peers' names: `filename`, `target`, `platform`, `build-arg:NAME`, `label:NAME`, `no-cache`…
  package var frontendAttributes: [String: String]
  package var frontendInputs: [String: Pb_Definition]
  /// The frontend itself, where it is no named one: a function of the client that builds (buildx always does), reached over its connection. It wins over `frontend`.
  package var ownFrontend: (any Frontend)?
  /// The session of the client that asked; empty when there is none, or it is this process.
  package var sessionID = ""
  package var exports: [ExportRequest]
  package var cacheImports: [CacheOption]
  package var cacheExports: [CacheOption]
  /// `security.insecure`, `network.host`…
  package var entitlements: Set<String>
  /// Which sources the build may read, and what is read in their place; all of them count.
  package var sourcePolicies: [Moby_Buildkit_V1_Sourcepolicy_Policy] = []
  /// Whether the client wants to be asked about each source (`ClientServices.policies`).
  package var asksPolicy = false
  /// The first step that fails stays as it is until `FailedStepShell.openShell`, or until the engine ends. Of this engine alone.
  package var keepsFailedStep = false
  /// Seconds after which a step fails. Of this engine alone.
  package var stepTimeout: Double?
  /// What happens when a layer made here holds programs for another CPU than its image's. Of this engine alone.
  package var architectureCheck = ArchitectureCheckMode.off

  /// Leaves no record in the history (the control API's Internal).
  package var isInternal = false

  /// A question that is answered instead of building. Of this engine alone.
  package var inquiry: Inquiry?

  /// Whether a question is put to the frontend, and nothing is built.
  package var asksFrontend: Bool { frontendAttributes["requestid"] != nil }

  package init(
    ref: String, definition: Pb_Definition? = nil, frontend: String = "", frontendAttributes: [String: String] = [:],
    frontendInputs: [String: Pb_Definition] = [:], exports: [ExportRequest] = [], cacheImports: [CacheOption] = [],
    cacheExports: [CacheOption] = [], entitlements: Set<String> = []
  ) {
    self.ref = ref
    self.definition = definition
    self.frontend = frontend
    self.frontendAttributes = frontendAttributes
    self.frontendInputs = frontendInputs
    self.exports = exports
    self.cacheImports = cacheImports
    self.cacheExports = cacheExports
    self.entitlements = entitlements
  }
}

/// `--arch-check`.
package enum ArchitectureCheckMode: String, Sendable, CaseIterable {
  /// Each is shown, with the line that put it there.
  case warn
  /// The build fails before anything is written, pushed or named.
  case fail
  case off
}

/// One exporter with its attributes, by the peers' names (`image`, `oci`, `local`, `tar`, `docker`; `name`, `push`, `compression`…).
package struct ExportRequest: Sendable, Hashable {
  package var type: String
  package var attributes: [String: String]
  /// Which of the client's export targets receives a tar or directory (`ClientServices.exportTarget`): the position of the
  /// output on the command line, as text.
  package var id: String
  package init(type: String, attributes: [String: String] = [:], id: String = "0") {
    self.type = type
    self.attributes = attributes
    self.id = id
  }
}

/// A cache source or destination.
package struct CacheOption: Sendable, Hashable {
  package var type: String
  package var attributes: [String: String]
  package init(type: String, attributes: [String: String] = [:]) {
    self.type = type
    self.attributes = attributes
  }

  /// The name of a local cache's directory among the client's (`FileService`); `attribute` is its `src` or `dest` as it was written.
  package static func directoryName(_ attribute: String) -> String { "cache:" + attribute }
  /// The name of a local cache's blobs with a client behind a connection (`RemoteDirectory.content`).
  package static func storeName(_ attribute: String) -> String { "local:" + attribute }
}

/// How a build ended well: what `--metadata-file` holds, by the peers' names (`containerimage.digest`, `image.name`…).
package struct SolveResponse: Sendable {
  package var exporterResponse: [String: String]
  /// How each target was made, where that was asked for: SLSA 0.2 predicates in JSON by platform id, or by "" for a build without several platforms.
  package var provenance: [String: [UInt8]]
  /// What a frontend answers that was asked something instead of a build (the attribute `requestid`): `result.json`, `result.txt`, `version`, `result.statuscode`.
  package var answer: [String: [UInt8]] = [:]
  /// The answers to `SolveRequest.inquiry`.
  package var forecast: BuildForecast?
  package var definitions: [TargetDefinition] = []
  package init(exporterResponse: [String: String] = [:], provenance: [String: [UInt8]] = [:]) {
    self.exporterResponse = exporterResponse
    self.provenance = provenance
  }
}
