internal import BuildInterface
internal import BuildKitProto
internal import LLB
internal import OCIModel

/// The frontend's attributes, checked: what `docker buildx build` and `buildctl --opt` say about a Dockerfile build.
struct FrontendOptions: Sendable {
  var filename = "Dockerfile"
  var target = ""
  var buildArguments: [String: String] = [:]
  var labels: [String: String] = [:]
  /// nil: the cache is used; empty: not at all; else not for the stages of these names.
  var uncachedStages: [String]?
  var resolveMode = BuildInterface.ImageResolveMode.default
  var extraHosts: [(host: String, ip: String)] = []
  var network = Pb_NetMode.unset
  /// Bytes of `/dev/shm`; 0 leaves the engine's default.
  var shmSize: Int64 = 0
  var ulimits: [Pb_Ulimit] = []
  /// nil: none is asked for.
  var resources: Pb_LinuxResources?
  var cgroupParent = ""
  var hostname = ""
  var cacheNamespace = ""
  /// Normalised, in the order asked for; empty takes the build platform, or what a base image has.
  var platforms: [Platform] = []
  var isMultiPlatform = false
  var buildPlatform: Platform
  var contextName = "context"
  var dockerfileName = "dockerfile"
  /// `dockerfilekey` was given: the Dockerfile comes from that local source even if the context is a frontend input.
  var forcesLocalDockerfile = false
  var contextSubdirectory: String?
  /// Sessions that have a local source, by its name.
  var localSessions: [String: String] = [:]
  /// What stands for names of stages and images (`NamedContexts`), by name or `name::platform`.
  var contexts: [String: String] = [:]
  /// Findings of rules that the Dockerfile reference does not have fail a build, too, where findings do.
  var failsOnOwnChecks = false
  var sessionID = ""

  /// An attribute of our own.
  static let strictChecksKey = "manifold.strict-checks"

