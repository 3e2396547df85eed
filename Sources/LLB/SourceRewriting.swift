public import BuildKitProto
internal import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

extension Definition {
  /// The definition with other sources: `change` is given each source op (with its platform), and answers with the one to take its place, or nil to leave it. Digests of all
  /// that reads a changed source change with it; metadata and places in source files stay with their ops. Ops that cannot be read are left to `load` to refuse.
  public func rewritingSources(_ change: (Pb_Op, Pb_SourceOp) async throws -> Pb_SourceOp?) async throws -> Definition {
    var changed: [Digest: Pb_Op] = [:]
    for data in proto.def {
      guard var op = try? Pb_Op(serializedBytes: data), case .source(let source)? = op.op else { continue }
      let digest = Digest.sha256(of: data)
      guard changed[digest] == nil, let other = try await change(op, source), other != source else { continue }
      op.source = other
      changed[digest] = op
    }
    return changed.isEmpty ? self : try replacing(changed)
  }

  /// Readers may stand before what they read: the order is made anew, without recursion.
  private func replacing(_ changed: [Digest: Pb_Op]) throws(LLBError) -> Definition {
    var ops: [Digest: (data: Data, op: Pb_Op)] = [:]
    var digests: [Digest] = []
    for data in proto.def {
      let digest = Digest.sha256(of: data)
      guard let op = changed[digest] ?? (try? Pb_Op(serializedBytes: data)) else { throw LLBError(.invalidDefinition, "an op is not a protobuf message", vertex: digest) }
      digests.append(digest)
      ops[digest] = (data, op)
    }
    var renamed: [Digest: (digest: Digest, data: Data)] = [:]
    for start in digests {
      var stack = [start]
      while let digest = stack.last {
        guard renamed[digest] == nil, var (data, op) = ops[digest] else {
          stack.removeLast()
          continue
        }
        // What is not there is refused when the definition is loaded.
        let missing = op.inputs.compactMap { Digest($0.digest) }.filter { ops[$0] != nil && renamed[$0] == nil }
        if !missing.isEmpty {
          stack += missing
          continue
        }
        var isChanged = changed[digest] != nil
        for i in op.inputs.indices {
          guard let old = Digest(op.inputs[i].digest), let new = renamed[old]?.digest, new != old else { continue }
          op.inputs[i].digest = new.description
          isChanged = true
        }
        if isChanged { data = Data(try op.canonicalBytes()) }
        renamed[digest] = (isChanged ? .sha256(of: data) : digest, data)
        stack.removeLast()
      }
    }
    var result = proto
    result.def = digests.compactMap { renamed[$0]?.data }
    for (old, new) in renamed where new.digest != old {
      if let metadata = result.metadata.removeValue(forKey: old.description) { result.metadata[new.digest.description] = metadata }
      if let locations = result.source.locations.removeValue(forKey: old.description) { result.source.locations[new.digest.description] = locations }
    }
    return Definition(result)
  }
}
