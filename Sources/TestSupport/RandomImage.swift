package import OCIModel

/// Numbers that are the same for the same seed, so that a failing test fails again (SplitMix64).
package struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64
  package init(_ seed: UInt64) { state = seed }
  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  package mutating func bytes(_ count: Int) -> [UInt8] {
    var out = [UInt8]()
    out.reserveCapacity(count + 8)
    while out.count < count { withUnsafeBytes(of: next()) { out += $0 } }
    out.removeLast(out.count - count)
    return out
  }
}

/// An image made of nothing: valid documents and small uncompressed layers, for one platform or several.
package struct RandomImage: Sendable {
  /// The root: a manifest for one platform, an index for several.
  package var root: Descriptor
  /// Every manifest and index, the root included, children before parents.
  package var manifests: [(descriptor: Descriptor, bytes: [UInt8])] = []
  /// Configs and layers, each once.
  package var blobs: [(descriptor: Descriptor, bytes: [UInt8])] = []

  /// `layers` layers of about `layerSize` bytes a platform. `shared` of them are the same for all platforms.
  package init(seed: UInt64, platforms: [String] = ["linux/amd64"], layers: Int = 2, shared: Int = 0, layerSize: Int = 2000, docker: Bool = false) throws {
    var random = SeededGenerator(seed)
    let common = (0..<shared).map { i in RandomImage.layer(name: "shared\(i).bin", random.bytes(layerSize)) }
    var children: [Descriptor] = []
    root = Descriptor(mediaType: .ociManifest, of: [])
    for name in platforms {
      let platform = try Platform(parsing: name)
      let contents = common + (shared..<max(shared, layers)).map { i in RandomImage.layer(name: "layer\(i).bin", random.bytes(layerSize)) }
      let layerType: MediaType = docker ? .dockerLayer : .ociLayer
      let descriptors = contents.map { Descriptor(mediaType: layerType, of: $0) }
      for (descriptor, bytes) in zip(descriptors, contents) { add(descriptor, bytes) }
      let config = RandomImage.config(platform, diffIDs: descriptors.map(\.digest))
      let configDescriptor = Descriptor(mediaType: docker ? .dockerConfig : .ociConfig, of: config)
      add(configDescriptor, config)
      let manifest = ImageManifest(mediaType: docker ? .dockerManifest : .ociManifest, config: configDescriptor, layers: descriptors).encoded
      var descriptor = Descriptor(mediaType: docker ? .dockerManifest : .ociManifest, of: manifest)
      manifests.append((descriptor, manifest))
      root = descriptor
      descriptor.platform = platform
      children.append(descriptor)
    }
    guard platforms.count > 1 else { return }
    let index = ImageIndex(mediaType: docker ? .dockerManifestList : .ociIndex, manifests: children).encoded
    root = Descriptor(mediaType: docker ? .dockerManifestList : .ociIndex, of: index)
    manifests.append((root, index))
  }

  private mutating func add(_ descriptor: Descriptor, _ bytes: [UInt8]) {
    if !blobs.contains(where: { $0.descriptor.digest == descriptor.digest }) { blobs.append((descriptor, bytes)) }
  }

  package var rootBytes: [UInt8] { manifests.last?.bytes ?? [] }

  private static func config(_ platform: Platform, diffIDs: [Digest]) -> [UInt8] {
    var object = JSONObject([("architecture", .string(platform.architecture)), ("os", .string(platform.os))])
    if !platform.variant.isEmpty { object["variant"] = .string(platform.variant) }
    if !platform.osVersion.isEmpty { object["os.version"] = .string(platform.osVersion) }
    object["config"] = ["Cmd": ["/bin/sh"]]
    object["rootfs"] = .object(JSONObject([("type", "layers"), ("diff_ids", .array(diffIDs.map { .string($0.description) }))]))
    return JSONValue.object(object).encoded()
  }

  /// A tar archive with one regular file (POSIX ustar).
  package static func layer(name: String, _ content: [UInt8]) -> [UInt8] {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int) { for (i, c) in text.utf8.enumerated() { header[offset + i] = c } }
    func octal(_ value: Int, _ width: Int) -> String { let s = String(value, radix: 8); return String(repeating: "0", count: width - s.count) + s }
    put(String(name.prefix(99)), at: 0)
    put(octal(0o644, 7), at: 100)
    put(octal(0, 7), at: 108)
    put(octal(0, 7), at: 116)
    put(octal(content.count, 11), at: 124)
    put(octal(0, 11), at: 136)
    put("        ", at: 148)
    put("0", at: 156)
    put("ustar\u{0}00", at: 257)
    put(octal(header.reduce(0) { $0 + Int($1) }, 6) + "\u{0} ", at: 148)
    return header + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512 + 1024)
  }
}
