internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import BuildProgress
internal import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// The calls that only pass something on.
extension BridgeBuild {
  /// Of a file in one answer: what is around it fits into the message too.
  static let maximumRead = MessageLimits.message - (64 << 10)

  func ping() -> Moby_Buildkit_V1_Frontend_PongResponse {
    .with {
      $0.frontendApicaps = GatewayCapabilities.frontend
      $0.llbcaps = GatewayCapabilities.llb
      $0.workers = gateway.environment.workers.map { worker in
        .with { ($0.id, $0.labels, $0.platforms) = (worker.id, worker.labels, worker.platforms) }
      }
    }
  }

  // MARK: files

  private func length(_ range: Moby_Buildkit_V1_Frontend_FileRange?) -> Int64? { range.map(\.length) }

  func readFile(_ request: Moby_Buildkit_V1_Frontend_ReadFileRequest, inContainer: Bool = false) async throws -> Moby_Buildkit_V1_Frontend_ReadFileResponse {
    let offset = request.hasRange ? request.range.offset : 0, length = request.hasRange ? request.range.length : nil
    let bytes =
      if inContainer {
        try await container(request.ref).readFile(request.filePath, mount: Int(request.mountIndex), offset: offset, length: length, limit: Self.maximumRead)
      } else {
        try await reference(request.ref).readFile(request.filePath, offset: offset, length: length, limit: Self.maximumRead)
      }
    return .with { $0.data = Data(bytes) }
  }

  func readDirectory(_ request: Moby_Buildkit_V1_Frontend_ReadDirRequest, inContainer: Bool = false) async throws -> Moby_Buildkit_V1_Frontend_ReadDirResponse {
    let entries =
      if inContainer {
        try await container(request.ref).readDirectory(request.dirPath, mount: Int(request.mountIndex), matching: request.includePattern)
      } else {
        try await reference(request.ref).readDirectory(request.dirPath, matching: request.includePattern)
      }
    return .with { $0.entries = entries }
  }

  func status(_ request: Moby_Buildkit_V1_Frontend_StatFileRequest, inContainer: Bool = false) async throws -> Moby_Buildkit_V1_Frontend_StatFileResponse {
    let stat =
      if inContainer {
        try await container(request.ref).status(of: request.path, mount: Int(request.mountIndex))
      } else {
        try await reference(request.ref).status(of: request.path)
      }
    return .with { $0.stat = stat }
  }

  func inputs() -> Moby_Buildkit_V1_Frontend_InputsResponse { .with { $0.definitions = gateway.environment.inputs } }

  // MARK: sources

  /// The older form of `resolveSource`: an image alone, of a registry or of a layout of the client.
  func resolveImageConfig(_ request: Moby_Buildkit_V1_Frontend_ResolveImageConfigRequest) async throws -> Moby_Buildkit_V1_Frontend_ResolveImageConfigResponse {
    var inner = Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest()
    let isLayout = request.resolverType == 1
    let reference: Reference
    do { reference = try Reference(parsing: request.ref) } catch { throw BuildError(.invalidArgument, .usage, "invalid reference \"\(request.ref)\": \(error)") }
    inner.source.identifier = (isLayout ? "oci-layout://" : "docker-image://") + "\(reference)"
    if isLayout { inner.source.attrs = ["oci.session": request.sessionID, "oci.store": request.storeID] }
    if request.hasPlatform { inner.platform = request.platform }
    inner.resolveMode = request.resolveMode
    inner.logName = request.logName
    inner.sourcePolicies = request.sourcePolicies
    let found = try await gateway.resolveSource(inner)
    // A policy may have put another image in its place.
    let name = found.source.identifier.firstRange(of: "://").map { String(found.source.identifier[$0.upperBound...]) } ?? "\(reference)"
    return .with {
      $0.ref = name
      $0.digest = found.image.digest
      $0.config = found.image.config
    }
  }

  // MARK: warnings

  static let maximumWarning = 1 << 20

  func warn(_ request: Moby_Buildkit_V1_Frontend_WarnRequest) async throws {
    guard let vertex = Digest(request.digest) else { throw BuildError(.invalidArgument, .usage, "invalid digest \"\(request.digest)\" of a warning's vertex") }
    guard request.short.count + request.detail.reduce(0, { $0 + $1.count }) <= Self.maximumWarning else { throw BuildError(.resourceExhausted, .usage, "a warning has more than \(Self.maximumWarning) bytes") }
    var source: WarningSource?
    if request.hasInfo {
      let definition = request.info.hasDefinition ? Array((try? request.info.definition.serializedData()) ?? Data()) : []
      source = WarningSource(filename: request.info.filename, data: Array(request.info.data), language: request.info.language, definition: definition)
    }
    await gateway.warn(
      VertexWarning(
        vertex: vertex, level: request.level == 0 ? 1 : Int(request.level), short: Array(request.short), detail: request.detail.map { Array($0) }, url: request.url, sourceInfo: source,
        ranges: request.ranges.map { range in
          WarningRange(
            start: .init(line: Int(range.start.line), character: Int(range.start.character)), end: .init(line: Int(range.end.line), character: Int(range.end.character)))
        }))
  }
}
