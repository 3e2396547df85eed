internal import BuildInterface
internal import BuildKitProto
internal import BuildOutputs
internal import BuildProgress
internal import BuildSolver
internal import OCIModel
internal import Synchronization

/// Provenance of one build: what its targets were made from, gathered when they are made.
struct Provenance: Sendable {
  /// One a target, in their order.
  private let records: [ProvenanceRecord]
  private let ids: [String]
  private let isMultiPlatform: Bool
  private let session: SolveSession
  private let finished = FinishTime()

  /// When the first that asks is told so, the build is done; all are told the same.
  private final class FinishTime: Sendable {
    private let time = Mutex<Timestamp?>(nil)
    var value: Timestamp {
      time.withLock { time in
        let value = time ?? wallClock()
        time = value
        return value
      }
    }
  }

  /// nil when none is wanted. The result's references must have been built, and the job be alive.
  init?(
    _ result: FrontendResult, _ request: SolveRequest, build: RunningBuild, job: Job, session: SolveSession, builderPlatform: Platform, started: Timestamp
  ) throws {
    guard let options = try ProvenanceOptions.of(request.frontendAttributes) else { return nil }
    let edges = result.targets.map { ($0.reference as? EngineReference)?.edge }
    // What the frontend read to make the result, and the result does not stand on: the Dockerfile.
    var common = ProvenanceCapture([])
    let own = result.targets.compactMap { $0.reference as? EngineReference }
    for reference in build.references where !own.contains(where: { $0 === reference }) {
      if let edge = reference.edge { common.merge(ProvenanceCapture(job.ops(below: edge))) }
    }
    let platforms = result.targets.map(\.platform)
    var records: [ProvenanceRecord] = []
    for (target, edge) in zip(result.targets, edges) {
      var capture = ProvenanceCapture(edge.map { job.ops(below: $0) } ?? [])
      capture.merge(common)
      let images = build.images
      for image in result.isMultiPlatform ? ProvenanceCapture.images(images, of: target.platform, among: platforms) : images { capture.add(image) }
      capture.finish()
      let record = ProvenanceRecord(
        options: options, capture: capture, frontend: request.frontend, attributes: try PlatformAttributes.of(target.platform, in: request.frontendAttributes),
        definition: (target.reference as? EngineReference)?.definition, builderPlatform: builderPlatform, invocationID: request.ref, started: started)
      try record.check()
      records.append(record)
    }
    self.records = records
    ids = result.targets.map(\.id)
    isMultiPlatform = result.isMultiPlatform
    self.session = session
  }

  /// For the target at a place.
  func attestation(_ i: Int) -> Attestation {
    let record = records[i], finished = finished, images = session.images
    let layers = ProvenanceLayers(builderPlatform: record.builderPlatform) { try await images.resolve($0, platform: $1, mode: $2).manifest.layers }
    return Attestation(predicateType: record.predicateType, filename: record.options.filename, inlineOnly: record.options.inlineOnly) { own in
      try await record.predicate(finished: finished.value) { try await layers.of($0, result: own) }
    }
  }

  /// All of what is asked for, as the build's history keeps it: in SLSA 1, with the layers of the images that were made.
  func record(in draft: RecordDraft) async throws {
    for (i, id) in ids.enumerated() {
      draft.add(provenance: try await attestation(i).predicate(draft.layers(of: id)), type: records[i].predicateType, target: isMultiPlatform ? id : nil)
    }
  }

  /// For whoever asked for the build: in SLSA 0.2, by platform; by "" for a build without platforms.
  func summaries() async throws -> [String: [UInt8]] {
    var out: [String: [UInt8]] = [:]
    for (id, record) in zip(ids, records) {
      let predicate = try await record.predicate(finished: finished.value, version: .v02) { _ in [:] }
      out[isMultiPlatform ? id : ""] = predicate.encoded()
    }
    return out
  }
}

/// The layers that steps made or brought.
struct ProvenanceLayers: Sendable {
  let builderPlatform: Platform
  /// Those of an image that was a source.
  let layersOfImage: @Sendable (Reference, Platform, ImageResolveMode) async throws -> [Descriptor]

  /// By the steps' outputs (`step3:0`).
  /// - Parameter result: all layers of the image; nil where none is made.
  func of(_ steps: BuildSteps, result: [Descriptor]?) async throws -> [String: [Descriptor]] {
    var out: [String: [Descriptor]] = [:]
    var bases: [Digest: Int] = [:]
    for (digest, source, platform) in steps.images {
      guard let name = steps.name(digest), let reference = try? Reference(parsing: String(source.identifier.dropFirst("docker-image://".count))) else { continue }
      let wanted =
        platform.os.isEmpty
        ? builderPlatform : Platform(os: platform.os, architecture: platform.architecture, variant: platform.variant, osVersion: platform.osversion)
      let mode = source.attrs["image.resolvemode"].flatMap { ImageResolveMode(rawValue: $0) } ?? .default
      let layers = try await layersOfImage(reference, wanted.normalized, mode)
      bases[digest] = layers.count
      out[name + ":0"] = layers.map { Descriptor(mediaType: $0.mediaType, digest: $0.digest, size: $0.size) }
    }
    guard let result else { return out }
    let chain = steps.layerSteps
    guard let first = chain.first, let last = chain.last else { return out }
    // A chain that starts at an image has its layers; one that starts with nothing has one for its first step.
    let base = bases[first.digest] ?? 1
    if base + chain.count - 1 == result.count {
      for (i, step) in chain.enumerated() { if let name = steps.name(step.digest) { out["\(name):\(step.index)"] = Array(result.prefix(base + i)) } }
    } else if let name = steps.name(last.digest) {
      out["\(name):\(last.index)"] = result
    }
    return out
  }
}
