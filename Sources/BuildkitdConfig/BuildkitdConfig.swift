internal import HostOS
package import OCIRegistry
internal import TOMLKit

/// A `buildkitd.toml`, as BuildKit's daemon has them: so far its `[registry."host"]` sections. What else it may hold is for builders of their own, and is passed over.
package struct BuildkitdFile: Sendable, Hashable {
  /// By host, as references name it (`docker.io`).
  package var registries: [String: RegistryHostSettings] = [:]

  static let limit = 1 << 20
  private static let registryKeys = ["mirrors", "http", "insecure", "ca", "keypair", "tlsconfigdir"]

  package init() {}

  /// `path` is for messages, and its folder is where paths in the file begin that are not absolute. Throws `ConfigError`.
  package init(parsing text: String, path: String) throws {
    let document: TOMLTable
    do { document = try TOMLTable(string: text) } catch let error as TOMLParseError {
      throw ConfigError(.syntax, path: path, line: Int(error.source.begin.line), "\(error.description.prefix(300))")
    }
    guard let section = document["registry"] else { return }
    var reader = SectionReader(path: path, lines: KeyLines(text))
    guard let hosts = section.table else { throw reader.error(["registry"], "registry is a table of registries: [registry.\"host\"]") }
    for host in hosts.keys.sorted() {
      guard let settings = hosts[host]?.table else { throw reader.error(["registry", host], "[registry.\"\(host)\"] is a table") }
      registries[host] = try reader.settings(settings, of: host, keys: Self.registryKeys)
    }
    for host in reader.plainMirrors where registries[host]?.plainHTTP == nil { registries[host, default: RegistryHostSettings()].plainHTTP = true }
  }

  /// Blocks. Throws `ConfigError`.
  package init(reading path: String) throws {
    let bytes: [UInt8]
    do { bytes = try Files.read(path, limit: Self.limit) } catch let error as HostError {
      if (try? Files.status(path))?.kind == .directory {
        throw ConfigError(.unreadable, path: path, "is a folder, and --config names a file, buildkitd.toml (Docker's own folder is named by DOCKER_CONFIG)")
      }
      throw ConfigError(.unreadable, path: path, "cannot read this configuration: \(error)")
    }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw ConfigError(.syntax, path: path, "is not text in UTF-8") }
    try self.init(parsing: text, path: path)
  }

  /// The file that applies when none is named: the first that is there of the person's own and the machine's. Blocks.
  package static func defaultPath(_ environment: [String: String]) -> String? {
    var places: [String] = []
    if let folder = environment["XDG_CONFIG_HOME"], folder.hasPrefix("/") { places.append(folder) } else if let home = environment["HOME"], !home.isEmpty { places.append(home + "/.config") }
    return (places + ["/etc"]).map { $0 + "/manifold/buildkitd.toml" }.first(where: Files.exists)
  }
}

/// Reads one `[registry."host"]` section after the other.
private struct SectionReader {
  let path: String
  let lines: KeyLines
  /// Mirrors written with `http://`.
  var plainMirrors: [String] = []

  func error(_ keys: [String], _ message: String) -> ConfigError { ConfigError(.setting, path: path, line: lines.line(of: keys), message) }

  mutating func settings(_ table: TOMLTable, of host: String, keys: [String]) throws -> RegistryHostSettings {
    let place = ["registry", host]
    guard !host.contains("://"), !host.contains("/"), RegistryMirror(host) != nil else { throw error(place, "[registry.\"\(host)\"]: a registry is named by its host alone, as docker.io or localhost:5000") }
    var out = RegistryHostSettings()
    for key in table.keys.sorted() where !keys.contains(key) {
      let meant = keys.min { KeyDistance.between($0, key) < KeyDistance.between($1, key) }
      let advice = meant.flatMap { KeyDistance.between($0, key) <= 2 ? "; did you mean \($0)?" : nil } ?? "; there are \(keys.joined(separator: ", "))"
      throw error(place + [key], "[registry.\"\(host)\"] has no setting \"\(key)\"\(advice)")
    }
    for text in try strings(table, "mirrors", place) {
      guard let mirror = RegistryMirror(text) else { throw error(place + ["mirrors"], "the mirror \"\(text)\" is not a registry's address: host[:port][/path]") }
      if text.lowercased().hasPrefix("http://") { plainMirrors.append(mirror.host) }
      out.mirrors.append(mirror)
    }
    out.plainHTTP = try bool(table, "http", place)
    out.isInsecure = try bool(table, "insecure", place)
    out.authorities = try strings(table, "ca", place).map(absolute)
    out.certificateDirectories = try strings(table, "tlsconfigdir", place).map(absolute)
    out.keyPairs = try keyPairs(table, place)
    return out
  }

  private func keyPairs(_ table: TOMLTable, _ place: [String]) throws -> [RegistryHostSettings.KeyPair] {
    guard let value = table["keypair"] else { return [] }
    let wrong = error(place + ["keypair"], "keypair is a list of tables with a key and a cert: [[registry.\"\(place[1])\".keypair]]")
    guard let list = value.array else { throw wrong }
    var out: [RegistryHostSettings.KeyPair] = []
    for i in 0..<list.count {
      guard let pair = list[i].table, Set(pair.keys) == ["key", "cert"], let key = pair["key"]?.string, let certificate = pair["cert"]?.string else { throw wrong }
      out.append(.init(key: absolute(key), certificate: absolute(certificate)))
    }
    return out
  }

  private func strings(_ table: TOMLTable, _ key: String, _ place: [String]) throws -> [String] {
    guard let value = table[key] else { return [] }
    let wrong = error(place + [key], "\(key) is a list of texts: \(key) = [\"…\"]")
    guard let list = value.array else { throw wrong }
    return try (0..<list.count).map { i in
      guard let text = list[i].string, !text.isEmpty else { throw wrong }
      return text
    }
  }

  private func bool(_ table: TOMLTable, _ key: String, _ place: [String]) throws -> Bool? {
    guard let value = table[key] else { return nil }
    guard let flag = value.bool else { throw error(place + [key], "\(key) is true or false, without quotes") }
    return flag
  }

  private func absolute(_ file: String) -> String {
    if file.hasPrefix("/") { return file }
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    return folder + "/" + file
  }
}

/// How many letters differ.
private enum KeyDistance {
  static func between(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.utf8), Array(b.lowercased().utf8))
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let next = min(row[j] + 1, row[j + 1] + 1, diagonal + (x == y ? 0 : 1))
        diagonal = row[j + 1]
        row[j + 1] = next
      }
    }
    return row[b.count]
  }
}
