/// Says which platforms will do where one is wanted, and which of two is the better choice: containerd's `platforms` package, so that
/// the same image comes out of an index here as there. Pure values; made once, asked often.
public struct PlatformMatcher: Hashable, Sendable {
  private enum Mode: Hashable, Sendable { case ordered, any, all }
  private var mode: Mode
  private var entries: [Entry]

  /// What `wanted` runs: itself first, then what its processor runs as well, in falling order: amd64/v3 also v2, v1 and 386; arm64 also
  /// older arm64 and arm/v8 to v5; arm/v7 also v6 and v5. With a Windows version, what that version can run.
  public init(only wanted: Platform) {
    self.init(.ordered, PlatformMatcher.vector(wanted.normalized))
  }
  /// Exactly `wanted`, by whatever alias (and an `os.version` that will do).
  public init(exactly wanted: Platform) { self.init(.ordered, [wanted]) }
  /// Any of these; an earlier one is better.
  public init(ordered platforms: [Platform]) { self.init(.ordered, platforms) }
  /// Any of these, none better than another.
  public init(anyOf platforms: [Platform]) { self.init(.any, platforms) }
  /// Everything.
  public static let all = PlatformMatcher(.all, [])

  private init(_ mode: Mode, _ platforms: [Platform]) {
    self.mode = mode
    entries = platforms.map(Entry.init)
  }

  public func matches(_ platform: Platform) -> Bool {
    if mode == .all { return true }
    let normalized = platform.normalized
    return entries.contains { $0.matches(normalized) }
  }

  /// Whether `a` is to be taken before `b`. Of two that match equally well the one that uses more of the wanted `os.features`.
  /// What matches comes before what does not.
  public func isBetter(_ a: Platform, than b: Platform) -> Bool {
    // The number of features counts as written, repetitions included, as in containerd.
    let counts = (a.osFeatures.count, b.osFeatures.count)
    var (a, b) = (a.normalized, b.normalized)
    if let answer = compare(a, b, counts) { return answer }
    guard counts.0 > 0 || counts.1 > 0 else { return false }
    (a.osFeatures, b.osFeatures) = ([], [])
    return compare(a, b, (0, 0)) ?? false
  }
  /// An entry of an index without a platform comes last.
  public func isBetter(_ a: Platform?, than b: Platform?) -> Bool {
    guard let a else { return false }
    guard let b else { return true }
    return isBetter(a, than: b)
  }

  /// nil when neither matches.
  private func compare(_ a: Platform, _ b: Platform, _ features: (Int, Int)) -> Bool? {
    switch mode {
    case .all: return false
    case .ordered:
      for entry in entries {
        switch (entry.matches(a), entry.matches(b)) {
        case (true, true): return features.0 > features.1
        case (true, false): return true
        case (false, true): return false
        case (false, false): continue
        }
      }
      return nil
    case .any:
      let (first, second) = (entries.contains { $0.matches(a) }, entries.contains { $0.matches(b) })
      if first, second { return features.0 > features.1 }
      return first || second ? first : nil
    }
  }

  /// `platforms` for an error that says what there is instead: without repetitions and without the entries of attestations, first what the wanted
  /// platform's processor runs, then the same architecture, then the same operating system; otherwise in their own order.
  public static func nearest(_ platforms: [Platform], to wanted: Platform) -> [Platform] {
    let wanted = wanted.normalized, matcher = PlatformMatcher(only: wanted)
    var seen = Set<String>()
    let unique = platforms.map(\.normalized).filter { $0.os != "unknown" && $0.architecture != "unknown" && seen.insert($0.fullDescription).inserted }
    func rank(_ platform: Platform) -> Int {
      if matcher.matches(platform) { return 0 }
      if platform.os == wanted.os { return platform.architecture == wanted.architecture ? 1 : 2 }
      return platform.architecture == wanted.architecture ? 3 : 4
    }
    return unique.enumerated().sorted { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }.map(\.element)
  }

  // MARK: What runs what

