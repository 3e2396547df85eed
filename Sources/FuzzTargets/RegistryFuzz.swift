import OCIModel
import OCIRegistry

/// What a registry answers: header fields, error documents, addresses; and the user's own configuration.
enum RegistryFuzz {
  static func run(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    switch input.byte() % 8 {
    case 0: try challenge(input.text)
    case 1: try fields(input.text)
    case 2: try errorBody(input.bytes, "application/json")
    case 3: try errorBody(input.bytes, "text/html")
    case 4: try address(input.text)
    case 5: try configuration(input.bytes)
    case 6: try limits(input.texts(3))
    default: _ = RegistryScopes(challenge: input.text).union(RegistryScopes([.pull("a/b")])).covers(RegistryScopes([.push("a/b")]))
    }
  }

  private static func challenge(_ text: String) throws {
    let challenges = AuthChallenge.parse([text, text])
    _ = AuthChallenge.preferred(challenges)
    for challenge in challenges {
      for name in challenge.parameters.keys { try FuzzFinding.check(name == name.lowercased(), "a parameter \(name)") }
      if let scope = challenge.parameters["scope"] { _ = RegistryScopes(challenge: scope) }
      if let realm = challenge.parameters["realm"] { try address(realm) }
    }
  }

  private static func fields(_ text: String) throws {
    if let wait = HTTPFields.retryAfter(text, now: 1_700_000_000) { try FuzzFinding.check(wait >= .zero && wait <= .seconds(86400), "a wait of \(wait)") }
    if let next = HTTPFields.nextLink([text]) { _ = RegistryURL("https://registry.example/v2/")?.resolving(next) }
    if let held = HTTPFields.uploadedBytes(text) { try FuzzFinding.check(held >= 0, "an upload of \(held) bytes") }
    if let range = HTTPFields.contentRange(text) {
      try FuzzFinding.check(range.first >= 0 && range.last >= range.first && range.total.map { $0 > range.last } ?? true, "a range of \(range)")
    }
    _ = HTTPFields.mediaType(text)
  }

  private static func errorBody(_ bytes: [UInt8], _ type: String) throws {
    for detail in RegistryErrorBody.details(bytes, contentType: type) {
      let text = detail.description
      try FuzzFinding.check(text.utf8.count < 8192, "\(text.utf8.count) bytes of what a registry says")
      try FuzzFinding.check(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) }, "control characters of a registry: \(text.debugDescription)")
    }
  }

  private static func address(_ text: String) throws {
    guard let url = RegistryURL(text) else { return }
    let plain = url.description
    try FuzzFinding.check(plain.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }, "an address with control characters: \(plain.debugDescription)")
    try FuzzFinding.check(RegistryURL(plain) == url, "\(text) is \(plain), and that \(RegistryURL(plain)?.description ?? "nothing")")
    if let next = url.resolving(text) { try FuzzFinding.check(next.origin == url.origin, "\(text) beside itself is \(next)") }
    // A path alone never leads to another host.
    if let next = url.resolving("/" + text.filter { $0 != "/" && $0 != "\\" }) { try FuzzFinding.check(next.origin == url.origin, "a path leads to \(next)") }
  }

  private static func configuration(_ bytes: [UInt8]) throws {
    if let config = try? DockerConfig(parsing: bytes) { _ = (config.source(for: "docker.io"), config.stored(for: "ghcr.io")) }
    _ = try? DockerConfig.helperAnswer(bytes)
    let text = String(decoding: bytes, as: UTF8.self)
    if let decoded = Base64.decode(text) { try FuzzFinding.check(Base64.decode(Base64.encode(decoded)) == decoded, "base64 does not give back what it was given") }
    _ = PercentEncoding.decode(PercentEncoding.encode(text))
  }

  private static func limits(_ texts: [String]) throws { _ = RegistryRateLimit(limit: texts[0], remaining: texts[1], source: texts[2])?.summary }
}
