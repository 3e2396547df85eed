internal import BuildInterface
internal import OCIModel

/// `PLATFORM=VALUE`: an option's value for one platform alone. What stands before the first `=` is a platform when it is `os/arch[/variant]` of names that
/// exist; so `KEY=VALUE` and the names of files stay what they are. A file in a folder named like an operating system is written `./linux/arm64=x`.
struct PlatformPrefix: Sendable, Hashable {
  var platform: Platform
  /// As it was written.
  var written: String
  var value: String

  private static let systems: Set<String> = [
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows", "zos",
  ]
  private static let processors: Set<String> = [
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "aarch64", "i386", "armhf", "armel", "x86_64", "x86-64", "loong64", "mips", "mipsle", "mips64", "mips64le",
    "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
  ]

  /// nil where there is no such prefix: the text is the value for all platforms.
  init?(_ text: String) {
    guard let equals = text.firstIndex(of: "=") else { return nil }
    let written = String(text[..<equals])
    let parts = written.split(separator: "/", omittingEmptySubsequences: false).map { $0.lowercased() }
    guard (2...3).contains(parts.count), !parts.contains(""), let os = parts[0].split(separator: "(").first.map(String.init), Self.systems.contains(os),
      Self.processors.contains(parts[1]), let platform = try? Platform(parsing: written)
    else { return nil }
    (self.platform, self.written, value) = (platform.normalized, written, String(text[text.index(after: equals)...]))
  }

  /// Whether it is meant for a platform: without a version of the system it is meant for every one.
  func covers(_ other: Platform) -> Bool {
    if platform == other { return true }
    guard platform.osVersion.isEmpty, platform.osFeatures.isEmpty else { return false }
    var plain = other
    (plain.osVersion, plain.osFeatures) = ("", [])
    return platform == plain
  }
}

/// The values of one option: for all platforms, and for some.
struct PlatformValues: Sendable {
  let option: String
  private(set) var common: [String] = []
  private(set) var own: [PlatformPrefix] = []

  init(_ texts: [String], option: String) throws {
    self.option = option
    for text in texts {
      guard let prefix = PlatformPrefix(text) else {
        common.append(text)
        continue
      }
      guard !prefix.value.isEmpty else { throw BuildError.usage("\(option) \(text): there is nothing after the platform") }
      own.append(prefix)
    }
  }

  /// Those for a platform, a platform's with its system's version last: later ones win.
  func of(_ platform: Platform) -> [String] {
    let fitting = own.filter { $0.covers(platform) }
    return (fitting.filter { $0.platform != platform } + fitting.filter { $0.platform == platform }).map(\.value)
  }

  /// Refuses what is for a platform that is not built.
  func check(_ platforms: [Platform]) throws {
    guard let lost = own.first(where: { prefix in !platforms.contains(where: prefix.covers) }) else { return }
    throw BuildError.usage(
      "\(option) \(lost.written)=\(lost.value): \(lost.platform) is not built",
      suggestion: "Built are \(platforms.map(\.description).joined(separator: ", ")). A file of that name is written ./\(lost.written)=\(lost.value).")
  }
}

/// What platforms have of their own on a build's command line.
struct PlatformOptions: Sendable {
  let files: PlatformValues
  let targets: PlatformValues
  let arguments: PlatformValues
  let contexts: PlatformValues

  init(files: [String], targets: [String], arguments: [String], contexts: [String] = []) throws {
    self.files = try PlatformValues(files, option: "-f")
    self.targets = try PlatformValues(targets, option: "--target")
    self.arguments = try PlatformValues(arguments, option: "--build-arg")
    self.contexts = try PlatformValues(contexts, option: "--build-context")
  }

  private var all: [PlatformValues] { [files, targets, arguments, contexts] }

  /// What is built when `--platform` does not say: the platforms that have a Dockerfile of their own, and this machine's where there is one for all beside them.
  func platforms(given: [Platform], host: Platform) throws -> [Platform] {
    var platforms = given
    if platforms.isEmpty, !files.own.isEmpty {
      for file in files.own where !platforms.contains(file.platform) { platforms.append(file.platform) }
      if !files.common.isEmpty, !platforms.contains(host.normalized) { platforms.append(host.normalized) }
    }
    // Without a list the machine's own platform is built.
    let built = platforms.isEmpty ? [host.normalized] : platforms
    for values in all { try values.check(built) }
    // The frontend must know by which name the attributes go.
    return platforms.isEmpty && all.contains { !$0.own.isEmpty } ? built : platforms
  }

  /// The Dockerfile of those without one of their own; where there are none, any.
  func commonFile(_ platforms: [Platform]) -> String? {
    if let file = files.common.last { return file }
    return !platforms.isEmpty && platforms.allSatisfy({ !files.of($0).isEmpty }) ? files.own.first?.value : nil
  }

  /// The attributes of the platforms that have some, and the directories that their Dockerfiles are in, by names for the build's client.
  func attributes(
    _ platforms: [Platform], directories: [String: String], environment: [String: String], locate: (String) throws -> (directory: String?, filename: String)
  ) throws -> (attributes: [String: String], directories: [String: String]) {
    var out: [String: String] = [:], added: [String: String] = [:]
    for platform in platforms {
      func set(_ key: String, _ value: String) { out[PlatformAttributes.name(key, for: platform)] = value }
      if let target = targets.of(platform).last { set("target", target) }
      for (name, value) in try StepSettings.pairs(arguments.of(platform), option: "--build-arg", environment: environment) { set("build-arg:" + name, value) }
      guard let file = files.of(platform).last else { continue }
      let found = try locate(file)
      set("filename", found.filename)
      // Without one it is in the context. A directory has one name, so that what is read from it is read once.
      guard let directory = found.directory, directories["dockerfile"] != directory else { continue }
      let name = added.first { $0.value == directory }?.key ?? "dockerfile-\(added.count + 1)"
      added[name] = directory
      set("dockerfilekey", name)
    }
    return (out, added)
  }
}
