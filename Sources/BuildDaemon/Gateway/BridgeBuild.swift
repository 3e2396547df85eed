internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import BuildProgress
internal import OCIModel
internal import SwiftProtobuf
internal import Synchronization

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// One build seen through BuildKit's LLBBridge: the references that its frontend holds by id, its containers, and what it returned.
final class BridgeBuild: Sendable {
  /// References and containers of one build at most.
  static let maximumReferences = 20_000
  static let maximumContainers = 128

  let gateway: any FrontendGateway
  private struct State {
    var references: [String: any FrontendReference] = [:]
    var containers: [String: any FrontendContainer] = [:]
    var result: Result<NestedResult, any Error>?
    var isClosed = false
  }
  private let state = Mutex(State())
  private let results: AsyncStream<Result<NestedResult, any Error>>
  private let answer: AsyncStream<Result<NestedResult, any Error>>.Continuation

  init(gateway: any FrontendGateway) {
    self.gateway = gateway
    (results, answer) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// Waits for it. Throws what was returned as an error.
  func returned() async throws -> NestedResult {
    for await result in results { return try result.get() }
    throw CancellationError()
  }

  /// What was returned so far.
  var result: Result<NestedResult, any Error>? { state.withLock { $0.result } }

  /// The frontend is gone: nothing more is answered, its containers go.
  func close() async {
    let containers = state.withLock { state in
      state.isClosed = true
      state.references = [:]
      defer { state.containers = [:] }
      return Array(state.containers.values)
    }
    answer.finish()
    for container in containers { await container.release() }
  }

  // MARK: references

  /// As unguessable as 128 random bits.
  static func newID() -> String {
    let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz")
    var generator = SystemRandomNumberGenerator()
    return String((0..<25).map { _ in letters[Int.random(in: 0..<36, using: &generator)] })
  }

  private func keep(_ references: [(id: String, reference: any FrontendReference)]) throws {
    try state.withLock { state in
      if state.isClosed { throw BuildError(.cancelled, .build, "the build has ended") }
      guard state.references.count + references.count <= Self.maximumReferences else {
        throw BuildError(.resourceExhausted, .usage, "a build holds \(Self.maximumReferences) results at most")
      }
      for (id, reference) in references { state.references[id] = reference }
    }
  }

  func reference(_ id: String) throws -> any FrontendReference {
    guard let found = state.withLock({ $0.references[id] }) else { throw BuildError(.notFound, .usage, id.isEmpty ? "empty ref" : "no such ref: \(id)") }
    return found
  }

  // MARK: solve

  func solve(_ request: Moby_Buildkit_V1_Frontend_SolveRequest) async throws -> Moby_Buildkit_V1_Frontend_SolveResponse {
    var nested = NestedSolve(
      definition: request.hasDefinition ? request.definition : nil, frontend: request.frontend, attributes: request.frontendOpt, inputs: request.frontendInputs,
      cacheImports: request.cacheImports.map { CacheOption(type: $0.type, attributes: $0.attrs) }, evaluates: request.evaluate)
    nested.sourcePolicies = request.sourcePolicies
    let result = try await gateway.solve(nested)
    if let several = result.references, !several.isEmpty, !request.allowResultReturn { throw BuildError(.failedPrecondition, .usage, "solve did not return default result") }
    var kept: [(id: String, reference: any FrontendReference)] = []
    func named(_ reference: (any FrontendReference)?) -> Moby_Buildkit_V1_Frontend_Ref {
      var ref = Moby_Buildkit_V1_Frontend_Ref()
      guard let reference else { return ref }
      ref.id = Self.newID()
      ref.def = reference.definition
      kept.append((ref.id, reference))
      return ref
    }
    var out = Moby_Buildkit_V1_Frontend_Result(), single = ""
    out.metadata = result.metadata.mapValues { Data($0) }
    if let several = result.references {
      let refs = several.mapValues { named($0) }
      if request.allowResultArrayRef {
        out.refs.refs = refs
      } else {
        out.refsDeprecated.refs = refs.mapValues(\.id)
      }
    } else {
      let ref = named(result.reference)
      single = ref.id
      if request.allowResultArrayRef { out.ref = ref } else { out.refDeprecated = ref.id }
    }
    for (key, list) in result.attestations {
      out.attestations[key] = .with { message in
        message.attestation = list.map { one in
          .with {
            $0.kind = one.kind
            $0.metadata = one.metadata.mapValues { Data($0) }
            if one.reference != nil { $0.ref = named(one.reference) }
            $0.path = one.path
            $0.inTotoPredicateType = one.predicateType
            $0.inTotoSubjects = one.subjects
          }
        }
      }
    }
    try keep(kept)
    if request.final { try returnFinal(request, result) }
    var response = Moby_Buildkit_V1_Frontend_SolveResponse()
    response.result = out
    if !request.allowResultReturn { response.ref = single }
    return response
  }

  /// Old frontends end with their last solve.
  private func returnFinal(_ request: Moby_Buildkit_V1_Frontend_SolveRequest, _ result: NestedResult) throws {
    var metadata: [String: [UInt8]] = [:]
    if !request.exporterAttr.isEmpty {
      guard let members = try? JSONValue(parsing: Array(request.exporterAttr)).objectValue else { throw BuildError(.invalidArgument, .usage, "the exporter's attributes are no JSON") }
      // Bytes are in base64 there.
      for (key, value) in members.members { metadata[key] = value.stringValue.flatMap { Data(base64Encoded: $0) }.map { Array($0) } }
    }
    var final = result
    final.metadata = metadata.merging(result.metadata) { _, new in new }
    try end(.success(final))
  }

  // MARK: return

  func end(_ result: Result<NestedResult, any Error>) throws {
    try state.withLock { state in
      guard state.result == nil else { throw BuildError(.failedPrecondition, .usage, "gateway result is already set") }
      state.result = result
    }
    answer.yield(result)
    answer.finish()
  }

  func `return`(_ request: Moby_Buildkit_V1_Frontend_ReturnRequest) throws {
    if request.hasError { return try end(.failure(WireErrors.buildError(request.error))) }
    guard request.hasResult else { throw BuildError(.invalidArgument, .usage, "gateway return must be either result or err") }
    try end(.success(try result(request.result)))
  }

  private func result(_ wire: Moby_Buildkit_V1_Frontend_Result) throws -> NestedResult {
    func found(_ id: String) throws -> (any FrontendReference)? {
      if id.isEmpty { return nil }
      guard let reference = state.withLock({ $0.references[id] }) else { throw BuildError(.notFound, .usage, "return reference \(id) not found") }
      return reference
    }
    var result = NestedResult(metadata: wire.metadata.mapValues { Array($0) })
    switch wire.result {
    case .refDeprecated(let id)?: result.reference = try found(id)
    case .ref(let ref)?: result.reference = try found(ref.id)
    case .refsDeprecated(let refs)?: result.references = try refs.refs.mapValues { try found($0) }
    case .refs(let refs)?: result.references = try refs.refs.mapValues { try found($0.id) }
    case nil: break
    }
    // No names at all are no result of several.
    if result.references?.isEmpty == true { result.references = nil }
    for (key, list) in wire.attestations {
      result.attestations[key] = try list.attestation.map { one in
        ResultAttestation(
          kind: one.kind, metadata: one.metadata.mapValues { Array($0) }, reference: one.hasRef ? try found(one.ref.id) : nil, path: one.path, predicateType: one.inTotoPredicateType,
          subjects: one.inTotoSubjects)
      }
    }
    return result
  }

  // MARK: containers

  func newContainer(_ request: Moby_Buildkit_V1_Frontend_NewContainerRequest) async throws {
    guard !request.containerID.isEmpty else { throw BuildError(.invalidArgument, .usage, "a container needs an id") }
    try state.withLock { state in
      if state.containers[request.containerID] != nil { throw BuildError(.failedPrecondition, .usage, "Container \(request.containerID) already exists") }
      if state.containers.count >= Self.maximumContainers { throw BuildError(.resourceExhausted, .usage, "a build holds \(Self.maximumContainers) containers at most") }
    }
    let mounts = try request.mounts.map { mount in
      ContainerRequest.Mount(mount: mount, reference: mount.resultID.isEmpty ? nil : try reference(mount.resultID))
    }
    let container = try await gateway.newContainer(
      ContainerRequest(
        mounts: mounts, network: request.network, hostname: request.hostname, extraHosts: request.extraHosts,
        platform: request.hasPlatform
          ? Platform(os: request.platform.os, architecture: request.platform.architecture, variant: request.platform.variant, osVersion: request.platform.osversion) : nil))
    let isKept = state.withLock { state in
      guard !state.isClosed, state.containers[request.containerID] == nil else { return false }
      state.containers[request.containerID] = container
      return true
    }
    if !isKept {
      await container.release()
      throw BuildError(.failedPrecondition, .usage, "Container \(request.containerID) already exists, or the build has ended")
    }
  }

  func container(_ id: String) throws -> any FrontendContainer {
    guard let found = state.withLock({ $0.containers[id] }) else { throw BuildError(.notFound, .usage, "container \"\(id)\" previously released or not created") }
    return found
  }

  func releaseContainer(_ id: String) async throws {
    guard let container = state.withLock({ $0.containers.removeValue(forKey: id) }) else { throw BuildError(.notFound, .usage, "container details for \(id) not found") }
    await container.release()
  }
}
