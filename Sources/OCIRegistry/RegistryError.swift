package import OCIModel

/// Why a registry did not do what was asked: where, what it said itself, and what can be done about it.
public struct RegistryError: Error, CustomStringConvertible, Sendable {
  /// What kind of failure this is; programs decide by it.
  public enum Code: String, Sendable, Hashable {
    /// 401: no or wrong credentials.
    case unauthorized
    /// 403: known, but not allowed.
    case denied
    /// 404: no such repository, tag, manifest or blob.
    case notFound
    /// 429, and still so after waiting.
    case rateLimited
    /// Any other refusal with a 4xx status.
    case refused
    /// 5xx, and still so after trying again.
    case serverFailure
    /// No connection, or it broke and trying again did not help.
    case network
    /// The TLS handshake or the certificate failed.
    case tls
    /// Content differs from its digest.
    case digestMismatch
    /// Content differs from its size.
    case sizeMismatch
    /// An answer that the protocol does not allow, or larger than its limit.
    case invalidResponse
    /// A document of a kind that is not supported (schema 1).
    case unsupported
    /// `~/.docker/config.json` or a credential helper failed.
    case credentials
    /// Local reading or writing of the content failed.
    case local
    /// The client has been shut down.
    case shutDown
  }

  /// One entry of the registry's own error document (distribution-spec, "Error Codes").
  public struct Detail: Hashable, Sendable, CustomStringConvertible {
    /// `MANIFEST_UNKNOWN`, `DENIED`…; empty when the registry gave none.
    public var code: String
    public var message: String
    /// The entry's `detail`, compact JSON or plain text; empty when there is none.
    public var detail: String
    public init(code: String, message: String, detail: String = "") {
      self.code = code
      self.message = message
      self.detail = detail
    }
    public var description: String {
      let head = [code, message].filter { !$0.isEmpty }.joined(separator: ": ")
      return detail.isEmpty || detail == message ? head : head + " (\(detail))"
    }
  }

  public var code: Code
  /// What failed, as "cannot resolve localhost:5000/app:1".
  public var message: String
  /// `host[:port]` of the registry; empty when none was involved.
  public var host: String
  /// The repository's path; empty when none was involved.
  public var repository: String
  /// The HTTP status, where there was one.
  public var status: Int?
  /// What the registry said itself.
  public var details: [Detail]
  /// The method and address of the request that failed, without its query.
  public var request: String
  /// How long the registry asked to wait, in seconds.
  public var retryAfterSeconds: Int64?
  public var rateLimit: RegistryRateLimit?
  /// What the user can do; empty when nothing is known to help.
  public var advice: String
  public var cause: (any Error)?
  /// Of `network`: whether another try could have helped.
  var isTransient = false

  public init(
    _ code: Code, _ message: String, host: String = "", repository: String = "", status: Int? = nil, details: [Detail] = [], request: String = "",
    retryAfterSeconds: Int64? = nil, rateLimit: RegistryRateLimit? = nil, advice: String = "", cause: (any Error)? = nil
  ) {
    self.code = code
    self.message = message
    self.host = host
    self.repository = repository
    self.status = status
    self.details = details
    self.request = request
    self.retryAfterSeconds = retryAfterSeconds
    self.rateLimit = rateLimit
    self.advice = advice
    self.cause = cause
  }

  public var description: String {
    var out = message
    if let status { out += ": \(host.isEmpty ? "the registry" : host) answered \(status)\(RegistryError.phrase(status))" }
    if !details.isEmpty { out += ": " + details.map(\.description).joined(separator: "; ") }
    if let cause { out += ": \(cause)" }
    if !request.isEmpty { out += " [\(request)]" }
    if let rateLimit { out += "; \(rateLimit.summary)" }
    if let retryAfterSeconds { out += "; it asks to wait \(retryAfterSeconds) s" }
    let advice = advice.isEmpty ? generalAdvice : advice
    if !advice.isEmpty { out += "\n\(advice)" }
    return out
  }