  private static func vector(_ wanted: Platform) -> [Platform] {
    func with(_ architecture: String, _ variant: String) -> Platform {
      var platform = wanted
      (platform.architecture, platform.variant) = (architecture, variant)
      return platform
    }
    let level = Int(wanted.variant.hasPrefix("v") ? wanted.variant.dropFirst() : wanted.variant[...]).flatMap { $0 <= 100 ? $0 : nil }
    switch wanted.architecture {
    case "amd64":
      let older = level.map { $0 > 1 ? (1..<$0).reversed().map { with("amd64", "v\($0)") } : [] } ?? []
      return [wanted] + older + [with("386", "")]
    case "arm":
      return [wanted] + (level.map { $0 > 5 ? (5..<$0).reversed().map { with("arm", "v\($0)") } : [] } ?? [])
    case "arm64":
      guard let generations = arm64Generations(wanted.variant.isEmpty ? "v8" : wanted.variant) else { return [] }
      let variants = generations.flatMap { major, minor in (0...minor).reversed().map { $0 == 0 ? "v\(major)" : "v\(major).\($0)" } }
      return variants.map { with("arm64", $0) } + vector(with("arm", "v8"))
    default: return [wanted]
    }
  }

  /// v8.0 to v8.9, v9.0 to v9.7, which includes the v8 that is five further on (Arm Architecture Reference Manual, A2.2).
  private static func arm64Generations(_ variant: String) -> [(major: Int, minor: Int)]? {
    let parts = variant.split(separator: ".", omittingEmptySubsequences: false)
    guard let first = parts.first, parts.count <= 2, let minor = parts.count == 2 ? (parts[1].utf8.count == 1 ? Int(parts[1]) : nil) : 0, minor >= 0 else { return nil }
    switch first {
    case "v8": return [(8, minor)]
    case "v9": return minor <= 7 ? [(9, minor), (8, min(minor + 5, 9))] : nil
    default: return nil
    }
  }

  /// One wanted platform.
  private struct Entry: Hashable, Sendable {
    let platform: Platform
    let windows: WindowsVersion?

    init(_ platform: Platform) {
      self.platform = platform.normalized
      windows = self.platform.os == "windows" ? WindowsVersion(platform.osVersion) : nil
    }

    /// `other` is normalised.
    func matches(_ other: Platform) -> Bool {
      guard platform.os == other.os, platform.architecture == other.architecture, platform.variant == other.variant else { return false }
      if let windows, !windows.isUnknown, !other.osVersion.isEmpty, !windows.runs(WindowsVersion(other.osVersion)) { return false }
      // win32k says that an image needs a desktop kernel; it never kept one from being chosen.
      let needed = platform.os == "windows" ? other.osFeatures.filter { $0 != "win32k" } : other.osFeatures
      return needed.allSatisfy(platform.osFeatures.contains)
    }
  }

  /// `major.minor.build[.revision]`; all zero when the text is not of this form.
  private struct WindowsVersion: Hashable, Sendable {
    var major: UInt8 = 0, minor: UInt8 = 0, build: UInt16 = 0
    var isUnknown: Bool { self == WindowsVersion() }

    init() {}
    init(_ text: String) {
      let parts = text.split(separator: ".", omittingEmptySubsequences: false)
      guard parts.count >= 3, let major = UInt8(parts[0]), let minor = UInt8(parts[1]), let build = UInt16(parts[2]) else { return }
      (self.major, self.minor, self.build) = (major, minor, build)
    }

    /// Builds of the long-term releases, from Windows Server 2022 on: each runs images from the release before it up to its own build.
    /// Older ones run their own build only (Microsoft, "Windows container version compatibility").
    private static let longTerm: [UInt16] = [20348, 26100]

    func runs(_ image: WindowsVersion) -> Bool {
      guard major == image.major, minor == image.minor else { return false }
      guard build >= WindowsVersion.longTerm[0] else { return build == image.build }
      let oldest = WindowsVersion.longTerm.last { $0 < build } ?? WindowsVersion.longTerm[0]
      return (oldest...build).contains(image.build)
    }
  }
}

extension ImageIndex {
  /// The entries that will do, best first: those that match in the matcher's order, then those that do not say their platform (whose config
  /// has to be asked). The first is what containerd takes.
  public func candidates(for matcher: PlatformMatcher) -> [Descriptor] {
    manifests.enumerated().filter { $0.element.platform.map(matcher.matches) ?? true }
      .sorted { a, b in
        if matcher.isBetter(a.element.platform, than: b.element.platform) { return true }
        return matcher.isBetter(b.element.platform, than: a.element.platform) ? false : a.offset < b.offset
      }
      .map(\.element)
  }

  /// The entry for `wanted`; nil when there is none that says it is.
  public func manifest(for wanted: Platform) -> Descriptor? {
    candidates(for: PlatformMatcher(only: wanted)).first { $0.platform != nil }
  }

  /// The platforms the index has images for, those of attestations left out.
  public var platforms: [Platform] { manifests.compactMap(\.platform).filter { $0.os != "unknown" || $0.architecture != "unknown" } }
}
