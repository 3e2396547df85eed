import LayerArchive
import OCIModel
import TestSupport

/// An image as only a stranger would make it, and what the program makes of a build on it.
struct HostileImage: Sendable, CustomStringConvertible {
  enum Outcome: Sendable {
    case builds
    /// Ends with an error that says these.
    case fails([String])
  }
  typealias Layer = (bytes: [UInt8], type: MediaType)

  let description: String
  var layers: [Layer] = []
  /// What the config says that the layers are; nil is the truth.
  var diffIDs: [Digest]?
  /// Members of the config and of its `config`, over the usual ones.
  var config: [(String, JSONValue)] = []
  var run: [(String, JSONValue)] = []
  /// Last changes to the texts of config, manifest and index; an index is made when there is a change to it.
  var configText: (@Sendable (String) -> String)?
  var manifestText: (@Sendable (String) -> String)?
  var indexText: (@Sendable (String) -> String)?
  /// What the manifest (or index) is served as.
  var servedAs: MediaType?
  /// The bytes that the registry really has for the last layer or the config.
  var falseLayer: [UInt8]?
  var falseConfig: [UInt8]?
  var withoutLayers = false
  var environment: [String: String] = [:]
  var outcome: Outcome

  init(_ description: String, _ outcome: Outcome, _ change: (inout HostileImage) throws -> Void) {
    (self.description, self.outcome) = (description, outcome)
    do { try change(&self) } catch { self.outcome = .fails(["the case could not be made: \(error)"]) }
  }

  /// A layer of entries.
  mutating func layer(_ entries: [TarEntry], compression: Compression = .gzip, content: Int = 0) throws {
    let sink = BytesSink()
    let compressor = try compression.compressor(into: sink)
    let writer = TarWriter(compressor)
    for entry in entries {
      var entry = entry
      if entry.kind == .file { entry.size = Int64(content) }
      try writer.begin(entry)
      if entry.kind == .file, content > 0 { try [UInt8](repeating: 0, count: content).withUnsafeBytes { try writer.write($0) } }
    }
    try writer.finish()
    layers.append((sink.bytes, compression.mediaType()))
  }

  /// Puts it all into the registry as `repository:1`.
  func serve(_ registry: TestRegistry, as repository: String) throws {
    let real = try layers.map { layer in
      (try? Digest.sha256(of: DetectingSource(BytesSource(layer.bytes)).readToEnd(limit: 64 << 20))) ?? Digest.sha256(of: layer.bytes)
    }
    let ids = JSONValue.array((diffIDs ?? real).map { .string($0.description) })
    var members: [(String, JSONValue)] = [("architecture", "amd64"), ("os", "linux"), ("config", .object(JSONObject(run))), ("rootfs", .object(JSONObject([("type", "layers"), ("diff_ids", ids)])))]
    for member in config { if let at = members.firstIndex(where: { $0.0 == member.0 }) { members[at] = member } else { members.append(member) } }
    var text = JSONValue.object(JSONObject(members)).encodedString()
    if let configText { text = configText(text) }
    let configDescriptor = Descriptor(mediaType: .ociConfig, of: Array(text.utf8))
    registry.addBlob(falseConfig ?? Array(text.utf8), as: configDescriptor.digest, to: repository)
    var descriptors: [Descriptor] = []
    for (i, layer) in layers.enumerated() {
      let descriptor = Descriptor(mediaType: layer.type, of: layer.bytes)
      descriptors.append(descriptor)
      if withoutLayers { continue }
      registry.addBlob(i == layers.count - 1 ? falseLayer ?? layer.bytes : layer.bytes, as: descriptor.digest, to: repository)
    }
    // Compact, so that the changes need not know how it is set.
    var manifest = try JSONValue(parsing: ImageManifest(mediaType: .ociManifest, config: configDescriptor, layers: descriptors).encoded).encodedString()
    if let manifestText { manifest = manifestText(manifest) }
    registry.addManifest(Array(manifest.utf8), type: (indexText == nil ? servedAs ?? .ociManifest : .ociManifest).rawValue, tag: indexText == nil ? "1" : nil, to: repository)
    guard let indexText else { return }
    let entry = Descriptor(mediaType: .ociManifest, of: Array(manifest.utf8), platform: Platform(os: "linux", architecture: "amd64"))
    let index = indexText(try JSONValue(parsing: ImageIndex(mediaType: .ociIndex, manifests: [entry]).encoded).encodedString())
    registry.addManifest(Array(index.utf8), type: (servedAs ?? .ociIndex).rawValue, tag: "1", to: repository)
  }
}

