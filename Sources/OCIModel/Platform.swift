/// What an image runs on: `os/architecture[/variant]`, with an optional `os.version` and `os.features`
/// (OCI image-spec, image-index.md, "platform"; containerd's platforms package for aliases and defaults).
///
/// Values made by `init(parsing:)` and `normalized` use the canonical names (amd64, arm64, arm/v7, 386…).
public struct Platform: Hashable, Sendable, CustomStringConvertible {
  public var os: String
  public var architecture: String
  /// Empty when the architecture has none or its default is meant (`arm64` is `v8`, `amd64` is `v1`).
  public var variant: String
  /// Windows only in practice: `10.0.20348.1`. Empty when any will do.
  public var osVersion: String
  public var osFeatures: [String]

  public init(os: String, architecture: String, variant: String = "", osVersion: String = "", osFeatures: [String] = []) {
    self.os = os
    self.architecture = architecture
    self.variant = variant
    self.osVersion = osVersion
    self.osFeatures = osFeatures
  }

  /// The platform this program was compiled for; `variant` empty except `arm/v7`.
  public static var current: Platform {
    #if os(Linux)
      let os = "linux"
    #elseif os(macOS)
      let os = "darwin"
    #else
      let os = "unknown"
    #endif
    #if arch(x86_64)
      return Platform(os: os, architecture: "amd64")
    #elseif arch(arm64)
      return Platform(os: os, architecture: "arm64")
    #elseif arch(arm)
      return Platform(os: os, architecture: "arm", variant: "v7")
    #elseif arch(i386)
      return Platform(os: os, architecture: "386")
    #elseif arch(powerpc64le)
      return Platform(os: os, architecture: "ppc64le")
    #elseif arch(s390x)
      return Platform(os: os, architecture: "s390x")
    #elseif arch(riscv64)
      return Platform(os: os, architecture: "riscv64")
    #else
      return Platform(os: os, architecture: "unknown")
    #endif
  }

  static let knownOperatingSystems: Set<String> = [
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd", "openbsd",
    "plan9", "solaris", "windows", "zos",
  ]
  static let knownArchitectures: Set<String> = [
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64", "mips64le", "mips64p32",
    "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
  ]

  /// Parses `os[(version[+feature…])]/architecture[/variant]`, `os` alone or `architecture` alone (the other half is then the host's).
  /// The result is normalised. Throws `OCIError.invalidPlatform`.
  public init(parsing text: String, default host: Platform = .current) throws(OCIError) {
    func bad(_ why: String) -> OCIError { OCIError(.invalidPlatform, "invalid platform \"\(text.prefix(100))\": \(why)") }
    if text.contains("*") { throw bad("wildcards are not supported") }
    var parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    var osVersion = "", osFeatures: [String] = []
    if let first = parts.first, let open = first.firstIndex(of: "("), first.hasSuffix(")") {
      let options = first[first.index(after: open)..<first.index(before: first.endIndex)].split(separator: "+", omittingEmptySubsequences: false).map(String.init)
      guard parts[0].utf8.count > 2, let version = options.first.flatMap(Platform.option) else { throw bad("the version in parentheses is malformed") }
      osVersion = version
      for text in options.dropFirst() {
        guard !text.isEmpty, let feature = Platform.option(text) else { throw bad("a feature in parentheses is empty or malformed") }
        osFeatures.append(feature)
      }
      parts[0] = String(first[..<open])
    }
    for (i, part) in parts.enumerated() {
      // The operating system's name has no dot, the others may.
      guard !part.isEmpty, part.utf8.allSatisfy({ Platform.isNameCharacter($0) && (i > 0 || $0 != 0x2e) }) else {
        throw bad(parts[0].lowercased() == "windows" ? "a version of Windows is written as in windows(10.0.20348)/amd64" : "expected os/architecture or os/architecture/variant, as linux/arm/v7")
      }
    }
    switch parts.count {
    case 1:
      let os = Platform.normalizedOS(parts[0])
      if Platform.knownOperatingSystems.contains(os) {
        let variant = host.architecture == "arm" && host.variant != "v7" ? host.variant : ""
        self.init(os: os, architecture: host.architecture, variant: variant, osVersion: osVersion, osFeatures: osFeatures)
        return
      }
      var (architecture, variant) = Platform.normalizedArchitecture(parts[0], "")
      if architecture == "arm", variant == "v7" { variant = "" }
      guard Platform.knownArchitectures.contains(architecture), !text.contains("(") else { throw bad("unknown operating system or architecture") }
      self.init(os: host.os, architecture: architecture, variant: variant)
    case 2:
      var (architecture, variant) = Platform.normalizedArchitecture(parts[1], "")
      if architecture == "arm", variant == "v7" { variant = "" }
      self.init(os: Platform.normalizedOS(parts[0]), architecture: architecture, variant: variant, osVersion: osVersion, osFeatures: osFeatures)
    case 3:
      var (architecture, variant) = Platform.normalizedArchitecture(parts[1], parts[2])
      if architecture == "arm64", variant.isEmpty { variant = "v8" }
      self.init(os: Platform.normalizedOS(parts[0]), architecture: architecture, variant: variant, osVersion: osVersion, osFeatures: osFeatures)
    default: throw bad("too many parts: expected os/architecture[/variant]")
    }
  }

