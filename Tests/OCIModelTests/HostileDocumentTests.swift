import OCIModel
import Testing

/// Documents as only a stranger would write them.
@Suite struct HostileDocumentTests {
  static let digest = Digest.sha256(of: "x").description
  static let blob = "{\"mediaType\":\"a/b\",\"digest\":\"\(digest)\",\"size\":1}"

  func index(_ members: String) throws -> ImageDocument { try ImageDocument(parsing: Array("{\"schemaVersion\":2,\(members)}".utf8), mediaType: .ociIndex) }
  func manifest(_ members: String) throws -> ImageDocument { try ImageDocument(parsing: Array("{\"schemaVersion\":2,\(members)}".utf8), mediaType: .ociManifest) }

  @Test func theGoodOnesAreRead() throws {
    _ = try index("\"manifests\":[\(Self.blob)],\"annotations\":null,\"x\":{\"manifests\":[]}")
    _ = try manifest("\"config\":\(Self.blob),\"layers\":null,\"subject\":null")
    _ = try ImageConfig(parsing: Array("{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Env\":null,\"Cmd\":null,\"Healthcheck\":null},\"history\":null,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":null}}".utf8))
  }

  @Test(arguments: [
    // Another type than it should be.
    "\"manifests\":{}", "\"manifests\":\"\"", "\"manifests\":[1]", "\"manifests\":[[]]", "\"manifests\":[null]", "\"manifests\":[{}]", "\"manifests\":[],\"annotations\":[]", "\"manifests\":[],\"annotations\":{\"a\":1}",
    "\"manifests\":[],\"mediaType\":1", "\"manifests\":[],\"artifactType\":{}", "\"manifests\":[],\"subject\":[]", "\"manifests\":[],\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
    "\"manifests\":[\(blob.replacing(":1}", with: ":\"1\"}"))]", "\"manifests\":[\(blob.replacing(":1}", with: ":1.5}"))]", "\"manifests\":[\(blob.replacing(":1}", with: ":-1}"))]",
    "\"manifests\":[\(blob.replacing(":1}", with: ":1e3}"))]", "\"manifests\":[\(blob.replacing(":1}", with: ":9223372036854775808}"))]", "\"manifests\":[\(blob.replacing("sha256", with: "md5"))]",
    "\"manifests\":[\(blob.replacing(":1}", with: ":1,\"platform\":1}"))]", "\"manifests\":[\(blob.replacing(":1}", with: ":1,\"platform\":{\"os\":[\"linux\"]}}"))]",
    "\"manifests\":[\(blob.replacing(":1}", with: ":1,\"platform\":{\"os.features\":[1]}}"))]", "\"manifests\":[\(blob.replacing(":1}", with: ":1,\"urls\":\"http://x\"}"))]", "\"manifests\":[\(blob.replacing(":1}", with: ":1,\"data\":5}"))]",
    // Both kinds in one; the same name twice, also where another reader folds its case.
    "\"manifests\":[],\"layers\":[]", "\"manifests\":[],\"config\":null", "\"manifests\":[],\"manifests\":[]", "\"manifests\":[],\"Manifests\":[]", "\"manifests\":[],\"LAYERS\":[]", "\"manifests\":[],\"Config\":{}",
    "\"manifests\":[],\"manife\u{17f}ts\":[]", "\"manifests\":[\(blob.replacing(":1}", with: ":1,\"Digest\":\"\(digest)\"}"))]",
    // Too deep.
    "\"manifests\":[],\"x\":" + String(repeating: "[", count: 65) + String(repeating: "]", count: 65), "\"manifests\":[],\"x\":" + String(repeating: "{\"a\":", count: 70) + "1" + String(repeating: "}", count: 70),
  ])
  func indexesAreRefused(_ members: String) { #expect(throws: OCIError.self) { try index(members) } }

  @Test(arguments: [
    "\"layers\":[]", "\"config\":null,\"layers\":[]", "\"config\":[],\"layers\":[]", "\"config\":\(blob),\"layers\":{}", "\"config\":\(blob),\"layers\":[\"\(digest)\"]", "\"config\":\(blob),\"layers\":[],\"manifests\":[]",
    "\"config\":\(blob),\"layers\":[],\"manifests\":null", "\"config\":\(blob),\"Layers\":[]", "\"config\":\(blob),\"layers\":[],\"schemaversion\":1", "\"config\":\(blob),\"layers\":[],\"annotations\":\"\"",
  ])
  func manifestsAreRefused(_ members: String) { #expect(throws: OCIError.self) { try manifest(members) } }

  @Test(arguments: [
    "[]", "1", "{\"os\":1}", "{\"architecture\":null,\"config\":[]}", "{\"rootfs\":[]}", "{\"rootfs\":{\"diff_ids\":\"x\"}}", "{\"rootfs\":{\"diff_ids\":[1]}}", "{\"rootfs\":{\"diff_ids\":[\"sha256:1\"]}}", "{\"history\":{}}",
    "{\"history\":[1]}", "{\"history\":[{\"empty_layer\":\"no\"}]}", "{\"history\":[{\"created\":5}]}", "{\"created\":\"yesterday\"}", "{\"config\":{\"Env\":\"A=b\"}}", "{\"config\":{\"Env\":[1]}}", "{\"config\":{\"Cmd\":\"sh\"}}",
    "{\"config\":{\"Cmd\":{\"0\":\"sh\"}}}", "{\"config\":{\"User\":0}}", "{\"config\":{\"Labels\":[]}}", "{\"config\":{\"ExposedPorts\":[\"80\"]}}", "{\"config\":{\"Volumes\":\"/v\"}}", "{\"config\":{\"Healthcheck\":[]}}",
    "{\"config\":{\"Healthcheck\":{\"Test\":\"x\"}}}", "{\"config\":{\"Healthcheck\":{\"Interval\":\"5s\"}}}", "{\"config\":{},\"config\":{}}",
  ])
  func configsAreRefused(_ text: String) { #expect(throws: OCIError.self) { try ImageConfig(parsing: Array(text.utf8)) } }

  @Test func tooMuchIsRefused() {
    #expect(throws: OCIError.self) { try ImageDocument(parsing: [UInt8](repeating: 0x20, count: DocumentLimits.manifest + 1), mediaType: .ociIndex) }
    #expect(throws: OCIError.self) { try ImageConfig(parsing: [UInt8](repeating: 0x20, count: DocumentLimits.config + 1)) }
    let many = Array(repeating: Self.blob, count: DocumentLimits.descriptors + 1).joined(separator: ",")
    #expect(throws: OCIError.self) { try index("\"manifests\":[\(many)]") }
  }

  /// What fills a document to its limit is read, or refused, and written again in a time that grows with its size.
  @Test func fullDocumentsCostLittle() throws {
    let start = ContinuousClock.now
    let members = (0..<200_000).map { "\"u\($0)\":1" }.joined(separator: ",")
    guard case .index(let read) = try index("\"manifests\":[],\(members)") else { return }
    #expect(read.unknown.members.count == 200_000)
    #expect(try JSONValue(parsing: read.encoded).objectValue?.members.count == 200_003)
    _ = try? index("\"manifests\":[],\"x\":[" + String(repeating: "[],", count: 1_000_000) + "[]]")
    #expect(ContinuousClock.now - start < .seconds(60))
  }

  /// Good documents with a few bytes changed: read or refused, never a crash; and what was read is written as it was.
  @Test func mutatedDocuments() throws {
    let config = "{\"created\":\"2024-01-01T00:00:00Z\",\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\",\"config\":{\"Env\":[\"A=b\"],\"Labels\":{\"a\":\"b\"},\"ExposedPorts\":{\"80/tcp\":{}},\"Healthcheck\":{\"Interval\":5}},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"\(Self.digest)\"]},\"history\":[{\"empty_layer\":true}]}"
    let platform = Self.blob.replacing(":1}", with: ":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\",\"os.features\":[\"x\"]},\"annotations\":{\"a\":\"\\u00e9\"}}")
    let documents: [(String, MediaType?)] = [
      (config, nil), ("{\"schemaVersion\":2,\"manifests\":[\(platform),\(Self.blob)],\"annotations\":{\"k\":\"v\"}}", .ociIndex), ("{\"schemaVersion\":2,\"config\":\(Self.blob),\"layers\":[\(Self.blob)]}", .dockerManifest),
    ]
    var state: UInt64 = 42
    func random(_ below: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % below
    }
    let alphabet = Array("{}[]\",:0189-+.eEtfnu\\ /\u{0}é".utf8)
    for round in 0..<6000 {
      let (text, type) = documents[round % documents.count]
      var bytes = Array(text.utf8)
      for _ in 0...random(4) {
        let at = random(bytes.count)
        switch random(4) {
        case 0: bytes[at] = alphabet[random(alphabet.count)]
        case 1: bytes.remove(at: at)
        case 2: bytes.insert(alphabet[random(alphabet.count)], at: at)
        default: bytes.replaceSubrange(at..<at, with: bytes[at..<min(bytes.count, at + random(30))])
        }
      }
      guard let type else {
        if let read = try? ImageConfig(parsing: bytes) { #expect(try ImageConfig(parsing: read.json.encoded()) == read) }
        continue
      }
      guard let read = try? ImageDocument(parsing: bytes, mediaType: type) else { continue }
      switch read {
      case .index(let index):
        guard case .index(let again) = try ImageDocument(parsing: index.encoded, mediaType: type) else { continue }
        #expect(again == index)
      case .manifest(let manifest):
        guard case .manifest(let again) = try ImageDocument(parsing: manifest.encoded, mediaType: type) else { continue }
        #expect(again == manifest)
      }
    }
  }
}
