import BuildInterface
import BuildSnapshots
import HostOS
import LayerArchive
import OCIModel
import TestSupport
import Testing

@testable import BuildOutputs

/// Archives that a real BuildKit wrote, with SOURCE_DATE_EPOCH=1700000000 (Golden/README.md has the commands). The same layers and frontend's configs give
/// the same archive here, byte for byte: configs, manifests, indexes, layouts and tar headers.
@Suite struct GoldenTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var type = "oci"
    var attributes: [String: String] = [:]
    var multi = false
    /// Lines of history that the base image brought.
    var base = 0
    var testDescription: String { name }
  }
  static let cases: [Case] = [
    Case(name: "single"), Case(name: "empty"),
    Case(name: "multi", attributes: ["name": "localhost:5000/me/app:1"], multi: true),
    Case(name: "docker", type: "docker", attributes: ["name": "me/app"]),
    Case(name: "two", attributes: ["oci-mediatypes": "false", "annotation.a": "b"]),
    Case(
      name: "annotated",
      attributes: [
        "annotation.x": "1", "annotation-index.y": "2", "annotation-manifest[linux/arm/v7].z": "3", "annotation-manifest-descriptor.d": "4",
        "annotation-index-descriptor.e": "5", "compression": "zstd",
      ], multi: true),
    Case(name: "on", base: 2),
  ]

  @Test(arguments: cases) func equalsBuildKits(_ test: Case) async throws {
    let golden = try Golden.bytes(test.name + ".tar")
    try await ExportBench.run { bench in
      let tar = try ReadTar(golden)
      func blob(_ json: JSONValue?) throws -> [UInt8] {
        let digest = try Digest(parsing: json?["digest"]?.stringValue ?? "")
        return try #require(tar.contents["blobs/sha256/" + digest.hex])
      }
      let index = try #require(tar.contents["index.json"])
      let top = try #require(try JSONValue(parsing: index)["manifests"]?.arrayValue?.first)
      let manifests = test.multi ? try JSONValue(parsing: blob(top))["manifests"]?.arrayValue ?? [] : [top]
      var targets: [ExportSource.Target] = []
      for entry in manifests {
        let manifest = try JSONValue(parsing: blob(entry))
        let layers = try (manifest["layers"]?.arrayValue ?? []).map { (bytes: try blob($0), type: MediaType.ociLayerGzip) }
        let config = try JSONValue(parsing: blob(manifest["config"]))
        let platform = try Platform(json: #require(entry["platform"]))
        var target = ExportSource.Target(
          id: platform.description, platform: platform, ref: try await bench.ref(layers: layers), imageConfig: Self.asFrontend(config, base: test.base).encoded())
        if test.base > 0 {
          target.baseImageConfig = JSONValue.object(
            JSONObject([
              ("architecture", "amd64"), ("os", "linux"), ("history", .array(Array((config["history"]?.arrayValue ?? []).prefix(test.base)))),
            ])
          ).encoded()
        }
        targets.append(target)
      }
      let path = bench.scratch.file("out.tar")
      let response = try await bench.export(
        test.type, test.attributes, ExportSource(targets: targets, isMultiPlatform: test.multi, sourceDateEpoch: 1_700_000_000), to: .file(path: path))
      let made = try bench.scratch.read("out.tar")
      let mine = try ReadTar(made)
      #expect(mine.entries.map(\.path.text) == tar.entries.map(\.path.text))
      for (name, content) in tar.contents { #expect(mine.contents[name].map { String(decoding: $0, as: UTF8.self) } == String(decoding: content, as: UTF8.self)) }
      #expect(made == golden)
      #expect(response["containerimage.digest"] == top["digest"]?.stringValue)
      #expect((response["containerimage.config.digest"] == nil) == test.multi)
      for target in targets { await target.ref?.release() }
    }
  }

  /// What the exporter did to the config taken back: times, layers and the order of the members.
  private static func asFrontend(_ config: JSONValue, base: Int) -> JSONValue {
    var out = JSONObject()
    for key in ["variant", "os", "architecture", "config"] { out[key] = config[key] }
    out["rootfs"] = ["type": "layers", "diff_ids": .null]
    out["history"] = .array(
      (config["history"]?.arrayValue ?? []).enumerated().map { i, line in
        guard i >= base, var object = line.objectValue else { return line }
        object["created"] = nil
        return .object(object)
      })
    return .object(out)
  }

  /// The same tree gives BuildKit's `type=tar`.
  @Test(.enabled(if: HostFacts.isRoot, "SKIPPED: files of several owners need root"), arguments: [("tree1", ["linux/amd64"]), ("tree", ["linux/amd64", "linux/arm/v7"])])
  func treeEqualsBuildKits(_ name: String, _ platforms: [String]) async throws {
    let golden = try Golden.bytes(name + ".tar"), plain = try Golden.bytes("tree1.tar")
    try await ExportBench.run { bench in
      let ref = try await bench.ref { root in _ = try LayerApplier(form: .plain).apply(BytesSource(plain), to: root) }
      let targets = try platforms.map { try ExportSource.Target($0, ref) }
      try await bench.export(
        "tar", [:], ExportSource(targets: targets, isMultiPlatform: targets.count > 1, sourceDateEpoch: 1_700_000_000), to: .file(path: bench.scratch.file("out.tar")))
      #expect(try bench.scratch.read("out.tar") == golden)
      await ref.release()
    }
  }
}
