internal import OCIModel

/// The part of `~/.docker/config.json` that has to do with registries. Pure: read from bytes, asked by host.
package struct DockerConfig: Sendable {
  /// Where the credential of a host is found.
  package enum Source: Hashable, Sendable {
    /// `docker-credential-<helper>`, asked for `server`.
    case helper(String, server: String)
    case stored(RegistryCredential)
    case none
  }

  private struct Entry: Sendable {
    var credential: RegistryCredential?
  }
  private var auths: [String: Entry] = [:]
  private var order: [String] = []
  package private(set) var defaultHelper = ""
  package private(set) var helpers: [String: String] = [:]

  /// What Docker's tools call Docker Hub in this file.
  package static let hubKey = "https://index.docker.io/v1/"

  package init() {}

  /// Throws `OCIError` for what is not JSON, and `RegistryError(.credentials)` for an `auth` that is not base64 of `user:password`.
  package init(parsing bytes: [UInt8]) throws {
    if bytes.allSatisfy({ $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }) { return }
    let json = try JSONValue(parsing: bytes)
    guard let object = json.objectValue else { throw RegistryError(.credentials, "the Docker configuration is not a JSON object") }
    defaultHelper = object["credsStore"]?.stringValue ?? ""
    for (host, helper) in object["credHelpers"]?.objectValue?.members ?? [] {
      if let name = helper.stringValue, !name.isEmpty { helpers[host] = name }
    }
    for (server, value) in object["auths"]?.objectValue?.members ?? [] {
      guard let fields = value.objectValue else { continue }
      auths[server] = Entry(credential: try DockerConfig.credential(fields, server: server))
      order.append(server)
    }
  }

  private static func credential(_ fields: JSONObject, server: String) throws -> RegistryCredential? {
    if let token = fields["registrytoken"]?.stringValue, !token.isEmpty { return .registryToken(token) }
    if let token = fields["identitytoken"]?.stringValue, !token.isEmpty { return .identityToken(token) }
    if let auth = fields["auth"]?.stringValue, !auth.isEmpty {
      guard let decoded = Base64.decode(auth), let text = String(validating: decoded, as: UTF8.self), let colon = text.firstIndex(of: ":"), colon > text.startIndex else {
        throw RegistryError(.credentials, "the \"auth\" of \"\(server)\" in the Docker configuration is not base64 of user:password", advice: "Log in to it again.")
      }
      // Old Docker versions padded the password with NULs.
      var password = text[text.index(after: colon)...]
      while password.last == "\0" { password.removeLast() }
      return .password(user: String(text[..<colon]), password: String(password))
    }
    if let user = fields["username"]?.stringValue, !user.isEmpty { return .password(user: user, password: fields["password"]?.stringValue ?? "") }
    return nil
  }

  /// Where to look for `host` (as in a reference: `docker.io`, `ghcr.io`, `localhost:5000`): its own helper, the default
  /// helper, then the file, exact keys before keys that are URLs with the same host, as Docker's client looks.
  package func source(for host: String) -> Source {
    let key = host == "docker.io" || host == "index.docker.io" || host == "registry-1.docker.io" ? DockerConfig.hubKey : host
    for candidate in Set([key, host]).sorted(by: { a, _ in a == key }) {
      if let helper = helpers[candidate] { return .helper(helper, server: candidate) }
    }
    if !defaultHelper.isEmpty { return .helper(defaultHelper, server: key) }
    return stored(for: host).map { .stored($0) } ?? .none
  }

  /// What the file itself holds, whatever helpers it names.
  package func stored(for host: String) -> RegistryCredential? {
    let isHub = host == "docker.io" || host == "index.docker.io" || host == "registry-1.docker.io"
    let keys = isHub ? [DockerConfig.hubKey, "docker.io", "index.docker.io"] : [host]
    for key in keys { if let credential = auths[key]?.credential { return credential } }
    for server in order {
      let name = DockerConfig.hostname(server)
      if keys.contains(name) || (isHub && name == "index.docker.io"), let credential = auths[server]?.credential { return credential }
    }
    return nil
  }

  package var isEmpty: Bool { auths.isEmpty && helpers.isEmpty && defaultHelper.isEmpty }

  /// `https://host:port/v1/` → `host:port`.
  package static func hostname(_ server: String) -> String {
    let bare = server.firstRange(of: "://").map { server[$0.upperBound...] } ?? server[...]
    return String(bare.prefix { $0 != "/" })
  }

  /// The answer of `docker-credential-X get`: ServerURL, Username, Secret; the user `<token>` marks an identity token.
  package static func helperAnswer(_ bytes: [UInt8]) throws -> RegistryCredential? {
    let json = try JSONValue(parsing: bytes)
    guard let secret = json["Secret"]?.stringValue, !secret.isEmpty else { return nil }
    let user = json["Username"]?.stringValue ?? ""
    return user == "<token>" ? .identityToken(secret) : .password(user: user, password: secret)
  }
}

/// Standard base64 (RFC 4648, section 4); padding may be missing, anything else is refused.
package enum Base64 {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let values: [UInt8] = {
    var table = [UInt8](repeating: 255, count: 256)
    for (i, c) in alphabet.enumerated() { table[Int(c)] = UInt8(i) }
    return table
  }()

  package static func decode(_ text: String) -> [UInt8]? {
    var bytes = Array(text.utf8).filter { $0 != 0x0a && $0 != 0x0d }
    var padding = 0
    while bytes.last == 0x3d, padding < 2 { bytes.removeLast(); padding += 1 }
    guard bytes.count % 4 != 1, padding == 0 || (bytes.count + padding) % 4 == 0 else { return nil }
    var out = [UInt8]()
    out.reserveCapacity(bytes.count * 3 / 4)
    var buffer: UInt32 = 0, bits = 0
    for c in bytes {
      let value = values[Int(c)]
      guard value != 255 else { return nil }
      buffer = buffer << 6 | UInt32(value)
      bits += 6
      if bits >= 8 {
        bits -= 8
        out.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
      }
    }
    return out
  }

  package static func encode(_ bytes: some Sequence<UInt8>) -> String {
    var out = [UInt8](), buffer: UInt32 = 0, bits = 0
    for byte in bytes {
      buffer = buffer << 8 | UInt32(byte)
      bits += 8
      while bits >= 6 {
        bits -= 6
        out.append(alphabet[Int(buffer >> UInt32(bits) & 63)])
      }
    }
    if bits > 0 { out.append(alphabet[Int(buffer << UInt32(6 - bits) & 63)]) }
    while out.count % 4 != 0 { out.append(0x3d) }
    return String(decoding: out, as: UTF8.self)
  }
}
