import HostOS
import LayerArchive
import OCIModel

/// An image for two versions of Windows, of layers as Microsoft's are: attributes in pax records, registry hives and a utility machine beside the files, whiteouts,
/// hard links, links. The layers that BuildKit made on it are in LayerArchiveTests/Golden/windows.
enum WindowsBase {
  static let versions = ["10.0.17763.5329", "10.0.20348.2227"]

  /// Writes it as an OCI layout, under "latest".
  static func write(to path: String) throws {
    try Files.makeDirectories(path + "/blobs/sha256")
    var manifests: [JSONValue] = []
    for version in versions {
      var platform = Platform(os: "windows", architecture: "amd64", osVersion: version)
      if version == versions[1] { platform.osFeatures = ["win32k"] }
      let layers = try [first(version), second(version)]
      var config = platform.json.objectValue ?? JSONObject()
      config["created"] = "2024-01-01T00:00:00Z"
      config["config"] = ["Cmd": ["c:\\windows\\system32\\cmd.exe"], "User": "ContainerUser"]
      config["rootfs"] = ["type": "layers", "diff_ids": .array(layers.map { .string(Digest.sha256(of: $0).description) })]
      config["history"] = [["created": "2024-01-01T00:00:00Z", "created_by": "Apply image base"], ["created": "2024-01-01T00:00:00Z", "created_by": "Install update"]]
      let described = try put(JSONValue.object(config).encoded(), .ociConfig, path)
      let blobs = try layers.map { try put($0, .ociLayer, path).json }
      let manifest: JSONValue = ["schemaVersion": 2, "mediaType": .string(MediaType.ociManifest.description), "config": described.json, "layers": .array(blobs)]
      var entry = try put(manifest.encoded(), .ociManifest, path)
      entry.platform = platform
      manifests.append(entry.json)
    }
    let index: JSONValue = ["schemaVersion": 2, "mediaType": .string(MediaType.ociIndex.description), "manifests": .array(manifests)]
    var top = try put(index.encoded(), .ociIndex, path)
    top.annotations["org.opencontainers.image.ref.name"] = "latest"
    try write(JSONValue.object(JSONObject([("schemaVersion", 2), ("manifests", .array([top.json]))])).encoded(), "\(path)/index.json")
    try write(Array("{\"imageLayoutVersion\":\"1.0.0\"}".utf8), "\(path)/oci-layout")
  }

  private static func write(_ bytes: [UInt8], _ path: String) throws { try Files.writeAtomically(bytes, to: path, mode: 0o644, durable: false) }

  private static func put(_ bytes: [UInt8], _ type: MediaType, _ path: String) throws -> OCIModel.Descriptor {
    let descriptor = OCIModel.Descriptor(mediaType: type, of: bytes)
    try write(bytes, "\(path)/blobs/sha256/\(descriptor.digest.hex)")
    return descriptor
  }

  private static func first(_ version: String) throws -> [UInt8] {
    try layer([
      ("Files", .directory, ""), ("Files/License.txt", .file, "license\n"), ("Files/Program Files", .directory, ""), ("Files/Users", .directory, ""), ("Files/Users/Public", .directory, ""),
      ("Files/Users/Public/old.txt", .file, "old\n"), ("Files/Users/Public/keep.txt", .file, "keep\n"), ("Files/Windows", .directory, ""), ("Files/Windows/System32", .directory, ""),
      ("Files/Windows/System32/cmd.exe", .file, "MZ cmd " + version), ("Files/Windows/System32/hard.exe", .hardLink, "Files/Windows/System32/cmd.exe"), ("Hives", .directory, ""),
      ("Hives/DefaultUser_Base", .file, "hive"), ("Hives/Software_Base", .file, "hive2"), ("UtilityVM", .directory, ""), ("UtilityVM/Files", .directory, ""), ("UtilityVM/Files/bootmgr", .file, "boot"),
    ])
  }

  private static func second(_ version: String) throws -> [UInt8] {
    try layer([
      ("Hives", .directory, ""), ("Hives/Software_Delta", .file, "delta"), ("Files", .directory, ""), ("Files/Users", .directory, ""), ("Files/Users/Public", .directory, ""),
      ("Files/Users/Public/.wh.old.txt", .file, ""), ("Files/Users/Public/new.txt", .file, "new " + version), ("Files/Windows", .directory, ""), ("Files/Windows/link", .symbolicLink, "Files/Windows/System32"),
    ])
  }

  private static func layer(_ entries: [(String, TarEntry.Kind, String)]) throws -> [UInt8] {
    let sink = BytesSink(), writer = TarWriter(sink)
    for (path, kind, text) in entries {
      let isLink = kind == .hardLink || kind == .symbolicLink
      let content = isLink ? [] : Array(text.utf8)
      var entry = TarEntry(
        path: ByteString(text: path), kind: kind, linkTarget: isLink ? ByteString(text: text) : "", mode: kind == .directory ? 0o755 : 0o644, size: Int64(content.count),
        modified: Timestamp(seconds: 1_700_000_000))
      entry.records = [
        "LIBARCHIVE.creationtime": Array("1699999999.1234567".utf8), "MSWINDOWS.fileattr": Array((kind == .directory ? "16" : "32").utf8),
        "MSWINDOWS.rawsd": Array("AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgA=".utf8),
      ]
      try writer.begin(entry)
      try content.withUnsafeBytes { try writer.write($0) }
    }
    try writer.finish()
    return sink.bytes
  }
}