enum HostileImages {
  static let marker = "manifold-hostile-pwned"
  static func file(_ path: String, mode: UInt32 = 0o644) -> TarEntry { TarEntry(path: ByteString(Array(path.utf8)), mode: mode) }
  static func link(_ path: String, _ target: String) -> TarEntry { TarEntry(path: ByteString(Array(path.utf8)), kind: .symbolicLink, linkTarget: ByteString(Array(target.utf8))) }
  static func hard(_ path: String, _ target: String) -> TarEntry { TarEntry(path: ByteString(Array(path.utf8)), kind: .hardLink, linkTarget: ByteString(Array(target.utf8))) }
  static func node(_ path: String, _ kind: TarEntry.Kind, _ major: Int64, _ minor: Int64) -> TarEntry { TarEntry(path: ByteString(Array(path.utf8)), kind: kind, deviceMajor: major, deviceMinor: minor) }
  /// One layer, of each image its own: the store knows layers by their content.
  static let plain: @Sendable (inout HostileImage) throws -> Void = { try $0.layer([file("ok"), file($0.description)]) }

  static let table: [HostileImage] = layers + compressed + contents + manifests + configs

  static let layers: [HostileImage] = [
    HostileImage("names that lead out", .builds) { try $0.layer([file("../../../../../../../../tmp/\(marker)"), file("/\(marker)"), file("a/../../../../\(marker)")]) },
    HostileImage("through a link of the layer below", .builds) { try $0.layer([link("out", "/tmp"), link("up", "../../../../../../tmp")]); try $0.layer([file("out/\(marker)"), file("up/\(marker)")]) },
    HostileImage("through a link of its own", .builds) { try $0.layer([link("out", "/"), file("out/\(marker)"), link("tmp", "/tmp/../tmp"), file("tmp2")]) },
    HostileImage("a hard link to /etc/passwd", .fails(["hard link's target /etc/passwd is not there"])) { try $0.layer([hard("h", "/etc/passwd")]) },
    HostileImage("a hard link out of the root", .fails(["hard link's target"])) { try $0.layer([hard("h", "../../../../../../../../etc/passwd")]) },
    HostileImage("whiteouts that lead out", .builds) { try $0.layer([file("a")]); try $0.layer([file("../../../../.wh.tmp"), file(".wh..wh..opq")]) },
    HostileImage("a whiteout of ..", .fails(["a whiteout that names nothing"])) { try $0.layer([file("d/.wh...")]) },
    HostileImage("devices, fifos, setuid", .builds) { try $0.layer([node("sda", .blockDevice, 8, 0), node("mem", .characterDevice, 1, 1), node("p", .fifo, 0, 0), file("su", mode: 0o6777)]) },
    HostileImage("too deep", .fails(["deeper than 256 directories"])) { try $0.layer([file(String(repeating: "a/", count: 10_000) + "f")]) },
    HostileImage("links in a circle", .fails(["too many symbolic links"])) { try $0.layer([link("a", "b"), link("b", "a"), file("a/x")]) },
    HostileImage("a name with escapes", .fails(["hard link's target"])) { try $0.layer([hard("\u{1b}]0;title\u{7}\u{1b}[2Jx\u{9b}31m\n#1 DONE", "no\u{1b}[31mne")]) },
    HostileImage("words to the overlay", .builds) {
      var directory = TarEntry(path: "o", kind: .directory, mode: 0o755)
      directory.xattrs = ["trusted.overlay.redirect": Array("/".utf8), "user.overlay.opaque": [121]]
      try $0.layer([directory, file("o/f")])
    },
    HostileImage("a file of 8 EiB that is a hole", .fails(["unpacks to more than 1 TiB", "MANIFOLD_MAX_LAYER_SIZE"])) { try $0.layer([TarEntry(path: "hole", size: .max, sparse: [])], compression: .none, content: 0); $0.layers = [(hole("9223372036854775807"), .ociLayer)] },
  ]

  /// A tar archive of one hole.
  static func hole(_ size: String) -> [UInt8] {
    let record = "GNU.sparse.size=\(size)\n"
    let records = "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n\(record.utf8.count + 3) \(record)22 GNU.sparse.map=0,0\n"
    var pax = RandomImage.layer(name: "pax", Array(records.utf8))
    pax[156] = UInt8(ascii: "x")
    for i in 148..<156 { pax[i] = 32 }
    let sum = String(pax[..<512].reduce(0) { $0 + Int($1) }, radix: 8)
    for (i, c) in (String(repeating: "0", count: 6 - sum.count) + sum).utf8.enumerated() { pax[148 + i] = c }
    pax[154] = 0
    return Array(pax.dropLast(1024)) + RandomImage.layer(name: "hole", [])
  }

