import OCIModel
import Testing

@Suite struct IndexCompositionTests {
  private func entry(_ name: String, _ platform: String? = nil, type: MediaType = .ociManifest, annotations: [String: String] = [:]) throws -> Descriptor {
    Descriptor(mediaType: type, of: Array(name.utf8), annotations: annotations, platform: try platform.map { try Platform(parsing: $0) })
  }
  private func attestation(of image: Descriptor, _ name: String) throws -> Descriptor {
    var out = try entry(name, annotations: ["vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest.description])
    out.platform = Platform(os: "unknown", architecture: "unknown")
    return out
  }

  @Test func anEntryIsThereOnce() throws {
    var composition = IndexComposition()
    composition.add(try entry("a", annotations: ["x": "1", "y": "1"]))
    composition.add(try entry("b", "linux/arm64"))
    composition.add(try entry("a", "linux/amd64", annotations: ["y": "2"]))
    #expect(composition.entries.map { $0.platform?.description } == ["linux/amd64", "linux/arm64"])
    #expect(composition.entries[0].annotations == ["x": "1", "y": "2"])
  }

  @Test func dockersAloneMakeAManifestList() throws {
    #expect(IndexComposition([try entry("a", type: .dockerManifest)]).mediaType == .dockerManifestList)
    #expect(IndexComposition([try entry("a", type: .dockerManifest), try entry("b")]).mediaType == .ociIndex)
    #expect(IndexComposition([try entry("b")]).mediaType == .ociIndex)
  }

  @Test func attestationsStayWithTheirImages() throws {
    let amd = try entry("amd", "linux/amd64"), arm = try entry("arm", "linux/arm64")
    let composition = IndexComposition([amd, try attestation(of: amd, "p1"), arm, try attestation(of: arm, "p2")])
    #expect(composition.filtered(PlatformMatcher(anyOf: [try Platform(parsing: "linux/arm64")])) == Array(composition.entries[2...]))
    #expect(composition.imagesFirst == [0, 2, 1, 3].map { composition.entries[$0] })
    #expect(composition.filtered(PlatformMatcher(anyOf: [try Platform(parsing: "linux/386")])).isEmpty)
    #expect(IndexComposition.duplicatePlatforms(composition.entries).isEmpty)
  }

  @Test func duplicatesCountVersionAndVariant() throws {
    func windows(_ name: String, _ version: String) throws -> Descriptor {
      var out = try entry(name)
      out.platform = Platform(os: "windows", architecture: "amd64", osVersion: version)
      return out
    }
    let entries = [
      try entry("1", "linux/arm/v6"), try entry("2", "linux/arm/v7"), try windows("3", "10.0.17763.1"), try windows("4", "10.0.20348.1"), try entry("5", "linux/arm64"),
      try entry("6", "linux/aarch64"), try windows("7", "10.0.20348.1"),
    ]
    let found = IndexComposition.duplicatePlatforms(entries)
    #expect(found.map { $0.platform.fullDescription } == ["windows(10.0.20348.1)/amd64", "linux/arm64"])
    #expect(found.map(\.places) == [[3, 6], [4, 5]])
  }

  @Test(arguments: [
    ("a=b", "-|-|a|b"), ("index:a=b", "index|-|a|b"), ("index:a=", "index|-|a|"), ("manifest-descriptor[linux/arm64]:k=v=w:x", "manifest-descriptor|linux/arm64|k|v=w:x"),
    ("index,manifest-descriptor:a=b", "index|-|a|b manifest-descriptor|-|a|b"), ("manifest[linux/aarch64]:org.x/y=1", "manifest|linux/arm64|org.x/y|1"),
    ("index-descriptor:a:b=c", "index-descriptor|-|a:b|c"), ("a", nil), ("foo:a=b", nil), ("index[:a=b", nil), ("index[a/b/c/d]:a=b", nil), (":a=b", nil), ("index,:a=b", nil),
  ]) func annotations(_ text: String, _ expected: String?) throws {
    let parsed = try? IndexAnnotation.parse(text).map { "\($0.place?.rawValue ?? "-")|\($0.platform?.description ?? "-")|\($0.key)|\($0.value)" }.joined(separator: " ")
    #expect(parsed == expected)
  }

  @Test func annotationsForAPlatform() throws {
    var composition = IndexComposition([try entry("a", "linux/amd64"), try entry("b", "linux/arm64"), try entry("c")])
    for text in ["manifest-descriptor[linux/arm64]:k=v", "manifest-descriptor:all=1"] { for annotation in try IndexAnnotation.parse(text) { composition.annotate(annotation) } }
    #expect(composition.entries.map(\.annotations) == [["all": "1"], ["all": "1", "k": "v"], ["all": "1"]])
  }

  /// What docker manifest inspect (28.2) printed of such a list.
  @Test func asDockerWritesIt() throws {
    var one = Descriptor(mediaType: .dockerManifest, digest: try Digest(parsing: "sha256:8f4e630b3b304113adc115d11978f9307b915bf9a17aba9c79e8a878fbb7891f"), size: 426)
    one.platform = Platform(os: "linux", architecture: "arm64", variant: "v8", osVersion: "10.1", osFeatures: ["a", "b"])
    let expected = """
      {
         "schemaVersion": 2,
         "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
         "manifests": [
            {
               "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
               "size": 426,
               "digest": "sha256:8f4e630b3b304113adc115d11978f9307b915bf9a17aba9c79e8a878fbb7891f",
               "platform": {
                  "architecture": "arm64",
                  "os": "linux",
                  "os.version": "10.1",
                  "os.features": [
                     "a",
                     "b"
                  ],
                  "variant": "v8"
               }
            }
         ]
      }
      """
    #expect(String(decoding: ImageIndex(mediaType: .dockerManifestList, manifests: [one]).dockerEncoded, as: UTF8.self) == expected)
  }

  /// As Go's json.Indent and json.Compact (with its HTML escapes) lay these out.
  @Test(arguments: [
    (#" {"a" : [ ] ,"b":{ },"c":[1, {"d":"x\"y: ,<&>"}]} "# + "\n", "{\n\t\"a\": [],\n\t\"b\": {},\n\t\"c\": [\n\t\t1,\n\t\t{\n\t\t\t\"d\": \"x\\\"y: ,<&>\"\n\t\t}\n\t]\n} \n", #"{"a":[],"b":{},"c":[1,{"d":"x\"y: ,\u003c\u0026\u003e"}]}"#),
    ("{ \n  \"a\": 1\n}", "{\n\t\"a\": 1\n}", #"{"a":1}"#), ("[]", "[]", "[]"), (#""\\""#, #""\\""#, #""\\""#), ("[\"\u{2028}\u{a8}\"]", "[\n\t\"\u{2028}\u{a8}\"\n]", "[\"\\u2028\u{a8}\"]"), ("[1.50,-0,true,null]", "[\n\t1.50,\n\t-0,\n\ttrue,\n\tnull\n]", "[1.50,-0,true,null]"),
  ]) func text(_ source: String, _ indented: String, _ embedded: String) {
    #expect(String(decoding: JSONRelayout.indented(Array(source.utf8), "\t"), as: UTF8.self) == indented)
    #expect(String(decoding: JSONRelayout.embedded(Array(source.utf8)), as: UTF8.self) == embedded)
  }
}
