internal import BuildInterface
internal import BuildKitProto
internal import BuildOutputs
internal import BuildProgress
internal import FoundationEssentials
internal import OCIModel
internal import Synchronization
internal import SwiftProtobuf

/// The record of a build that is under way: gathers what is to be kept, and writes it when the build has ended.
final class RecordDraft: Sendable {
  let log = StatusLog()
  private let records: BuildRecords
  private let status: @Sendable (any Error) -> Google_Rpc_Status
  private struct State {
    var record: BuildRecords.Record
    var blobs: [[UInt8]] = []
    var layers: [String: [OCIModel.Descriptor]] = [:]
  }
  private let state: Mutex<State>
  /// By their names; some are secrets.
  private let arguments: [String: String]

  static let provenanceType = "application/vnd.in-toto+json"
  /// So spelt by the peers.
  static let errorType = "application/vnd.googeapis.google.rpc.status+proto"

  /// - Parameter status: the form that a client is told an error in, details and all.
  init(_ request: SolveRequest, in records: BuildRecords, status: @escaping @Sendable (any Error) -> Google_Rpc_Status) {
    self.records = records
    self.status = status
    arguments = RecordDraft.arguments(request.frontendAttributes)
    var record = BuildRecords.Record()
    record.ref = request.ref
    record.frontend = request.frontend
    record.frontendAttrs = RecordDraft.attributes(request.frontendAttributes)
    record.exporters = request.exports.map { export in
      var out = Moby_Buildkit_V1_Exporter()
      (out.type, out.attrs) = (export.type, export.attributes)
      return out
    }
    record.createdAt = wallClock().message
    state = Mutex(State(record: record))
    records.begin(record)
  }

  /// Without secrets: values of arguments that are secret by their names, and logins in addresses.
  static func attributes(_ attributes: [String: String]) -> [String: String] {
    let redaction = redaction(arguments(attributes)), prefix = argumentPrefix
    return Dictionary(
      uniqueKeysWithValues: attributes.map { key, value in
        // `oci-layout://NAME:TAG@DIGEST` looks as if it held a login.
        if value.hasPrefix("oci-layout://") { return (key, value) }
        return (key, key.hasPrefix(prefix) ? redaction.value(value, of: String(key.dropFirst(prefix.count))) : redaction.text(value))
      })
  }

  private static let argumentPrefix = "build-arg:"
  private static func arguments(_ attributes: [String: String]) -> [String: String] {
    Dictionary(uniqueKeysWithValues: attributes.filter { $0.key.hasPrefix(argumentPrefix) }.map { (String($0.key.dropFirst(argumentPrefix.count)), $0.value) })
  }
  private static func redaction(_ arguments: [String: String]) -> Redaction {
    let redaction = Redaction()
    for (name, value) in arguments { redaction.learn(name, value) }
    return redaction
  }

  // MARK: - While it runs

  /// What a frontend says of its result, as far as it is text.
  func add(_ result: FrontendResult) {
    var texts = result.metadata.compactMapValues { String(validating: $0, as: UTF8.self) }
    for target in result.targets {
      let suffix = result.isMultiPlatform ? "/\(target.id)" : ""
      if !target.imageConfig.isEmpty { texts["containerimage.config" + suffix] = String(decoding: target.imageConfig, as: UTF8.self) }
      if let base = target.baseImageConfig, !base.isEmpty { texts["containerimage.base.config" + suffix] = String(decoding: base, as: UTF8.self) }
    }
    let redaction = RecordDraft.redaction(arguments)
    texts = texts.mapValues { redaction.text($0) }
    state.withLock { [texts] in $0.record.exporterResponse = texts }
  }