  /// `429 Too Many Requests (TOOMANYREQUESTS: slow down)`: what the registry said, without what was wanted of it.
  package var summary: String { status.map { RegistryError.words($0, details) } ?? message }
  static func words(_ status: Int, _ details: [Detail]) -> String {
    "\(status)\(phrase(status))" + (details.isEmpty ? "" : " (" + details.map(\.description).joined(separator: "; ") + ")")
  }

  /// What mostly helps, where nothing better is known.
  private var generalAdvice: String {
    let goesOn = message.hasPrefix("cannot push") ? " What was sent stays there: the same push goes on where this one stopped." : ""
    let where_ = host.isEmpty ? "the registry" : host
    switch code {
    case .serverFailure: return "Try again later, or ask whoever runs \(where_).\(goesOn)"
    case .network: return "Check the way to \(where_) and try again.\(goesOn)"
    case .digestMismatch, .sizeMismatch: return "The content was damaged on its way or in the registry: try again, and if it stays so push the image anew."
    case .invalidResponse: return "Is \(where_) a registry, and does nothing between (a proxy, a login page) answer in its place?"
    case .refused where status == 413: return "\(where_), or a proxy before it, takes no request of this size: raise its limit, or make the layer smaller."
    case .refused: return "\(where_) does not take this; its own words say why."
    default: return ""
    }
  }

  private static func phrase(_ status: Int) -> String {
    switch status {
    case 400: " Bad Request"
    case 401: " Unauthorized"
    case 403: " Forbidden"
    case 404: " Not Found"
    case 405: " Method Not Allowed"
    case 408: " Request Timeout"
    case 413: " Payload Too Large"
    case 415: " Unsupported Media Type"
    case 416: " Range Not Satisfiable"
    case 429: " Too Many Requests"
    case 500: " Internal Server Error"
    case 502: " Bad Gateway"
    case 503: " Service Unavailable"
    case 504: " Gateway Timeout"
    default: ""
    }
  }
}

/// What was being done, for messages: an action on an object of a repository.
package struct RegistryOperation: Sendable {
  /// "resolve", "fetch", "push"…
  package var action: String
  /// What of, as a person would type it.
  package var subject: String
  package var repository: Reference
  package init(_ action: String, _ subject: String, in repository: Reference) {
    self.action = action
    self.subject = subject
    self.repository = repository
  }
  package var sentence: String { "cannot \(action) \(subject)" }
}

extension RegistryError {
  /// The error for a refused request, from its status, its fields and the first bytes of its body.
  package init(_ operation: RegistryOperation, status: Int, host: String, request: String, body: [UInt8], contentType: String, retryAfter: Duration?, rateLimit: RegistryRateLimit?) {
    let details = RegistryErrorBody.details(body, contentType: contentType)
    let code: Code =
      switch status {
      // Some say so with another status (ECR has used 400 and 403).
      case 400..<500 where details.contains { $0.code.uppercased() == "TOOMANYREQUESTS" }: .rateLimited
      case 401: .unauthorized
      case 403: .denied
      case 404: .notFound
      case 429: .rateLimited
      case 400..<500: .refused
      default: status >= 500 ? .serverFailure : .invalidResponse
      }
    // A registry that hides what exists says 404 or "unknown" for what may merely be private.
    self.init(
      code, operation.sentence, host: host, repository: operation.repository.path, status: status, details: details, request: request,
      retryAfterSeconds: retryAfter.map { $0.components.seconds }, rateLimit: code == .rateLimited ? rateLimit : nil,
      advice: RegistryError.advice(code, operation, host: host))
  }

  package static func advice(_ code: Code, _ operation: RegistryOperation, host: String) -> String {
    let name = operation.repository.domain
    switch code {
    case .unauthorized:
      return "Log in to \(name) (docker login \(name), or any tool that writes ~/.docker/config.json) with an account that may \(operation.action) \(operation.repository.familiarName)."
    case .denied:
      return "The account used for \(name) may not \(operation.action) \(operation.repository.familiarName): log in with another, or check the repository's name and permissions."
    case .notFound:
      return "Check the name and the tag; a private repository may look absent until you log in to \(name)."
    case .rateLimited:
      return "Wait, or log in to \(name): registries allow more to a known account."
    default: return ""
    }
  }
}

