internal import BuildInterface
internal import BuildKitProto
internal import HostOS
internal import LLB
internal import LayerArchive
internal import OCIModel

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// When what a source gives was made.
enum SourceTime {
  /// The source alone, as a definition; a checkout's files have the times of the commit.
  static func definition(of source: Pb_SourceOp, name: String) throws -> Pb_Definition {
    var source = source
    if source.identifier.hasPrefix("git://") { source.attrs[SourceAttribute.gitModificationTime] = "commit" }
    var op = Pb_Op(), last = Pb_Op(), result = Pb_Input(), definition = Pb_Definition(), metadata = Pb_OpMetadata()
    op.constraints = Pb_WorkerConstraints()
    op.source = source
    let bytes = try op.canonicalBytes(), digest = Digest.sha256(of: bytes).description
    result.digest = digest
    last.inputs = [result]
    metadata.description_p = [VertexOptions.nameKey: name]
    definition.def = [Data(bytes), Data(try last.canonicalBytes())]
    definition.metadata = [digest: metadata]
    return definition
  }

  /// Of a checkout: the commit's. Of a download: the server's word, which the file has for its time; else that of the newest file of an archive. Blocks.
  static func of(_ source: Pb_SourceOp, in tree: any TreeReader) throws -> Timestamp? {
    if source.identifier.hasPrefix("git://") { return try tree.status("").map { Timestamp(nanosecondsSinceEpoch: $0.mtime) }?.wholeSeconds }
    guard source.identifier.hasPrefix("http://") || source.identifier.hasPrefix("https://") else { return nil }
    for name in try tree.children("") {
      guard let status = try tree.status(name), status.kind == .regular else { continue }
      if status.mtime != 0 { return Timestamp(nanosecondsSinceEpoch: status.mtime).wholeSeconds }
      return try ArchiveUnpacker.newestTime(try tree.open(name)).map { Timestamp(nanosecondsSinceEpoch: $0).wholeSeconds }
    }
    return nil
  }
}

extension Timestamp {
  fileprivate var wholeSeconds: Timestamp { Timestamp(seconds: seconds) }
}
