package import BuildInterface
internal import BuildKitAPI
package import BuildKitProto
internal import Foundation
internal import GRPCCore

/// What a client wants to be asked while a build goes on: where its result goes, and whether its sources may be used.
extension ClientSession {
  /// Exporters that the client names once it knows the result's metadata and refs (session/exporter). Empty for a client without that service.
  package func findExporters(metadata: [String: [UInt8]], refs: [String]) async throws -> [ExportRequest] {
    guard supports(Moby_Exporter_V1_Exporter.Method.FindExporters.descriptor) else { return [] }
    do {
      let found = try await ask("exporters") { client in
        var request = Moby_Exporter_V1_FindExportersRequest()
        request.metadata = metadata.mapValues { Data($0) }
        request.refs = refs
        return try await Moby_Exporter_V1_Exporter.Client(wrapping: client).findExporters(request).exporters
      }
      guard found.count <= 100 else { throw SessionError(.invalidAnswer, "the client names \(found.count) exporters") }
      return found.enumerated().map { ExportRequest(type: $1.type, attributes: $1.attrs, id: "\($0)") }
    } catch let error as SessionError {
      // A client that has the service and no callback behind it.
      if error.code == .unsupported || error.status == .unavailable { return [] }
      throw error.buildError
    }
  }

  /// Tells the client what came of those exporters, if it wants to know.
  package func finalizeExport(_ response: [String: String]) async throws {
    guard supports(Moby_Exporter_V1_Exporter.Method.FinalizeExport.descriptor) else { return }
    do {
      try await ask("the end of the export") { client in
        var request = Moby_Exporter_V1_FinalizeExportRequest()
        request.exporterResponse = response
        _ = try await Moby_Exporter_V1_Exporter.Client(wrapping: client).finalizeExport(request)
      }
    } catch let error as SessionError {
      if error.code != .unsupported { throw error.buildError }
    }
  }

  /// Whether a source may be used: the client's answer is a decision, or what it wants to know of the source first (sourcepolicy/policysession).
  package func checkPolicy(_ request: Moby_Buildkit_V1_Sourcepolicy_Policysession_CheckPolicyRequest) async throws -> Moby_Buildkit_V1_Sourcepolicy_Policysession_CheckPolicyResponse {
    try await build("its policy about a source") { client in
      try await Moby_Buildkit_V1_Sourcepolicy_Policysession_PolicyVerifier.Client(wrapping: client).checkPolicy(request)
    }
  }
}
