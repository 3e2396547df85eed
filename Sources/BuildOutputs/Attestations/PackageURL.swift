package import OCIModel

/// Package URLs of images (purl-spec, type docker), as BuildKit writes them: `pkg:docker/reg.example/me/app@1.2?platform=linux%2Farm64`.
package enum PackageURL {
  /// - Parameter isLocal: of an OCI layout, and not of a registry.
  package static func image(_ reference: Reference, platform: Platform?, isLocal: Bool = false) -> String {
    var qualifiers: [String] = []
    let reference = reference.withDefaultTag
    if let digest = reference.digest { qualifiers.append("digest=" + escaped(digest.description, keeping: pathCharacters)) }
    if let platform { qualifiers.append("platform=" + escaped(platform.normalized.description, keeping: pathCharacters)) }
    let name = reference.familiarName.split(separator: "/").map { escaped(String($0), keeping: "") }.joined(separator: "/")
    let version = reference.tag.map { "@" + escaped($0, keeping: pathCharacters) } ?? ""
    return "pkg:\(isLocal ? "oci" : "docker")/\(name)\(version)" + (qualifiers.isEmpty ? "" : "?" + qualifiers.joined(separator: "&"))
  }

  /// What stays in a version or a qualifier, besides letters, digits and `-_.~`.
  private static let pathCharacters = "$&+=:@"

  private static func escaped(_ text: String, keeping more: String) -> String {
    let hex = Array("0123456789ABCDEF".utf8)
    var out: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x5f, 0x2e, 0x7e: out.append(byte)
      case _ where more.utf8.contains(byte): out.append(byte)
      default: out += [0x25, hex[Int(byte >> 4)], hex[Int(byte & 15)]]
      }
    }
    return String(decoding: out, as: UTF8.self)
  }
}