  static let compressed: [HostileImage] = [
    HostileImage("a gzip bomb", .fails(["cannot unpack the layer sha256:", "unpacks to more than 1 MiB", "MANIFOLD_MAX_LAYER_SIZE"])) { try $0.layer([file($0.description)], content: 4 << 20); $0.environment = ["MANIFOLD_MAX_LAYER_SIZE": "1MiB"] },
    HostileImage("a zstd bomb", .fails(["unpacks to more than 1 MiB"])) { try $0.layer([file($0.description)], compression: .zstd, content: 4 << 20); $0.environment = ["MANIFOLD_MAX_LAYER_SIZE": "1m"] },
    HostileImage("the same, allowed", .builds) { try $0.layer([file($0.description)], content: 4 << 20); $0.environment = ["MANIFOLD_MAX_LAYER_SIZE": "5MB"] },
    HostileImage("gzip cut short", .fails(["cannot unpack the layer", "ends in the middle"])) { try $0.layer([file("x")], content: 9000); $0.layers[0].bytes.removeLast(20) },
    HostileImage("gzip that is none", .fails(["cannot unpack the layer"])) { try $0.layer([file("x")]); $0.layers[0].bytes = [0x1f, 0x8b, 8, 0] + [UInt8](repeating: 0xff, count: 400) },
    HostileImage("no archive at all", .fails(["cannot unpack the layer", "tar"])) { $0.layers = [([UInt8](repeating: 0x41, count: 4096), .ociLayer)] },
    HostileImage("xz", .fails(["compressed with xz"])) { $0.layers = [([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2], .ociLayerGzip)] },
    HostileImage("zstd that is called gzip", .builds) { try $0.layer([file($0.description)], compression: .zstd); $0.layers[0].type = .ociLayerGzip },
  ]

  static let contents: [HostileImage] = [
    HostileImage("a layer that is not the config's", .fails(["not sha256:", "as its image's config says"])) { try plain(&$0); $0.diffIDs = [Digest.sha256(of: "another")] },
    HostileImage("more layers than the config has", .fails(["its manifest has 2 layers, its config 1"])) { try plain(&$0); try $0.layer([file("2")]); $0.diffIDs = [Digest.sha256(of: "a")] },
    HostileImage("fewer layers than the config has", .fails(["its manifest has 1 layers, its config 2"])) { try plain(&$0); $0.diffIDs = [Digest.sha256(of: "a"), Digest.sha256(of: "b")] },
    // As BuildKit has it: an image whose config has no layers is an empty one.
    HostileImage("a config without layers", .builds) { try plain(&$0); $0.diffIDs = [] },
    HostileImage("a layer of other bytes", .fails(["sent other content"])) { try plain(&$0); $0.falseLayer = [UInt8](repeating: 7, count: $0.layers[0].bytes.count) },
    HostileImage("a layer with more bytes than said", .fails(["its manifest says"])) { try plain(&$0); $0.falseLayer = $0.layers[0].bytes + [0] },
    HostileImage("a layer with fewer bytes than said", .fails(["its manifest says"])) { try plain(&$0); $0.falseLayer = Array($0.layers[0].bytes.dropLast()) },
    HostileImage("a layer that is not there", .fails(["404"])) { try plain(&$0); $0.withoutLayers = true },
    HostileImage("a config of other bytes", .fails(["has 300 bytes, its manifest says"])) { try plain(&$0); $0.configText = { $0 + " " }; $0.falseConfig = [UInt8](repeating: 0x20, count: 300) },
    HostileImage("one layer five times", .builds) { try plain(&$0); $0.layers = Array(repeating: $0.layers[0], count: 5) },
    HostileImage("a foreign layer", .fails([])) { try plain(&$0); $0.withoutLayers = true; $0.manifestText = { $0.replacing("\"size\":", with: "\"urls\":[\"file:///etc/passwd\",\"http://127.0.0.1:1/x\"],\"size\":") } },
  ]

