public import BuildKitProto
public import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// A marshalled graph: the ops in an order in which every input comes before its user, and last an op without a kind whose
/// one input is the result. What is sent to an engine; its digests are what vertices are known by.
public struct Definition: Hashable, Sendable {
  public var proto: Pb_Definition
  public init(_ proto: Pb_Definition) { self.proto = proto }

  /// The definition of the empty filesystem has no ops.
  public var isScratch: Bool { proto.def.isEmpty }

  /// The digest of the result's vertex; nil for scratch or a malformed last op.
  public var head: Digest? {
    guard let last = proto.def.last, let op = try? Pb_Op(serializedBytes: last), let input = op.inputs.first else { return nil }
    return Digest(input.digest)
  }

  /// The vertices' digests in order, the last op's included.
  public var digests: [Digest] { proto.def.map { Digest.sha256(of: $0) } }

  /// The source ops, in order. What cannot be read is none.
  public var sources: [Pb_SourceOp] {
    proto.def.compactMap { bytes in if case .source(let source)? = (try? Pb_Op(serializedBytes: bytes))?.op { source } else { nil } }
  }

  /// Reads the wire form. Throws `LLBError.invalidDefinition`. Ops are checked when the definition is loaded.
  public init(serialized bytes: [UInt8]) throws(LLBError) {
    do { proto = try Pb_Definition(serializedBytes: bytes) } catch { throw LLBError(.invalidDefinition, "the definition is not a protobuf message", cause: error) }
  }

  /// The wire form, the same bytes for the same definition.
  public func serialized() throws(LLBError) -> [UInt8] { try encode(proto) }
}

/// Deterministic protobuf: fields by number, map entries by key.
func encode(_ message: some Message) throws(LLBError) -> [UInt8] {
  var options = BinaryEncodingOptions()
  options.useDeterministicOrdering = true
  do { return try message.serializedBytes(options: options) } catch { throw LLBError(.invalidOption, "a vertex cannot be encoded", cause: error) }
}

extension Pb_Op {
  /// The bytes whose digest the vertex is known by. Go's protobuf library writes the members of a oneof after all other fields,
  /// which is not their order by number; the digest is over Go's bytes.
  public func canonicalBytes() throws(LLBError) -> [UInt8] {
    var fields = self, kind = Pb_Op()
    (fields.op, kind.op) = (nil, op)
    return try encode(fields) + encode(kind)
  }
}
