internal import OCIRegistry

/// Reads one `[registry."host"]` section after the other.
struct RegistrySections {
  private(set) var registries: [String: RegistryHostSettings] = [:]

  init(_ section: TableReader) throws {
    var plainMirrors: [String] = []
    for host in section.names() {
      guard let table = try section.table(host) else { continue }
      registries[host] = try Self.settings(table, of: host, &plainMirrors)
    }
    for host in plainMirrors where registries[host]?.plainHTTP == nil { registries[host, default: RegistryHostSettings()].plainHTTP = true }
  }

  /// `plainMirrors`: those written with `http://`.
  private static func settings(_ table: TableReader, of host: String, _ plainMirrors: inout [String]) throws -> RegistryHostSettings {
    guard !host.contains("://"), !host.contains("/"), RegistryMirror(host) != nil else {
      throw table.error(nil, "[registry.\"\(host)\"]: a registry is named by its host alone, as docker.io or localhost:5000")
    }
    var out = RegistryHostSettings()
    for text in try table.strings("mirrors") ?? [] {
      guard let mirror = RegistryMirror(text) else { throw table.error("mirrors", "the mirror \"\(text)\" is not a registry's address: host[:port][/path]") }
      if text.lowercased().hasPrefix("http://") { plainMirrors.append(mirror.host) }
      out.mirrors.append(mirror)
    }
    out.plainHTTP = try table.bool("http")
    out.isInsecure = try table.bool("insecure")
    out.authorities = try (table.strings("ca") ?? []).map(table.file.absolute)
    out.keyPairs = try keyPairs(table, host)
    out.certificateDirectories = try (table.strings("tlsconfigdir") ?? []).map(table.file.absolute)
    try table.finish()
    return out
  }

  private static func keyPairs(_ table: TableReader, _ host: String) throws -> [RegistryHostSettings.KeyPair] {
    let wrong = table.error("keypair", "keypair is a list of tables with a key and a cert: [[registry.\"\(host)\".keypair]]")
    return try table.tables("keypair").map { pair in
      guard let key = try pair.string("key"), let certificate = try pair.string("cert") else { throw wrong }
      try pair.finish()
      return .init(key: table.file.absolute(key), certificate: table.file.absolute(certificate))
    }
  }
}
