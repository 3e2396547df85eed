public import BuildKitProto
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// A file with a source policy, as BuildKit's clients read it (`EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`): JSON, or the protobuf message itself.
public enum SourcePolicyDocument {
  /// Throws `LLBError.invalidOption` with what is wrong.
  public static func parse(_ bytes: [UInt8]) throws(LLBError) -> Moby_Buildkit_V1_Sourcepolicy_Policy {
    var options = JSONDecodingOptions()
    options.ignoreUnknownFields = true
    do { return try Moby_Buildkit_V1_Sourcepolicy_Policy(jsonUTF8Data: Data(bytes), options: options) } catch {
      if let policy = try? Moby_Buildkit_V1_Sourcepolicy_Policy(serializedBytes: bytes), !policy.rules.isEmpty { return policy }
      throw LLBError(.invalidOption, "failed to parse source policy", cause: error)
    }
  }
}