  init(environment: FrontendEnvironment) throws {
    buildPlatform = environment.buildPlatform
    sessionID = environment.sessionID
    var attributes = environment.attributes
    try FrontendOptions.refuseWhatIsNotServed(attributes)
    // Build arguments that stand for attributes win over them.
    for (argument, key) in [("BUILDKIT_MULTI_PLATFORM", "multi-platform"), ("BUILDKIT_SANDBOX_HOSTNAME", "hostname")] {
      if let value = attributes["build-arg:" + argument], !value.isEmpty { attributes[key] = value }
    }
    for (key, value) in attributes {
      if let name = key.dropping(prefix: "build-arg:") { buildArguments[name] = value }
      if let name = key.dropping(prefix: "label:") { labels[name] = value }
      if let name = key.dropping(prefix: "local-sessionid:") { localSessions[name] = value }
      if let name = key.dropping(prefix: NamedContexts.attributePrefix) { contexts[name] = value }
    }
    if let name = attributes["filename"] { filename = name }
    target = attributes["target"] ?? ""
    failsOnOwnChecks = attributes[FrontendOptions.strictChecksKey] == "true"
    if let stages = attributes["no-cache"] { uncachedStages = stages.isEmpty ? [] : stages.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
    cgroupParent = attributes["cgroup-parent"] ?? ""
    hostname = attributes["hostname"] ?? ""
    cacheNamespace = buildArguments["BUILDKIT_CACHE_MOUNT_NS"] ?? ""
    if let name = attributes["dockerfilekey"] { (dockerfileName, forcesLocalDockerfile) = (name, true) }
    if let name = attributes["contextkey"] { contextName = name }
    contextSubdirectory = attributes["contextsubdir"]
    try readTyped(attributes)
  }

  private mutating func readTyped(_ attributes: [String: String]) throws {
    if let text = attributes["image-resolve-mode"], !text.isEmpty {
      guard let mode = BuildInterface.ImageResolveMode(rawValue: text) else { throw FrontendOptions.invalid("image-resolve-mode", text, "default, pull or local") }
      resolveMode = mode
    }
    switch attributes["force-network-mode"] ?? "" {
    case "", "sandbox": network = .unset
    case "none": network = .none
    case "host": network = .host
    case let text: throw FrontendOptions.invalid("force-network-mode", text, "sandbox, none or host")
    }
    if let text = attributes["shm-size"], !text.isEmpty {
      guard let size = Int64(text), size >= 0 else { throw FrontendOptions.invalid("shm-size", text, "a number of bytes") }
      shmSize = size
    }
    resources = try FrontendOptions.resources(attributes)
    if let text = attributes["add-hosts"], !text.isEmpty { extraHosts = try FrontendOptions.hosts(text) }
    if let text = attributes["ulimit"], !text.isEmpty { ulimits = try FrontendOptions.fields(text, of: "ulimit").map(FrontendOptions.ulimit) }
    if let text = attributes["platform"], !text.isEmpty {
      platforms = try text.split(separator: ",", omittingEmptySubsequences: false).map {
        do { return try Platform(parsing: String($0), default: buildPlatform).normalized } catch { throw BuildError(.invalidArgument, .usage, "platform: \(error)") }
      }
    }
    isMultiPlatform = platforms.count > 1
    if let text = attributes["multi-platform"], !text.isEmpty {
      guard let wanted = GoText.bool(text) else { throw FrontendOptions.invalid("multi-platform", text, "true or false") }
      if !wanted, isMultiPlatform {
        throw BuildError(.invalidArgument, .usage, "multi-platform is false, but \(platforms.count) platforms are asked for: \(platforms.map(\.description).joined(separator: ", "))")
      }
      isMultiPlatform = wanted
    }
  }

  /// Limits of steps by control groups.
  private static func resources(_ attributes: [String: String]) throws -> Pb_LinuxResources? {
    func number(_ key: String, _ isValid: (Int64) -> Bool, _ expected: String) throws -> Int64 {
      guard let text = attributes[key], !text.isEmpty else { return 0 }
      guard let number = Int64(text), isValid(number) else { throw invalid(key, text, expected) }
      return number
    }
    func set(_ key: String) throws -> String {
      let text = attributes[key] ?? ""
      guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "-") }) else { throw invalid(key, text, "a list as 0-3,5") }
      return text
    }
    var out = Pb_LinuxResources()
    out.memory = try number("memory", { $0 > 0 }, "a number of bytes")
    out.memorySwap = try number("memswap", { $0 == -1 || $0 > 0 }, "a number of bytes, or -1")
    out.cpuShares = UInt64(try number("cpushares", { $0 > 0 }, "a number above 0"))
    out.cpuPeriod = UInt64(try number("cpuperiod", { $0 > 0 }, "a number of microseconds"))
    out.cpuQuota = try number("cpuquota", { $0 > 0 }, "a number of microseconds")
    (out.cpusetCpus, out.cpusetMems) = (try set("cpusetcpus"), try set("cpusetmems"))
    return out == Pb_LinuxResources() ? nil : out
  }

  static func invalid(_ key: String, _ value: String, _ expected: String) -> BuildError {
    BuildError(.invalidArgument, .usage, "invalid \(key) \"\(value.prefix(200))\": expected \(expected)")
  }
  static func unsupported(_ what: String, instead suggestion: String? = nil) -> BuildError {
    BuildError(.unimplemented, .usage, "\(what) is not supported yet", suggestion: suggestion)
  }

  /// By their names in `frontend.caps`.
  private static let capabilities: Set<String> = [
    "moby.buildkit.frontend.inputs", "moby.buildkit.frontend.subrequests", "moby.buildkit.frontend.contexts", "moby.buildkit.frontend.gitquerystring",
  ]

  /// Attributes that change the result and that this frontend cannot follow are refused, never dropped.
  private static func refuseWhatIsNotServed(_ attributes: [String: String]) throws {
    for (key, value) in attributes.sorted(by: { $0.key < $1.key }) {
      if key == "attest:sbom" || key == "build-arg:BUILDKIT_ATTEST_SBOM" { throw unsupported("an SBOM attestation made while building", instead: "build with --sbom=false") }
      if key == "override-copy-image", !value.isEmpty { throw BuildError(.invalidArgument, .usage, "override-copy-image no longer exists: copies need no helper image") }
      if key == "frontend.caps" {
        for capability in value.split(separator: ",") where !capabilities.contains(String(capability.prefix { $0 != "+" })) && !capability.contains("+forward") {
          throw BuildError(.unimplemented, .usage, "the frontend capability \(capability) is not supported yet")
        }
      }
    }
    if let value = attributes["build-arg:BUILDKIT_DISABLE_FILEOP"], GoText.bool(value) == true {
      throw BuildError(.invalidArgument, .usage, "BUILDKIT_DISABLE_FILEOP no longer exists: copies are always file ops")
    }
  }

  func ignoresCache(stage name: String) -> Bool {
    guard let uncachedStages else { return false }
    return uncachedStages.isEmpty || uncachedStages.contains { $0.lowercased() == name.lowercased() }
  }

  /// One line of comma-separated values, quoted as in CSV.
  static func fields(_ text: String, of key: String) throws -> [String] {
    var fields: [String] = [], field: [UInt8] = [], quoted = false, wasQuoted = false
    var bytes = Array(text.utf8)[...]
    while let byte = bytes.popFirst() {
      if quoted {
        if byte != UInt8(ascii: "\"") { field.append(byte); continue }
        if bytes.first == UInt8(ascii: "\"") { field.append(byte); bytes.removeFirst() } else { quoted = false }
      } else if byte == UInt8(ascii: "\""), field.isEmpty, !wasQuoted {
        (quoted, wasQuoted) = (true, true)
      } else if byte == UInt8(ascii: ",") {
        fields.append(String(decoding: field, as: UTF8.self))
        (field, wasQuoted) = ([], false)
      } else {
        guard byte != UInt8(ascii: "\""), !wasQuoted else { throw invalid(key, text, "comma-separated values, quoted as in CSV") }
        field.append(byte)
      }
    }
    guard !quoted else { throw invalid(key, text, "a closing quote") }
    return fields + [String(decoding: field, as: UTF8.self)]
  }

  static func hosts(_ text: String) throws -> [(host: String, ip: String)] {
    try fields(text, of: "add-hosts").map { field in
      let pair = field.lowercased().split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard pair.count == 2 else { throw invalid("add-hosts", field, "host=ip") }
      guard let address = IPAddress(parsing: pair[1]) else { throw invalid("add-hosts", field, "an IP address after the '='") }
      return (pair[0], address.description)
    }
  }

  static let ulimitNames: Set<String> = [
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
  ]

  static func ulimit(_ text: String) throws -> Pb_Ulimit {
    let pair = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard pair.count == 2, ulimitNames.contains(pair[0]) else { throw invalid("ulimit", text, "name=soft[:hard] with a name of \(ulimitNames.sorted().joined(separator: ", "))") }
    let limits = pair[1].split(separator: ":", omittingEmptySubsequences: false).map { Int64($0) }
    guard (1...2).contains(limits.count), let soft = limits[0], let hard = limits.last ?? soft else { throw invalid("ulimit", text, "one or two numbers: soft[:hard]") }
    guard hard == -1 || (soft != -1 && soft <= hard) else { throw invalid("ulimit", text, "a soft limit that is not above the hard limit") }
    var ulimit = Pb_Ulimit()
    (ulimit.name, ulimit.soft, ulimit.hard) = (pair[0], soft, hard)
    return ulimit
  }
}

extension String {
  /// The rest after `prefix`, or nil.
  func dropping(prefix: String) -> String? { hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil }
}