  private static func isNameCharacter(_ c: UInt8) -> Bool {
    (0x30...0x39).contains(c) || (0x41...0x5a).contains(c) || (0x61...0x7a).contains(c) || c == 0x5f || c == 0x2d || c == 0x2e
  }

  /// A version or feature as written in parentheses, its percent escapes resolved; nil when it is malformed.
  private static func option(_ text: String) -> String? {
    guard text.utf8.allSatisfy({ isNameCharacter($0) || $0 == 0x25 }) else { return nil }
    var out = [UInt8](), bytes = Array(text.utf8)[...]
    while let c = bytes.popFirst() {
      if c == 0x25 {
        let digits = bytes.prefix(2)
        guard digits.count == 2, digits.allSatisfy({ ($0 >= 0x30 && $0 <= 0x39) || ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x66) }), let v = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
        else { return nil }
        out.append(v)
        bytes = bytes.dropFirst(2)
      } else { out.append(c) }
    }
    return String(validating: out, as: UTF8.self)
  }

  static func normalizedOS(_ os: String) -> String {
    let os = os.isEmpty ? Platform.current.os : os.lowercased()
    return os == "macos" ? "darwin" : os
  }

  static func normalizedArchitecture(_ architecture: String, _ variant: String) -> (String, String) {
    let (a, v) = (architecture.lowercased(), variant.lowercased())
    switch a {
    case "i386": return ("386", "")
    case "x86_64", "x86-64", "amd64": return ("amd64", v == "v1" ? "" : v)
    case "aarch64", "arm64": return ("arm64", v == "8" || v == "v8" || v == "v8.0" ? "" : v == "9" || v == "9.0" || v == "v9.0" ? "v9" : v)
    case "armhf": return ("arm", "v7")
    case "armel": return ("arm", "v6")
    case "arm":
      switch v {
      case "", "7": return ("arm", "v7")
      case "5", "6", "8": return ("arm", "v" + v)
      default: return ("arm", v)
      }
    default: return (a, v)
    }
  }

  /// Canonical names and variants: aliases resolved, default variants dropped (`arm` gets its `v7`), features sorted, each once.
  public var normalized: Platform {
    let (architecture, variant) = Platform.normalizedArchitecture(architecture, variant)
    return Platform(os: Platform.normalizedOS(os), architecture: architecture, variant: variant, osVersion: osVersion, osFeatures: Platform.sorted(osFeatures))
  }

  private static func sorted(_ features: [String]) -> [String] {
    var out: [String] = []
    for feature in features.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) where out.last != feature { out.append(feature) }
    return out
  }

  private static func escaped(_ text: String) -> String {
    var out = ""
    for c in text {
      switch c {
      case "%": out += "%25"
      case "+": out += "%2B"
      case "(": out += "%28"
      case ")": out += "%29"
      case "/": out += "%2F"
      default: out.append(c)
      }
    }
    return out
  }

  /// `os/architecture[/variant]`, without version and features: what people type and BuildKit uses as a platform's id.
  public var description: String {
    if os.isEmpty { return "unknown" }
    return [os, architecture, variant].filter { !$0.isEmpty }.joined(separator: "/")
  }
  /// As `description`, with `os(version+features)`.
  public var fullDescription: String {
    guard !osVersion.isEmpty || !osFeatures.isEmpty, !os.isEmpty else { return description }
    let options = ([osVersion] + Platform.sorted(osFeatures).filter { !$0.isEmpty }).map(Platform.escaped).joined(separator: "+")
    guard !options.isEmpty else { return description }
    return ["\(os)(\(options))", architecture, variant].filter { !$0.isEmpty }.joined(separator: "/")
  }

  public init(json: JSONValue) throws(OCIError) {
    guard let object = json.objectValue else { throw OCIError(.invalidDocument, "platform is not an object") }
    self.init(
      os: try object.text("os", "platform") ?? "", architecture: try object.text("architecture", "platform") ?? "", variant: try object.text("variant", "platform") ?? "",
      osVersion: try object.text("os.version", "platform") ?? "", osFeatures: try object.texts("os.features", "platform") ?? [])
  }
  /// In the member order of image-spec's Go type: architecture, os, os.version, os.features, variant.
  public var json: JSONValue {
    var object = JSONObject([("architecture", .string(architecture)), ("os", .string(os))])
    if !osVersion.isEmpty { object["os.version"] = .string(osVersion) }
    if !osFeatures.isEmpty { object["os.features"] = .array(osFeatures.map { .string($0) }) }
    if !variant.isEmpty { object["variant"] = .string(variant) }
    return .object(object)
  }
}
