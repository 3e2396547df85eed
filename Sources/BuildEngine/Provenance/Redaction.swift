internal import LLB
internal import OCIModel

/// Keeps secrets out of provenance. Values of build arguments and variables whose names say that they are secret are replaced, wherever they
/// appear; so are the user and password of any URL. One for each predicate, by one task.
final class Redaction {
  /// Stands for a value.
  static let word = "REDACTED"
  /// Stands for the user and the password of a URL, as with BuildKit.
  static let urlMask = "xxxxx"

  private var values: [[UInt8]] = []
  /// Whether anything was taken out.
  private(set) var happened = false

  /// Whether a name like this is given to secrets: a word of it says so (`NPM_TOKEN`, `db_password`), and none says `public`.
  static func isSecretName(_ name: String) -> Bool {
    let lower = name.lowercased()
    let words = lower.split { !$0.isLetter && !$0.isNumber }
    if words.contains("public") { return false }
    if ["token", "password", "passwd", "passphrase", "secret", "credential", "apikey", "privatekey", "accesskey"].contains(where: { lower.contains($0) }) { return true }
    return words.contains { ["key", "auth", "pass", "pword", "pat", "pin"].contains($0) } || (words.count > 1 && words.contains("pwd"))
  }

  /// From here on.
  func startAnew() { happened = false }

  /// Learns the value that a name has, if it is a secret's.
  func learn(_ name: String, _ value: String) {
    guard Redaction.isSecretName(name), value.utf8.count >= 4, !Redaction.commonWords.contains(value.lowercased()) else { return }
    for form in [value, Redaction.percentEncoded(value)] {
      let bytes = Array(form.utf8)
      if !values.contains(bytes) { values.append(bytes) }
    }
    // A value may contain another.
    values.sort { $0.count > $1.count }
  }

  /// Too short or too common to be searched for: where they belong to a secret name they are taken out all the same.
  private static let commonWords: Set<String> = ["true", "false", "none", "null", "default", "auto", "yes", "enabled", "disabled"]

  /// The value of a build argument.
  func value(_ text: String, of name: String) -> String {
    guard Redaction.isSecretName(name), !text.isEmpty else { return self.text(text) }
    happened = true
    return Redaction.word
  }

  /// The same for ops in JSON.
  var filter: OpJSON.Filter {
    var filter = OpJSON.Filter()
    (filter.text, filter.variable, filter.content) = (text, variable, content)
    return filter
  }

  /// `NAME=value`.
  func variable(_ text: String) -> String {
    guard let equals = text.firstIndex(of: "=") else { return self.text(text) }
    let name = String(text[..<equals])
    return name + "=" + value(String(text[text.index(after: equals)...]), of: name)
  }

  func text(_ text: String) -> String {
    let bytes = Array(text.utf8), clean = withoutCredentials(self.bytes(bytes))
    guard clean != bytes else { return text }
    happened = true
    return String(decoding: clean, as: UTF8.self)
  }

  /// A file's content.
  func content(_ content: [UInt8]) -> [UInt8] {
    let clean = withoutCredentials(bytes(content))
    if clean != content { happened = true }
    return clean
  }

  /// The values replaced, except inside a digest, where what looks like one is chance.
  private func bytes(_ text: [UInt8]) -> [UInt8] {
    if values.isEmpty { return text }
    var out: [UInt8] = [], i = 0
    out.reserveCapacity(text.count)
    while i < text.count {
      if let end = Redaction.endOfDigest(text, at: i) {
        out += text[i..<end]
        i = end
      } else if let value = values.first(where: { text[i...].starts(with: $0) }) {
        out += Redaction.word.utf8
        i += value.count
      } else {
        out.append(text[i])
        i += 1
      }
    }
    return out
  }

  private static let digestPrefix = Array("sha256:".utf8)
  private static func endOfDigest(_ text: [UInt8], at i: Int) -> Int? {
    guard text[i] == 0x73, text[i...].starts(with: digestPrefix) else { return nil }
    let end = i + digestPrefix.count + 64
    guard end <= text.count, text[(i + digestPrefix.count)..<end].allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) else { return nil }
    return end
  }

  /// `https://user:password@host/` with the user and the password masked. What a shell or the Dockerfile fills in (`$USER`) is no secret.
  private func withoutCredentials(_ text: [UInt8]) -> [UInt8] {
    let mark = Array("://".utf8)
    guard text.contains(0x40) else { return text }
    var out: [UInt8] = [], i = 0
    while i < text.count {
      guard text[i] == 0x3a, text[i...].starts(with: mark) else {
        out.append(text[i])
        i += 1
        continue
      }
      out += mark
      i += mark.count
      let end = text[i...].firstIndex { $0 <= 0x20 || $0 >= 0x7f || [0x2f, 0x3f, 0x23, 0x22, 0x27, 0x60, 0x5c].contains($0) } ?? text.count
      guard let at = text[i..<end].lastIndex(of: 0x40), at > i, !text[i..<at].contains(0x24) else { continue }
      let user = text[i..<at].prefix { $0 != 0x3a }
      // The first names a user only; the second, and a third without a user, a password.
      if !user.isEmpty { out += Redaction.urlMask.utf8 }
      if user.endIndex < at { out += (":" + Redaction.urlMask).utf8 }
      i = at
    }
    return out
  }

  private static func percentEncoded(_ text: String) -> String {
    let hex = Array("0123456789ABCDEF".utf8)
    var out: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x5f, 0x2e, 0x7e: out.append(byte)
      default: out += [0x25, hex[Int(byte >> 4)], hex[Int(byte & 15)]]
      }
    }
    return String(decoding: out, as: UTF8.self)
  }
}
