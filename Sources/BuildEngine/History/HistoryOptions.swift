package import BuildInterface
package import BuildKitProto

/// How an engine keeps its builds' records.
package struct HistoryOptions: Sendable {
  package var limits = RecordLimits()
  /// The form that clients are told errors in, with details; the engine itself knows code and message alone.
  package var status: @Sendable (any Error) -> Google_Rpc_Status = { RecordDraft.plainStatus($0) }
  package init() {}

  /// The build with the provenance that its record keeps: what the sources were. Arguments and steps are in it only where the person asked for them: their values
  /// may be secrets, and the store keeps none that was not given away on purpose.
  static func recorded(_ request: SolveRequest) -> SolveRequest {
    var out = request
    let options = try? ProvenanceOptions.of(request.frontendAttributes)
    // The builder's name is the person's to give.
    let builder = options?.builderID ?? ""
    out.frontendAttributes["attest:provenance"] =
      (options?.isMax == true ? "mode=max" : "mode=min") + (builder.isEmpty ? "" : ",\"builder-id=\(builder.replacing("\"", with: "\"\""))\"")
    return out
  }
}
