/// One challenge of a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
package struct AuthChallenge: Hashable, Sendable {
  package enum Scheme: Hashable, Sendable { case basic, bearer, other(String) }
  package var scheme: Scheme
  /// Names in lower case; for a repeated name the first value.
  package var parameters: [String: String]

  package init(_ scheme: Scheme, _ parameters: [String: String] = [:]) {
    self.scheme = scheme
    self.parameters = parameters
  }

  /// Every challenge of all the header's values. Several may share one value, separated by commas; what cannot be read
  /// ends that value's parsing and keeps the challenges before it, since a broken header must not hide a good one.
  package static func parse(_ values: [String]) -> [AuthChallenge] {
    values.flatMap { value in
      var parser = AuthChallengeParser(value)
      return parser.challenges()
    }
  }

  /// The one to answer: Bearer with a realm before Basic.
  package static func preferred(_ challenges: [AuthChallenge]) -> AuthChallenge? {
    challenges.first { $0.scheme == .bearer && $0.parameters["realm"] != nil } ?? challenges.first { $0.scheme == .basic }
  }
}

/// Reads `1#challenge`. The grammar is ambiguous only to the eye: after a comma, `token SP token` or `token68` begins a new
/// challenge, and `token =` is a parameter of the current one.
private struct AuthChallengeParser {
  private let bytes: [UInt8]
  private var i = 0
  init(_ text: String) { bytes = Array(text.utf8.prefix(16 << 10)) }

  mutating func challenges() -> [AuthChallenge] {
    var out: [AuthChallenge] = []
    skip(commas: true)
    while let scheme = token() {
      var challenge = AuthChallenge(AuthChallengeParser.scheme(scheme))
      skip(commas: false)
      let complete = parameters(of: &challenge)
      out.append(challenge)
      if !complete { break }
    }
    return out
  }

  private static func scheme(_ name: String) -> AuthChallenge.Scheme {
    switch name.lowercased() {
    case "basic": .basic
    case "bearer": .bearer
    case let other: .other(other)
    }
  }

  /// False when the rest of the value cannot be read.
  private mutating func parameters(of challenge: inout AuthChallenge) -> Bool {
    while i < bytes.count {
      let mark = i
      guard let name = token() else {
        if i < bytes.count, bytes[i] == 0x2c { skip(commas: true); continue }
        return false
      }
      skip(commas: false)
      guard i < bytes.count, bytes[i] == 0x3d else {
        // A token without '=': the next challenge's scheme.
        i = mark
        return true
      }
      i += 1
      skip(commas: false)
      guard let value = i < bytes.count && bytes[i] == 0x22 ? quoted() : token() ?? "" else { return false }
      if challenge.parameters[name.lowercased()] == nil { challenge.parameters[name.lowercased()] = value }
      skip(commas: true)
    }
    return true
  }

  private mutating func skip(commas: Bool) {
    while i < bytes.count, bytes[i] == 0x20 || bytes[i] == 0x09 || (commas && bytes[i] == 0x2c) { i += 1 }
  }

  private mutating func token() -> String? {
    let start = i
    while i < bytes.count, AuthChallengeParser.isTokenCharacter(bytes[i]) { i += 1 }
    return i > start ? String(decoding: bytes[start..<i], as: UTF8.self) : nil
  }

  private static let separators = Set("()<>@,;:\\\"/[]?={}".utf8)
  private static func isTokenCharacter(_ c: UInt8) -> Bool { c > 0x20 && c < 0x7f && !separators.contains(c) }

  private mutating func quoted() -> String? {
    i += 1
    var out = [UInt8]()
    while i < bytes.count {
      let c = bytes[i]
      i += 1
      if c == 0x22 { return String(decoding: out, as: UTF8.self) }
      if c == 0x5c {
        guard i < bytes.count else { return nil }
        out.append(bytes[i])
        i += 1
      } else {
        out.append(c)
      }
    }
    return nil
  }
}
