/// The name of an image: `[domain/]path[:tag][@digest]` by the rules of the distribution reference grammar, with Docker's
/// familiar forms (`busybox` is `docker.io/library/busybox`).
public struct Reference: Hashable, Sendable, CustomStringConvertible {
  /// `docker.io`, `localhost:5000`, `ghcr.io`… Host with an optional port.
  public let domain: String
  /// `library/busybox`. At most 255 characters with the domain.
  public let path: String
  public let tag: String?
  public let digest: Digest?

  public static let defaultDomain = "docker.io"
  public static let defaultTag = "latest"
  public static let maximumNameLength = 255

  /// Parses a familiar or a full name. Neither tag nor digest is added. Throws `OCIError.invalidReference` with what is wrong.
  public init(parsing text: String) throws(OCIError) {
    func bad(_ why: String) -> OCIError { OCIError(.invalidReference, "invalid reference \"\(text.prefix(200))\": \(why)") }
    guard !text.isEmpty else { throw bad("it is empty") }
    var rest = Substring(text)
    var digest: Digest?
    if let at = rest.firstIndex(of: "@") {
      let written = String(rest[rest.index(after: at)...])
      do { digest = try Digest(parsing: written) } catch { throw bad(error.message) }
      rest = rest[..<at]
    }
    var tag: String?
    if let colon = rest.lastIndex(of: ":"), !rest[colon...].contains("/") {
      let name = rest[..<colon], written = rest[rest.index(after: colon)...]
      tag = String(written)
      rest = name
      guard Reference.isTag(written) else { throw bad("a tag has 1 to 128 letters, digits, '_', '.' and '-' and begins with none of '.' and '-'") }
    }
    if Reference.isHex64(rest), tag == nil, digest == nil { throw bad("a name cannot be 64 hexadecimal characters, which is the form of an image id") }
    let domain: String, path: String
    if let slash = rest.firstIndex(of: "/"), Reference.looksLikeDomain(rest[..<slash]) {
      domain = rest[..<slash] == "index.docker.io" ? Reference.defaultDomain : String(rest[..<slash])
      path = String(rest[rest.index(after: slash)...])
    } else {
      (domain, path) = (Reference.defaultDomain, String(rest))
    }
    let full = domain == Reference.defaultDomain && !path.contains("/") ? "library/" + path : path
    if path.contains(where: \.isUppercase) { throw bad("a repository name must be lowercase") }
    guard Reference.isDomain(domain) else { throw bad("\"\(domain)\" is not a registry host") }
    guard Reference.isPath(full) else { throw bad("a repository name has lowercase letters and digits, separated by '/', '.', '_', '__' or '-'") }
    guard full.utf8.count <= Reference.maximumNameLength else { throw bad("a repository name has at most \(Reference.maximumNameLength) characters") }
    self.init(domain: domain, path: full, tag: tag, digest: digest)
  }

  private init(domain: String, path: String, tag: String?, digest: Digest?) {
    self.domain = domain
    self.path = path
    self.tag = tag
    self.digest = digest
  }

  /// The first component names a registry when it has a dot or a port, is `localhost`, or has an uppercase letter.
  private static func looksLikeDomain(_ s: Substring) -> Bool {
    s.contains(".") || s.contains(":") || s == "localhost" || s.contains(where: \.isUppercase)
  }
  private static func isAlphanumeric(_ c: UInt8) -> Bool { (0x30...0x39).contains(c) || (0x61...0x7a).contains(c) || (0x41...0x5a).contains(c) }
  private static func isLowerAlphanumeric(_ c: UInt8) -> Bool { (0x30...0x39).contains(c) || (0x61...0x7a).contains(c) }

  private static func isHex64(_ s: Substring) -> Bool {
    s.utf8.count == 64 && s.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }
  /// Whether `s` is a tag: `[\w][\w.-]{0,127}`.
  public static func isTag(_ s: some StringProtocol) -> Bool {
    guard let first = s.utf8.first, isAlphanumeric(first) || first == 0x5f, s.utf8.count <= 128 else { return false }
    return s.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x5f || $0 == 0x2e || $0 == 0x2d }
  }
  private static func isDomain(_ s: String) -> Bool {
    var host = Substring(s)
    if let close = host.lastIndex(of: "]"), host.first == "[" {
      let inside = host[host.index(after: host.startIndex)..<close]
      guard !inside.isEmpty, inside.utf8.allSatisfy({ $0 == 0x3a || (0x30...0x39).contains($0) || (0x61...0x66).contains($0) || (0x41...0x46).contains($0) }) else { return false }
      host = host[host.index(after: close)...]
      return host.isEmpty || (host.first == ":" && isPort(host.dropFirst()))
    }
    if let colon = host.firstIndex(of: ":") {
      guard isPort(host[host.index(after: colon)...]) else { return false }
      host = host[..<colon]
    }
    return host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
      guard let first = label.utf8.first, let last = label.utf8.last else { return false }
      return isAlphanumeric(first) && isAlphanumeric(last) && label.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x2d }
    }
  }
  private static func isPort(_ s: Substring) -> Bool { !s.isEmpty && s.utf8.allSatisfy { (0x30...0x39).contains($0) } }
  private static func isPath(_ s: String) -> Bool {
    !s.isEmpty && s.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(isPathComponent)
  }
  /// Runs of lowercase alphanumerics joined by one '.', one or two '_', or any number of '-'.
  private static func isPathComponent(_ s: Substring) -> Bool {
    var bytes = Array(s.utf8)[...]
    while true {
      let run = bytes.prefix(while: isLowerAlphanumeric)
      guard !run.isEmpty else { return false }
      bytes = bytes.dropFirst(run.count)
      guard let separator = bytes.first else { return true }
      let length = bytes.prefix { $0 == separator }.count
      switch separator {
      case 0x2e: guard length == 1 else { return false }
      case 0x5f: guard length <= 2 else { return false }
      case 0x2d: break
      default: return false
      }
      bytes = bytes.dropFirst(length)
    }
  }

  /// `domain/path`, without tag and digest.
  public var name: String { domain + "/" + path }
  /// The full form: `docker.io/library/busybox:latest@sha256:…`.
  public var description: String { name + suffix }
  /// The short form people type: `busybox:latest`.
  public var familiar: String { familiarName + suffix }
  /// The short form of `name`: `busybox`.
  public var familiarName: String {
    guard domain == Reference.defaultDomain else { return name }
    let library = "library/"
    return path.hasPrefix(library) && !path.dropFirst(library.count).contains("/") ? String(path.dropFirst(library.count)) : path
  }
  private var suffix: String { (tag.map { ":" + $0 } ?? "") + (digest.map { "@\($0)" } ?? "") }

  /// With `latest` when it has neither tag nor digest.
  public var withDefaultTag: Reference { tag == nil && digest == nil ? Reference(domain: domain, path: path, tag: Reference.defaultTag, digest: nil) : self }
  public func with(digest: Digest?) -> Reference { Reference(domain: domain, path: path, tag: tag, digest: digest) }
  /// Throws `OCIError.invalidReference` when `tag` is not a tag.
  public func with(tag: String?) throws(OCIError) -> Reference {
    if let tag, !Reference.isTag(tag) { throw OCIError(.invalidReference, "invalid tag \"\(tag.prefix(130))\"") }
    return Reference(domain: domain, path: path, tag: tag, digest: digest)
  }
  /// The repository alone.
  public var repository: Reference { Reference(domain: domain, path: path, tag: nil, digest: nil) }
  /// What a registry is asked for: the digest if there is one, else the tag, else `latest`.
  public var object: String { digest?.description ?? tag ?? Reference.defaultTag }
}
