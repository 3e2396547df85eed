internal import BuildInterface
internal import BuildKitProto
internal import BuildProgress
internal import BuildSolver
internal import HostOS
internal import LLB
internal import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// What a source stands for, without a step that uses it (BuildKit's ResolveSourceMetadata).
struct SourceLookup: Sendable {
  typealias Request = Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest
  typealias Response = Moby_Buildkit_V1_Frontend_ResolveSourceMetaResponse
  let gateway: EngineGateway

  func resolve(_ request: Request) async throws -> Response {
    guard request.hasSource else { throw BuildError(.invalidArgument, .usage, "source is required") }
    if !request.sourcePolicies.isEmpty { throw BuildError(.unimplemented, .usage, "source policies of a lookup are not supported yet") }
    let identifier = request.source.identifier
    let scheme = identifier.prefix { $0 != ":" }
    var response = Response()
    response.source = request.source
    switch scheme {
    case "docker-image", "oci-layout": response.image = try await image(request, layout: scheme == "oci-layout")
    case "git": response.git = try await git(request)
    case "http", "https": response.http = try await download(request)
    default: break
    }
    return response
  }

  private func logName(_ request: Request) -> String { request.logName.isEmpty ? "resolve image config for \(request.source.identifier)" : request.logName }

  // MARK: images

  private func image(_ request: Request, layout: Bool) async throws -> Moby_Buildkit_V1_Frontend_ResolveSourceImageResponse {
    // Signatures are looked at by clients' policies: what is not looked up must not seem not to be there.
    if request.image.attestationChain || !request.image.resolveAttestations.isEmpty {
      throw BuildError(.unimplemented, .usage, "attestations of \(request.source.identifier) cannot be looked up yet")
    }
    guard let mark = request.source.identifier.firstRange(of: "://") else { throw BuildError(.invalidArgument, .usage, "invalid source \"\(request.source.identifier)\"") }
    let reference: Reference
    do { reference = try Reference(parsing: String(request.source.identifier[mark.upperBound...])) } catch {
      throw BuildError(.invalidArgument, .usage, "invalid source \"\(request.source.identifier)\": \(error)")
    }
    let platform = request.hasPlatform ? Platform(request.platform) : gateway.environment.buildPlatform
    var options = ImageResolveOptions(platform: platform.normalized, mode: ImageResolveMode(rawValue: request.resolveMode) ?? .default, logName: logName(request))
    options.isPlatformImplied = !request.hasPlatform
    if layout {
      guard let store = request.source.attrs[SourceAttribute.ociLayoutStoreID], !store.isEmpty else {
        throw BuildError(.invalidArgument, .usage, "source \(request.source.identifier): it does not say which layout of the client it means")
      }
      options.layout = store
    }
    let found = try await gateway.resolveImage(reference, options: options)
    return .with {
      $0.digest = found.digest.description
      if !request.image.noConfig { $0.config = Data(found.config) }
    }
  }

  // MARK: repositories

  private func git(_ request: Request) async throws -> Moby_Buildkit_V1_Frontend_ResolveSourceGitResponse {
    // Signed objects are checked by clients' policies.
    if request.git.returnObject { throw BuildError(.unimplemented, .usage, "the objects of \(request.source.identifier) cannot be looked up yet") }
    let source = try GitSource(request.source, services: gateway.build.engine.services)
    let found = try await gateway.progress(named: logName(request)) { try await source.resolved(for: gateway.build.session) }
    return .with {
      $0.checksum = found.hash
      $0.ref = found.ref
      if let commit = found.commit { $0.commitChecksum = commit }
    }
  }

  // MARK: downloads

  /// It is brought here: the step that reads it would do that next.
  private func download(_ request: Request) async throws -> Moby_Buildkit_V1_Frontend_ResolveSourceHTTPResponse {
    if request.http.hasChecksumRequest { throw BuildError(.unimplemented, .usage, "other checksums of \(request.source.identifier) cannot be looked up yet") }
    let reference = try await gateway.reference(try SourceTime.definition(of: request.source, name: logName(request)))
    guard let edge = reference.edge else { throw BuildError(.invalidArgument, .usage, "invalid source \"\(request.source.identifier)\"") }
    let file = try await reference.read { tree in
      guard let name = try tree.children("").first, let status = try tree.status(name) else { throw TreeError(.notFound, "\(request.source.identifier) gave no file") }
      return (name, status.mtime)
    }
    let digest: Digest
    if let known = gateway.build.job.ops(below: edge).lazy.compactMap({ ($0.op as? HTTPSource)?.pin.digest }).first { digest = known } else {
      digest = Digest.sha256(of: try await reference.readFile(file.0, limit: 1 << 30))
    }
    return .with {
      $0.checksum = digest.description
      $0.filename = file.0
      if file.1 != 0 { $0.lastModified = .with { $0.seconds = file.1 / 1_000_000_000 } }
    }
  }
}

extension Platform {
  init(_ platform: Pb_Platform) {
    self.init(os: platform.os, architecture: platform.architecture, variant: platform.variant, osVersion: platform.osversion, osFeatures: platform.osfeatures)
  }
}
