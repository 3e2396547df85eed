import BuildInterface
import OCIModel
import Testing

@testable import BuildOutputs

@Suite struct OptionTests {
  static let good: [(type: String, attributes: [String: String])] = [
    ("image", [:]), ("image", ["name": "me/app:1,other/app", "push": "", "store": "1"]), ("registry", ["name": "localhost:5000/app"]),
    ("image", ["name": "app", "push-by-digest": "true", "name-canonical": "true", "push": "true"]),
    ("image", ["unpack": "false", "registry.insecure": "false", "dangling-name-prefix": ""]),
    ("oci", ["compression": "estargz", "rewrite-timestamp": "true"]), ("oci", ["tar": "false", "compression": "zstd", "compression-level": "19", "force-compression": ""]),
    ("oci", ["annotation.a.b": "c", "annotation-index.x": "", "annotation-manifest[linux/arm64].y": "z", "source-date-epoch": ""]),
    ("docker", ["name": "app", "oci-mediatypes": "false"]), ("local", ["platform-split": "false", "mode": "copy"]), ("tar", ["source-date-epoch": "0"]),
  ]
  @Test(arguments: good.indices) func accepts(_ i: Int) throws {
    _ = try Exporters.make(ExportRequest(type: Self.good[i].type, attributes: Self.good[i].attributes))
  }

  static let bad: [(type: String, attributes: [String: String], says: String)] = [
    ("moby", [:], "no output has the type \"moby\""),
    ("image", ["nmae": "x"], "has no attribute \"nmae\""),
    ("image", ["push": "maybe"], "push is \"maybe\", not true or false"),
    ("registry", [:], "needs a name"),
    ("image", ["name": "App"], "lowercase"),
    ("image", ["name": "app:1", "push": "true", "push-by-digest": "true"], "without a tag"),
    
    ("oci", ["compression": "estargz", "oci-mediatypes": "false"], "contradicts oci-mediatypes=false"),
    ("oci", ["compression": "lz4"], "expected gzip, zstd, estargz or uncompressed"),
    ("oci", ["compression-level": "12"], "for gzip it is -1 to 9"),
    ("oci", ["annotation-foo.x": "1"], "unknown kind"),
    ("oci", ["annotationx": "1"], "is no annotation"),
    ("oci", ["annotation[nowhere/at/all/x].x": "1"], "annotation[nowhere/at/all/x].x"),
    ("oci", ["oci-artifact": "true", "oci-mediatypes": "false"], "contradicts"),
    ("local", ["mode": "mirror"], "expected copy or delete"),
    ("tar", ["source-date-epoch": "soon"], "not seconds since 1970"),
  ]
  @Test(arguments: bad.indices) func refuses(_ i: Int) throws {
    let error = #expect(throws: BuildError.self) { _ = try Exporters.make(ExportRequest(type: Self.bad[i].type, attributes: Self.bad[i].attributes)) }
    #expect(error.map { "\($0)".contains(Self.bad[i].says) } == true, "\(error.map { "\($0)" } ?? "")")
    #expect(error?.domain == .usage)
  }

  @Test func unknownAttributeNamesTheKnown() {
    let error = #expect(throws: BuildError.self) { _ = try Exporters.make(ExportRequest(type: "tar", attributes: ["x": "1"])) }
    #expect(error?.suggestion == "its attributes are attestation-prefix, platform-split, source-date-epoch")
  }
}

@Suite struct HistoryTests {
  typealias Line = ImageConfig.History
  static func time(_ n: Int64) -> Timestamp { Timestamp(seconds: n) }
  static func layer(_ n: Int64) -> ImageConfigPatch.Layer { ImageConfigPatch.Layer(diffID: .sha256(of: "\(n)"), description: "layer \(n)", created: time(n)) }

  /// Times as BuildKit's normalizeLayersAndHistory gives them; by hand from its source.
  @Test func everyLineHasATime() {
    let patch = ImageConfigPatch(layers: [Self.layer(100), Self.layer(200)])
    let lines = patch.normalized([
      Line(created: Self.time(50), createdBy: "base"), Line(created: Self.time(51), createdBy: "base env", emptyLayer: true), Line(createdBy: "ENV", emptyLayer: true),
      Line(createdBy: "RUN"), Line(createdBy: "CMD", emptyLayer: true),
    ])
    #expect(lines.map { $0.created?.seconds } == [50, 51, 200, 200, 200])
  }

  @Test func layersWithoutLinesGetThem() {
    let patch = ImageConfigPatch(layers: [Self.layer(1), Self.layer(2), Self.layer(3)])
    let lines = patch.normalized([Line(createdBy: "a")])
    #expect(lines.map(\.createdBy) == ["a", "layer 2", "layer 3"])
    #expect(lines.map { $0.created?.seconds } == [1, 2, 3])
    #expect(lines[1].comment == "buildkit.exporter.image.v0")
  }

  @Test func linesWithoutLayersAreEmpty() {
    let lines = ImageConfigPatch(layers: [Self.layer(1)]).normalized([Line(createdBy: "a"), Line(createdBy: "b"), Line(createdBy: "c", emptyLayer: true)])
    #expect(lines.map(\.emptyLayer) == [false, true, true])
  }

  @Test func anEpochSparesTheBase() throws {
    let base = [Line(created: Self.time(5000), createdBy: "base")]
    let patch = ImageConfigPatch(layers: [Self.layer(9000), Self.layer(9001)], epoch: Self.time(1000), baseHistory: base)
    let config = #"{"os":"linux","architecture":"amd64","zzz":[1.50],"created":"1970-01-01T02:00:00Z","history":[{"created":"1970-01-01T01:23:20Z","created_by":"base"},{"created_by":"RUN <x>"}]}"#
    let bytes = try patch.apply(to: Array(config.utf8), platform: Platform(os: "linux", architecture: "amd64"))
    let ids = patch.layers.map { "\"\($0.diffID)\"" }.joined(separator: ",")
    #expect(
      String(decoding: bytes, as: UTF8.self)
        == #"{"architecture":"amd64","created":"1970-01-01T00:16:40Z","history":[{"created":"1970-01-01T01:23:20Z","created_by":"base"},"#
        + #"{"created":"1970-01-01T00:16:40Z","created_by":"RUN \u003cx\u003e"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["# + ids + #"]},"zzz":[1.50]}"#)
  }

  @Test(arguments: [#"{"os":"linux"}"#, #"{"architecture":"amd64"}"#, "[]", "null", "{", #"{"os":"linux","architecture":"amd64","created":"yesterday"}"#])
  func refusesConfigs(_ text: String) {
    #expect(throws: BuildError.self) { try ImageConfigPatch(layers: []).apply(to: Array(text.utf8), platform: Platform(os: "linux", architecture: "amd64")) }
  }

  @Test func anEmptyConfigBecomesTheDefault() throws {
    let bytes = try ImageConfigPatch(layers: []).apply(to: [], platform: Platform(os: "linux", architecture: "arm", variant: "v7"))
    #expect(
      String(decoding: bytes, as: UTF8.self)
        == #"{"architecture":"arm","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"created":null,"history":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null},"variant":"v7"}"#)
  }
}