  static let manifests: [HostileImage] = [
    HostileImage("an index served as a manifest", .fails(["but it is an index"])) { try plain(&$0); $0.indexText = { $0.replacing(",\"mediaType\":\"application/vnd.oci.image.index.v1+json\"", with: "") }; $0.servedAs = .ociManifest },
    HostileImage("a manifest served as an index", .fails(["but it is a manifest"])) { try plain(&$0); $0.manifestText = { $0.replacing("\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",", with: "") }; $0.servedAs = .ociIndex },
    HostileImage("both at once", .fails(["both an index and a manifest"])) { try plain(&$0); $0.manifestText = { $0.dropLast() + ",\"manifests\":[]}" } },
    HostileImage("one name twice", .fails(["duplicate member"])) { try plain(&$0); $0.manifestText = { $0.dropLast() + ",\"layers\":[]}" } },
    HostileImage("a name in capitals", .fails(["Layers"])) { try plain(&$0); $0.manifestText = { $0.dropLast() + ",\"Layers\":[]}" } },
    HostileImage("too deep", .fails(["deep"])) { try plain(&$0); $0.manifestText = { $0.dropLast() + ",\"x\":" + String(repeating: "[", count: 5000) + String(repeating: "]", count: 5000) + "}" } },
    HostileImage("schema 1", .fails(["schema version 1"])) { try plain(&$0); $0.manifestText = { $0.replacing("\"schemaVersion\":2", with: "\"schemaVersion\":1") } },
    HostileImage("a size below zero", .fails(["size"])) { try plain(&$0); $0.manifestText = { $0.replacing("\"size\":", with: "\"size\":-") } },
    HostileImage("5000 layers", .fails(["5000 entries are more than the limit of 4096"])) {
      try plain(&$0)
      $0.manifestText = { text in
        let layer = "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"\(Digest.sha256(of: "x"))\",\"size\":1}"
        guard let open = text.firstRange(of: "\"layers\":[") else { return text }
        return text[..<open.upperBound] + Array(repeating: layer, count: 5000).joined(separator: ",") + "]}"
      }
    },
    HostileImage("more than 4 MiB", .fails(["larger than"])) { try plain(&$0); $0.manifestText = { $0.dropLast() + ",\"x\":\"" + String(repeating: "y", count: 5 << 20) + "\"}" } },
    HostileImage("an index that names itself", .fails(["digest"])) { try plain(&$0); $0.indexText = { text in text.replacing(/sha256:[0-9a-f]{64}/, with: Digest.sha256(of: text).description) }; $0.servedAs = .ociIndex; $0.outcome = .fails(["404"]) },
    HostileImage("a platform with escapes", .fails(["linux/amd64"])) { try plain(&$0); $0.indexText = { $0.replacing("\"amd64\"", with: "\"\\u001b]0;x\\u0007\\u001b[2Jarm\\u009b31m\"") } },
    HostileImage("an unknown kind of layer", .builds) { try plain(&$0); $0.manifestText = { $0.replacing("application/vnd.oci.image.layer.v1.tar+gzip", with: "application/x-evil") } },
    HostileImage("a digest that is a path", .fails(["digest"])) { try plain(&$0); $0.manifestText = { $0.replacing("sha256:", with: "sha256:../../../../../../etc/passwd#") } },
  ]

  static let configs: [HostileImage] = [
    HostileImage("a config that is no JSON", .fails([])) { try plain(&$0); $0.configText = { _ in "#!/bin/sh" } },
    HostileImage("a config of 9 MiB", .fails(["larger than"])) { try plain(&$0); $0.config = [("x", .string(String(repeating: "y", count: 9 << 20)))] },
    HostileImage("an environment that is a number", .fails(["Env"])) { try plain(&$0); $0.run = [("Env", 5)] },
    HostileImage("an environment of odd strings", .builds) { try plain(&$0); $0.run = [("Env", ["", "=", "A", "=b", "PATH=../../..", "X=\u{1b}[2J\n"])] },
    HostileImage("a working directory that leads out", .builds) { try plain(&$0); $0.run = [("WorkingDir", .string("../../../../../../tmp/\(marker)"))] },
    HostileImage("volumes that lead out", .builds) { try plain(&$0); $0.run = [("Volumes", .object(JSONObject([("../../../../tmp/\(marker)", [:]), ("", [:])])))] },
    HostileImage("triggers that no Dockerfile has", .fails(["Dockerfile:1"])) { try plain(&$0); $0.run = [("OnBuild", ["ONBUILD ONBUILD RUN \u{1b}[2Jx"])] },
    HostileImage("a trigger that is FROM", .fails(["Dockerfile:1"])) { try plain(&$0); $0.run = [("OnBuild", ["FROM scratch"])] },
    HostileImage("a history that does not fit", .builds) { try plain(&$0); $0.config = [("history", [["created_by": "\u{1b}[2Jx"], ["created_by": "y"], ["created_by": "z"]])] },
    HostileImage("a time that is none", .fails(["invalid time"])) { try plain(&$0); $0.config = [("created", "yesterday\u{1b}[2J")] },
    HostileImage("labels with escapes", .builds) { try plain(&$0); $0.run = [("Labels", .object(JSONObject([("a\u{1b}[2J", .string("b\u{9b}31m\n"))])))] },
  ]
}