/// Reads the body of a refusal. Bodies are hostile or at best HTML; what comes out is short, printable, one line an entry.
package enum RegistryErrorBody {
  package static let limit = 64 << 10

  package static func details(_ body: [UInt8], contentType: String) -> [RegistryError.Detail] {
    if let json = try? JSONValue(parsing: body, maxDepth: 32), let object = json.objectValue {
      if let entries = object["errors"]?.arrayValue {
        let details = entries.prefix(8).compactMap(entry)
        if !details.isEmpty { return details }
      }
      // Token servers: RFC 6749's error document, and the plain forms of Hub, Harbor and GitLab.
      let code = text(object["error"]) ?? text(object["code"]) ?? ""
      let message = text(object["error_description"]) ?? text(object["details"]) ?? text(object["message"]) ?? text(object["detail"]) ?? ""
      if !code.isEmpty || !message.isEmpty { return [RegistryError.Detail(code: code, message: message)] }
    }
    let plain = contentType.contains("html") || body.prefix(256).contains(0x3c) ? withoutMarkup(body) : clean(String(decoding: body.prefix(4096), as: UTF8.self), limit: 300)
    return plain.isEmpty ? [] : [RegistryError.Detail(code: "", message: plain)]
  }

  private static func entry(_ json: JSONValue) -> RegistryError.Detail? {
    if let plain = json.stringValue { return RegistryError.Detail(code: "", message: clean(plain, limit: 400)) }
    guard let object = json.objectValue else { return nil }
    let code = text(object["code"]) ?? "", message = text(object["message"]) ?? ""
    var detail = ""
    if let d = object["detail"], !d.isNull { detail = text(d) ?? clean(d.encodedString(escapeHTML: false), limit: 300) }
    if detail == "{}" || detail == "[]" { detail = "" }
    return code.isEmpty && message.isEmpty && detail.isEmpty ? nil : RegistryError.Detail(code: code, message: message, detail: detail)
  }

  private static func text(_ json: JSONValue?) -> String? {
    switch json {
    case .string(let s): clean(s, limit: 400)
    case .number(let n): clean(n, limit: 40)
    default: nil
    }
  }

  /// One line, no control characters (a registry must not be able to drive the user's terminal), cut at `limit` characters.
  static func clean(_ text: String, limit: Int) -> String {
    let words = text.unicodeScalars.map { scalar -> Character in
      let c = scalar.properties.generalCategory
      return c == .control || c == .format || c == .lineSeparator || c == .paragraphSeparator ? " " : Character(scalar)
    }
    let line = String(words).split(separator: " ").joined(separator: " ")
    return line.count > limit ? line.prefix(limit) + "…" : line
  }

  /// The visible text of an HTML page, for proxies and load balancers that answer with one.
  private static func withoutMarkup(_ body: [UInt8]) -> String {
    var text = String(decoding: body.prefix(16 << 10), as: UTF8.self)
    for element in ["script", "style", "head"] {
      while let open = text.firstRange(of: "<" + element), let close = text[open.upperBound...].firstRange(of: "</\(element)>") {
        let removed = text[open.lowerBound..<close.upperBound]
        let title = element == "head" ? removed.firstRange(of: "<title>").flatMap { t in removed[t.upperBound...].firstRange(of: "</title>").map { String(removed[t.upperBound..<$0.lowerBound]) } } : nil
        text.replaceSubrange(open.lowerBound..<close.upperBound, with: title.map { $0 + " " } ?? "")
      }
    }
    var out = "", inside = false
    for c in text {
      switch c {
      case "<": inside = true
      case ">": inside = false; out += " "
      default: if !inside { out.append(c) }
      }
    }
    return clean(out, limit: 200)
  }
}
