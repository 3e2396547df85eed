import Foundation
import OCIModel
import Testing

@testable import BuildOutputs
@testable import BuildSolver

/// Against caches that a real buildkitd 0.32 wrote (Golden/caches): read, and written again.
@Suite struct CacheConfigTests {
  private static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/caches")
  private static func golden(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: directory.appendingPathComponent(name))) }

  private static func blobs(_ manifest: [UInt8]) throws -> [CacheRemote.Layer] {
    let document = try JSONValue(parsing: manifest)
    let layers = try (document["layers"] ?? document["manifests"])?.arrayValue?.map { try Descriptor(json: $0) } ?? []
    return layers.map { CacheRemote.Layer(descriptor: $0) }
  }

  /// What a document says, whatever the order of its lists: each record with its results and all that leads to it.
  private static func meaning(_ config: CacheConfig) -> Set<String> {
    var known: [Int: String] = [:]
    func blobs(_ layer: Int) -> [String] { layer < 0 ? [] : blobs(config.layers[layer].parent) + [config.layers[layer].blob.description] }
    func text(_ i: Int) -> String {
      if let text = known[i] { return text }
      let record = config.records[i]
      let results = record.results.map { "\(blobs($0.layer)) \($0.createdAt)" }.sorted()
      let inputs = record.inputs.map { $0.map { "\($0.selector?.description ?? "") \(text($0.link))" }.sorted() }
      let made = Digest.sha256(of: "\(record.digest) \(results) \(inputs)").description
      known[i] = made
      return made
    }
    return Set(config.records.indices.map { text($0) })
  }

  @Test(arguments: ["one-max", "cache-min", "cache-max"])
  func realOnes(_ name: String) throws {
    let bytes = try Self.golden(name + ".config.json")
    let config = try CacheConfig(parsing: bytes)
    #expect(config.encoded == bytes, "read and written as it is")
    var chains = CacheChains()
    try config.add(to: &chains, blobs: Self.blobs(Self.golden(name + ".manifest.json")))
    let (made, blobs) = CacheConfig.make(chains)
    #expect(Self.meaning(made) == Self.meaning(config))
    #expect(made.layers.count == config.layers.count && made.records.count == config.records.count)
    #expect(made.layers.map(\.blob) == blobs.map(\.descriptor.digest))
    // Where nothing in a document is equal to something else in it, its order is given.
    if name == "one-max" { #expect(made.encoded == bytes) }
    var again = CacheChains()
    try made.add(to: &again, blobs: blobs)
    #expect(CacheConfig.make(again).config == made, "the same each time")
  }

  @Test func theManifests() throws {
    for name in ["one-max", "cache-min", "cache-max"] {
      let bytes = try Self.golden(name + ".manifest.json")
      guard case .manifest(let manifest) = try ImageDocument(parsing: bytes, mediaType: .ociManifest) else {
        Issue.record("\(name) is no manifest")
        continue
      }
      #expect(manifest.config.mediaType == CacheConfig.mediaType)
      #expect(ImageManifest(config: manifest.config, layers: manifest.layers).json.encoded() == bytes)
    }
    let bytes = try Self.golden("cache-index.manifest.json")
    guard case .index(let index) = try ImageDocument(parsing: bytes, mediaType: .ociIndex) else {
      Issue.record("no index")
      return
    }
    #expect(index.manifests.last?.mediaType == CacheConfig.mediaType)
    #expect(ImageIndex(manifests: index.manifests).json.encoded() == bytes)
  }

  @Test func insideAnImage() throws {
    let image = try Self.golden("one-inline.config.json")
    guard case .manifest(let manifest) = try ImageDocument(parsing: Self.golden("one-inline.manifest.json"), mediaType: .ociManifest) else {
      Issue.record("no manifest")
      return
    }
    let inline = try #require(try InlineCacheConfig(config: image, layers: manifest.layers))
    #expect(inline.layers.allSatisfy { $0.annotations[CacheAnnotations.diffID] != nil && $0.annotations[CacheAnnotations.createdAt] != nil })
    var chains = CacheChains()
    try inline.config.add(to: &chains, blobs: inline.layers.map { CacheRemote.Layer(descriptor: $0) })
    let made = try #require(try InlineCache.records(chains, layers: inline.layers.map(\.digest)))
    let text = try #require(try JSONValue(parsing: image)[InlineCacheConfig.member]?.stringValue)
    #expect(made == Array(Data(base64Encoded: text) ?? Data()))
    // An image of other layers has nothing to say.
    #expect(try InlineCache.records(chains, layers: [Digest.sha256(of: "other")]) == nil)
    #expect(try InlineCacheConfig(config: image, layers: []) == nil, "a manifest that does not belong to it")
  }

  /// Layers that the image has in another order are named one by one.
  @Test func layersInAnotherOrder() throws {
    func layer(_ text: String) -> CacheRemote.Layer { CacheRemote.Layer(descriptor: Descriptor(mediaType: .ociLayerGzip, digest: .sha256(of: text), size: 1)) }
    var chains = CacheChains()
    let root = try #require(try chains.add(Digest.sha256(of: "root").description))
    _ = try chains.add(
      Digest.sha256(of: "step").description, [[.init(root)]], [CacheExportResult(createdAt: Timestamp(seconds: 5), remote: CacheRemote(layers: [layer("b"), layer("a")]))])
    let bytes = try #require(try InlineCache.records(chains, layers: [Digest.sha256(of: "a"), Digest.sha256(of: "b")]))
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(text.contains(#""chains":[{"layers":[1,0],"createdAt":"0001-01-01T00:00:00Z"}]"#), "\(text)")
    let parsed = CacheConfig(layers: [.init(blob: .sha256(of: "a"), parent: -1), .init(blob: .sha256(of: "b"), parent: 0)], records: try CacheConfig.records(JSONValue(parsing: bytes)))
    var again = CacheChains()
    try parsed.add(to: &again, blobs: [layer("a"), layer("b")])
    #expect(again.records.contains { again.results(of: $0).first?.remote.layers.map(\.descriptor.digest) == [.sha256(of: "b"), .sha256(of: "a")] })
  }

  // MARK: - Hostile documents

  private static let a = "sha256:" + String(repeating: "a", count: 64)
  static let hostile: [(name: String, json: String)] = [
    ("no JSON", "{"), ("a list", "[]"), ("layers a number", #"{"layers":5}"#), ("a layer without a blob", #"{"layers":[{}]}"#),
    ("a blob that is no digest", #"{"layers":[{"blob":"../../etc/passwd"}]}"#), ("a record without a digest", #"{"records":[{}]}"#),
    ("a random digest", #"{"records":[{"digest":"random:00"}]}"#),
    ("a layer beyond the list", #"{"records":[{"digest":"\#(a)","layers":[{"layer":7,"createdAt":"2024-01-01T00:00:00Z"}]}]}"#),
    ("a negative layer", #"{"records":[{"digest":"\#(a)","layers":[{"layer":-2,"createdAt":"2024-01-01T00:00:00Z"}]}]}"#),
    ("a layer on itself", #"{"layers":[{"blob":"\#(a)"}],"records":[{"digest":"\#(a)","layers":[{"layer":0,"createdAt":"2024-01-01T00:00:00Z"}]}]}"#),
    ("a layer on one beyond", #"{"layers":[{"blob":"\#(a)","parent":9}],"records":[{"digest":"\#(a)","layers":[{"layer":0}]}]}"#),
    ("a chain beyond the list", #"{"records":[{"digest":"\#(a)","chains":[{"layers":[0,1]}]}]}"#),
    ("a record of itself", #"{"records":[{"digest":"\#(a)","inputs":[[{"link":0}]]}]}"#),
    ("records in a circle", #"{"records":[{"digest":"\#(a)","inputs":[[{"link":1}]]},{"digest":"\#(a)","inputs":[[{"link":0}]]}]}"#),
    ("a record beyond the list", #"{"records":[{"digest":"\#(a)","inputs":[[{"link":3}]]}]}"#),
    ("a negative record", #"{"records":[{"digest":"\#(a)","inputs":[[{"link":-1}]]}]}"#),
    ("a huge number", #"{"records":[{"digest":"\#(a)","inputs":[[{"link":99999999999999999999}]]}]}"#),
    ("a fraction", #"{"records":[{"digest":"\#(a)","inputs":[[{"link":0.5}]]}]}"#),
    ("an input of none", #"{"records":[{"digest":"\#(a)","inputs":[[]]}]}"#), ("inputs a text", #"{"records":[{"digest":"\#(a)","inputs":"x"}]}"#),
    ("a selector that is no digest", #"{"records":[{"digest":"\#(a)"},{"digest":"\#(a)","inputs":[[{"link":0,"selector":"/etc"}]]}]}"#),
    ("a time that is none", #"{"records":[{"digest":"\#(a)","layers":[{"layer":0,"createdAt":"yesterday"}]}]}"#),
    ("nested beyond measure", #"{"records":"# + String(repeating: "[", count: 10_000)),
  ]

  @Test(arguments: hostile.map(\.name))
  func refused(_ name: String) throws {
    let json = try #require(Self.hostile.first { $0.name == name }?.json)
    #expect(throws: CacheFormatError.self) {
      var chains = CacheChains()
      try CacheConfig(parsing: Array(json.utf8)).add(to: &chains, blobs: [])
    }
  }

  /// Deep and wide, but honest: read in time that grows with its size, without a stack that does.
  @Test(.timeLimit(.minutes(1))) func large() throws {
    let count = 20_000
    var config = CacheConfig()
    for i in 0..<count {
      config.records.append(.init(digest: Digest.sha256(of: "\(i)").description, inputs: i == count - 1 ? [] : [[.init(link: i + 1)]]))
    }
    var chains = CacheChains(maximumWork: 20_000_000)
    try config.add(to: &chains, blobs: [])
    #expect(chains.count == count)
    #expect(ImportedRecords(chains).counts.records == count)
    #expect(CacheConfig.make(chains).config.records.count == count)
  }

  /// Every record has all layers: a small document that would be a large memory.
  @Test(.timeLimit(.minutes(1))) func bomb() throws {
    let blob = Digest.sha256(of: "blob")
    var config = CacheConfig()
    for i in 0..<5000 { config.layers.append(.init(blob: blob, parent: i - 1)) }
    for i in 0..<5000 { config.records.append(.init(results: [.init(layer: i, createdAt: .zero)], digest: Digest.sha256(of: "\(i)").description)) }
    #expect(throws: CacheFormatError.self) {
      var chains = CacheChains(maximumWork: 20_000_000)
      try config.add(to: &chains, blobs: [CacheRemote.Layer(descriptor: Descriptor(mediaType: .ociLayerGzip, digest: blob, size: 1))])
    }
  }
}
