import ContentStore
import HostOS
import ImageTools
import LayerArchive
import OCIModel
import TestSupport
import Testing

/// Archives from strangers: each is refused, nothing gets a name, and nothing half-written stays.
@Suite struct HostileArchiveTests {
  private static func layout(_ change: (inout [(String, [UInt8])]) throws -> Void) throws -> [UInt8] {
    let made = try MadeImage(amd64).blobs()
    var files = [("oci-layout", OCILayout.marker), ("index.json", ImageIndex(manifests: [made.manifest]).json.encoded())] + made.all.map { (path($0.0), $0.1) }
    try change(&files)
    return try tar(files)
  }
  private static func docker(_ manifest: String? = nil, layers: [[UInt8]]? = nil, config: [UInt8]? = nil, links: [(String, String)] = []) throws -> [UInt8] {
    let made = try MadeImage(amd64)
    let layers = layers ?? made.layers
    let files = layers.enumerated().map { ("\($0.offset).tar", $0.element) } + [("c.json", config ?? made.config)]
    return try tar(files + [("manifest.json", Array((manifest ?? #"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["0.tar","1.tar"]}]"#).utf8))], links: links)
  }

  static func cases() throws -> [(String, [UInt8])] {
    let good = try layout { _ in }
    let made = try MadeImage(amd64).blobs()
    func place(_ files: [(String, [UInt8])], _ descriptor: OCIModel.Descriptor) -> Int { files.firstIndex { $0.0 == path(descriptor) } ?? 0 }
    var cases: [(String, [UInt8])] = [
      ("empty", []), ("no archive", Array("this is no archive".utf8) + [UInt8](repeating: 7, count: 2000)), ("zeros", [UInt8](repeating: 0, count: 10240)),
      ("truncated", Array(good.prefix(good.count / 2))), ("gzip cut", Array(try packed(good, .gzip).dropLast(20))), ("zstd cut", Array(try packed(good, .zstd).dropLast(20))),
      ("other things", try tar([("hello", [1])])), ("of old", try tar([("repositories", Array("{}".utf8)), ("x/layer.tar", [1])])),
      ("out of it", try tar([("../../etc/passwd", [1])])),
      ("deep JSON", try layout { $0[1].1 = Array(String(repeating: "[", count: 100_000).utf8) }),
      ("a large index", try layout { $0[1].1 = [UInt8](repeating: 0x20, count: 5 << 20) }),
      ("an empty index", try layout { $0[1].1 = ImageIndex(manifests: []).json.encoded() }),
      ("index.json is a manifest", try layout { $0[1].1 = made.all[3].1 }),
      ("manifest gone", try layout { $0.remove(at: place($0, made.manifest)) }), ("config gone", try layout { $0.remove(at: place($0, made.all[2].0)) }),
      ("layer gone", try layout { $0.remove(at: place($0, made.all[0].0)) }),
      ("layer of another size", try layout { $0[place($0, made.all[0].0)].1.append(0) }),
      ("layer with other content", try layout { let i = place($0, made.all[0].0); $0[i].1[$0[i].1.count / 2] ^= 1 }),
      ("manifest with other content", try layout { let i = place($0, made.manifest); $0[i].1[$0[i].1.count / 2] ^= 1 }),
      ("docker: no image", try docker("[]")), ("docker: no JSON", try docker("[{")), ("docker: no config", try docker(#"[{"Layers":[]}]"#)),
      ("docker: config elsewhere", try docker(#"[{"Config":"../c.json","Layers":["0.tar","1.tar"]}]"#)),
      ("docker: a layer too few", try docker(#"[{"Config":"c.json","Layers":["0.tar"]}]"#)), ("docker: a layer that is not there", try docker(#"[{"Config":"c.json","Layers":["0.tar","9.tar"]}]"#)),
      ("docker: layers in another order", try docker(#"[{"Config":"c.json","Layers":["1.tar","0.tar"]}]"#)),
      ("docker: another layer", try docker(layers: [try tar([("x", [1])]), try tar([("x", [2])])])),
      ("docker: a name that is none", try docker(#"[{"Config":"c.json","RepoTags":["UPPER case"],"Layers":["0.tar","1.tar"]}]"#)),
      ("docker: a link in a circle", try docker(#"[{"Config":"c.json","Layers":["0.tar","l"]}]"#, links: [("l", "m"), ("m", "l")])),
      ("docker: a link out of it", try docker(#"[{"Config":"c.json","Layers":["0.tar","l"]}]"#, links: [("l", "/etc/passwd")])),
      ("docker: config is no config", try docker(config: Array("[]".utf8))),
    ]
    cases.append(("an image that is its own index", try layout { files in
      let self_ = ImageIndex(manifests: [made.manifest])
      files[1].1 = ImageIndex(manifests: [OCIModel.Descriptor(mediaType: .ociIndex, digest: .sha256(of: self_.encoded), size: 1)]).json.encoded()
    }))
    return cases
  }

  @Test func areRefused() async throws {
    for (name, bytes) in try Self.cases() {
      try await withStore { store, root in
        do {
          _ = try await load(bytes, into: store, root)
          Issue.record("\(name) was taken")
        } catch is ImageToolsError {} catch is OCIError {} catch is LayerArchiveError {} catch { Issue.record("\(name): \(error)") }
        #expect(try await LocalImages(store).list().isEmpty, "\(name)")
        #expect(try Directory.open(store.root + "/ingest").entries().isEmpty, "\(name)")
        for blob in try store.blobFiles() { _ = try store.bytes(blob.digest, limit: 1 << 24) }
      }
    }
  }

  /// Whatever a bit does: an error, or an image that is whole.
  @Test func everyBitMayBeWrong() async throws {
    var generator = SeededGenerator(7)
    let made = [try Self.layout { _ in }, try Self.docker(), try packed(Self.docker(), .gzip)]
    try await withStore { store, root in
      for _ in 0..<150 {
        var bytes = made[Int.random(in: 0..<made.count, using: &generator)]
        for _ in 0..<Int.random(in: 1...3, using: &generator) { bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator) }
        guard let loaded = try? await load(bytes, into: store, root) else { continue }
        for image in loaded {
          let missing = try store.closure(of: image.descriptor).missing
          #expect(missing.isEmpty)
        }
      }
      #expect(try Directory.open(store.root + "/ingest").entries().isEmpty)
    }
  }

  /// A pipe's archive lies on the store's disk while it is read, and goes with its reader.
  @Test func aPipeThatEndsInTheMiddle() async throws {
    let good = try Self.layout { _ in }
    try await withStore { store, root in
      for (bytes, isWhole) in [(Array(good.prefix(good.count / 2)), false), (good, true)] {
        let (read, write) = try HostOS.Descriptor.pipe()
        let sender = Task.detached { try await Blocking.run { try write.write(bytes); try write.close() } }
        do {
          _ = try await ImageLoad(store).load(read)
          #expect(isWhole)
        } catch { #expect(!isWhole, "\(error)") }
        try? await sender.value
        #expect(try Directory.open(store.root + "/ingest").entries().isEmpty)
      }
    }
  }
}
