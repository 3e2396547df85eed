import BuildKitProto
import OCIModel
import SwiftProtobuf
import Testing

@testable import BuildEngine

/// Build and passthrough ops, blobs: BuildKit's own cache keys (Golden/more-ops.json).
@Suite struct MoreOpKeyTests {
  struct Vector: Decodable {
    var name: String, op: String, inputs: Int
    var digest: String?, error: String?
  }

  @Test func keys() throws {
    let vectors: [Vector] = try Golden.load("more-ops.json")
    #expect(vectors.count > 10)
    for vector in vectors {
      let op = try Pb_Op(serializedBytes: Golden.bytes(vector.op))
      let key = Result { () throws -> Digest in
        switch op.op {
        case .build(let build): try OpCacheKey.build(build, inputCount: vector.inputs).digest
        case .passthrough(let passthrough): OpCacheKey.passthrough(passthrough, inputCount: vector.inputs).digest
        case .source(let source):
          try { () throws -> Digest in
            let blob = try BlobAttributes(source, scheme: source.identifier.prefix { $0 != ":" })
            return OpCacheKey.blob(blob.digest, filename: blob.filename, mode: blob.mode, uid: blob.uid, gid: blob.gid)
          }()
        default: throw InvalidDefinition("no such op in the vectors")
        }
      }
      switch key {
      case .success(let digest): #expect(digest.description == vector.digest, "\(vector.name)")
      case .failure(let error): #expect(vector.error != nil, "\(vector.name): \(error)")
      }
    }
  }
}