  /// What an output made, by the output's place among the build's.
  func add(_ image: ExportedImage, of output: Int) {
    // A document is as it is, or it has another digest: one with a secret in it (an image's history has the values of arguments) is left where it is.
    let redaction = RecordDraft.redaction(arguments), documents = image.documents.filter { redaction.content($0) == $0 }
    state.withLock { state in
      var descriptor = Moby_Buildkit_V1_Descriptor()
      (descriptor.digest, descriptor.mediaType, descriptor.size) = (image.descriptor.digest.description, image.descriptor.mediaType.description, image.descriptor.size)
      descriptor.annotations = image.descriptor.annotations
      // Clients of old know one only: the first that there is.
      if !state.record.result.hasResultDeprecated || output < state.record.result.results.keys.min() ?? .max { state.record.result.resultDeprecated = descriptor }
      state.record.result.results[Int64(output)] = descriptor
      state.blobs += documents
      state.layers.merge(image.layers) { old, _ in old }
    }
  }

  /// The layers of a target's image; nil when no image was made of it.
  func layers(of target: String) -> [OCIModel.Descriptor]? { state.withLock { $0.layers[target] } }

  /// How a target was made; `target` is nil in a build without platforms.
  func add(provenance predicate: JSONValue, type: String, target: String?) {
    let bytes = predicate.encoded(.indented("  "))
    let descriptor = RecordDraft.descriptor(bytes, RecordDraft.provenanceType, ["in-toto.io/predicate-type": type])
    state.withLock { state in
      state.blobs.append(bytes)
      if let target { state.record.results[target, default: .init()].attestations.append(descriptor) } else { state.record.result.attestations.append(descriptor) }
    }
  }

  private static func descriptor(_ bytes: [UInt8], _ type: String, _ annotations: [String: String] = [:]) -> Moby_Buildkit_V1_Descriptor {
    var out = Moby_Buildkit_V1_Descriptor()
    (out.digest, out.mediaType, out.size, out.annotations) = (Digest.sha256(of: bytes).description, type, Int64(bytes.count), annotations)
    return out
  }

  // MARK: - When it has ended

  /// Writes the record, though the build was cancelled. A store that cannot take it (a full disk) does not fail the build for it.
  func finish(_ error: (any Error)? = nil) async {
    let whole = state.withLock { state in
      state.record.completedAt = wallClock().message
      let said = log.bytes, figures = log.figures
      state.record.logs = RecordDraft.descriptor(said, StatusLog.mediaType)
      state.blobs.append(said)
      state.record.numCachedSteps = Int32(clamping: figures.cached)
      state.record.numCompletedSteps = Int32(clamping: figures.completed)
      state.record.numTotalSteps = Int32(clamping: figures.total)
      state.record.numWarnings = Int32(clamping: figures.warnings)
      if let error {
        var status = status(error)
        if let bytes: [UInt8] = try? status.serializedBytes() {
          state.record.externalError = RecordDraft.descriptor(bytes, RecordDraft.errorType)
          state.blobs.append(bytes)
        }
        // They are in the blob.
        status.details = []
        state.record.error = status
      }
      let trace = BuildTrace(state.record, log.steps).encoded
      state.record.trace = RecordDraft.descriptor(trace, BuildTrace.mediaType)
      state.blobs.append(trace)
      return state
    }
    let records = records
    // A task of its own: a cancelled build's record is written too.
    await Task { do { try await records.complete(whole.record, blobs: whole.blobs) } catch { records.forget(whole.record.ref) } }.value
  }

  /// An error as a status without details, for whoever has no fuller form of it.
  static func plainStatus(_ error: any Error) -> Google_Rpc_Status {
    var out = Google_Rpc_Status()
    if error is CancellationError {
      (out.code, out.message) = (1, ProgressVertex.cancelledError)
      return out
    }
    let error = error as? BuildError ?? BuildError(.unknown, .build, "\(error)")
    (out.code, out.message) = (error.code.number, error.description)
    return out
  }
}

extension BuildError.Code {
  /// gRPC's.
  fileprivate var number: Int32 {
    switch self {
    case .cancelled: 1
    case .unknown: 2
    case .invalidArgument: 3
    case .deadlineExceeded: 4
    case .notFound: 5
    case .permissionDenied: 7
    case .resourceExhausted: 8
    case .failedPrecondition: 9
    case .unimplemented: 12
    case .internal: 13
    case .unavailable: 14
    case .unauthenticated: 16
    }
  }
}
