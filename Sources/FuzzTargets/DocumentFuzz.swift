import OCIModel

/// Documents of images, and the texts that name things.
enum DocumentFuzz {
  static func run(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    switch input.byte() % 8 {
    case 0: try json(input.bytes)
    case 1: try document(input.bytes, .ociIndex)
    case 2: try document(input.bytes, .ociManifest)
    case 3: try config(input.bytes)
    case 4: try descriptor(input.bytes)
    case 5: try reference(input.text)
    case 6: try platform(input.text)
    default: try small(input.text)
    }
  }

  private static func json(_ bytes: [UInt8]) throws {
    guard let value = try? JSONValue(parsing: bytes) else { return }
    for layout in [JSONValue.Layout.compact, .indented("  ")] {
      try FuzzFinding.check(try JSONValue(parsing: value.encoded(layout)) == value, "a document is another one after it was written")
    }
  }

  private static func document(_ bytes: [UInt8], _ type: MediaType) throws {
    guard let document = try? ImageDocument(parsing: bytes, mediaType: type) else { return }
    switch document {
    case .index(let index):
      guard case .index(let again) = try ImageDocument(parsing: index.encoded, mediaType: type) else { throw FuzzFinding("an index is none any more") }
      try FuzzFinding.check(index == again, "an index is another one after it was written")
      _ = index.candidates(for: PlatformMatcher(only: Platform(os: "linux", architecture: "arm", variant: "v7")))
      _ = PlatformMatcher.nearest(index.platforms, to: Platform(os: "linux", architecture: "amd64"))
    case .manifest(let manifest):
      guard case .manifest(let again) = try ImageDocument(parsing: manifest.encoded, mediaType: type) else { throw FuzzFinding("a manifest is none any more") }
      try FuzzFinding.check(manifest == again, "a manifest is another one after it was written")
    }
  }

  private static func config(_ bytes: [UInt8]) throws {
    guard let config = try? ImageConfig(parsing: bytes) else { return }
    try FuzzFinding.check(try ImageConfig(parsing: config.json.encoded()) == config, "a config is another one after it was written")
  }

  private static func descriptor(_ bytes: [UInt8]) throws {
    guard let json = try? JSONValue(parsing: bytes), let descriptor = try? Descriptor(json: json) else { return }
    try FuzzFinding.check(descriptor.size >= 0, "a negative size")
    try FuzzFinding.check(try Descriptor(json: JSONValue(parsing: descriptor.json.encoded())) == descriptor, "a descriptor is another one after it was written")
  }

  private static func reference(_ text: String) throws {
    guard let reference = try? Reference(parsing: text) else { return }
    try FuzzFinding.check(try Reference(parsing: reference.description) == reference, "\(text) is \(reference), which is something else")
    _ = try Reference(parsing: reference.familiarName)
    try plain(reference.description)
  }

  private static func platform(_ text: String) throws {
    guard let platform = try? Platform(parsing: text) else { return }
    let normal = platform.normalized
    try FuzzFinding.check(normal.normalized == normal, "\(platform) has two normal forms")
    _ = PlatformMatcher(only: platform).matches(normal)
    try plain(platform.description)
  }

  private static func small(_ text: String) throws {
    if let digest = try? Digest(parsing: text) {
      try FuzzFinding.check(digest.description == text, "\(text) is not the digest \(digest)")
      try FuzzFinding.check(!digest.hex.contains("/") && !digest.hex.contains("."), "\(text) would be a path")
    }
    if let time = try? Timestamp(rfc3339: text) {
      _ = time.nanosecondsSinceEpoch
      if let again = try? Timestamp(rfc3339: time.description) { try FuzzFinding.check(again == time, "\(text) is \(time), then \(again)") }
    }
    let type = MediaType(text)
    _ = (type.isIndex, type.isManifest, type.isLayer)
  }

  /// What names something goes into messages, paths and addresses.
  private static func plain(_ text: String) throws {
    try FuzzFinding.check(text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0.value < 0x7f }, "a name with other than printable characters: \(text.debugDescription)")
  }
}
