internal import BuildInterface
internal import BuildKitProto
internal import LLB
internal import OCIModel

/// Puts a build's source policies to the sources of a definition, and of an image that is only looked up.
enum SourcePolicyPass {
  static func run(_ policies: SourcePolicies, _ definition: Pb_Definition) async throws -> Pb_Definition {
    try await Definition(definition).rewritingSources { op, source in
      do { return try await policies.evaluate(source, platform: op.hasPlatform ? op.platform : nil) } catch var error as BuildError {
        error.message = "failed to load LLB: error evaluating the source policy: " + error.message
        throw error
      }
    }.proto
  }

  /// The image to look up in place of another. An error when what takes its place is no image.
  static func image(_ reference: Reference, platform: Platform, layout: String?, _ policies: SourcePolicies) async throws -> (reference: Reference, layout: String?) {
    if policies.isEmpty { return (reference, layout) }
    var source = Pb_SourceOp(), wanted = Pb_Platform()
    source.identifier = (layout == nil ? "docker-image://" : "oci-layout://") + reference.withDefaultTag.description
    if let layout { source.attrs[SourceAttribute.ociLayoutStoreID] = layout }
    (wanted.os, wanted.architecture, wanted.variant, wanted.osversion) = (platform.os, platform.architecture, platform.variant, platform.osVersion)
    do { source = try await policies.evaluate(source, platform: wanted) } catch var error as BuildError {
      error.message = "could not resolve image due to policy: " + error.message
      throw error
    }
    for scheme in ["docker-image://", "oci-layout://"] where source.identifier.hasPrefix(scheme) {
      let name = try Reference(parsing: String(source.identifier.dropFirst(scheme.count)))
      return (name, scheme == "oci-layout://" ? source.attrs[SourceAttribute.ociLayoutStoreID] : nil)
    }
    throw BuildError(.invalidArgument, .usage, "the source policy puts \(source.identifier) in the place of \(reference.familiar), and that is no image")
  }
}
