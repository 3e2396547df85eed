internal import BuildInterface
internal import HostOS

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// What git knows of a build's context, for provenance and labels: buildx's attributes `vcs:…`, and its variables BUILDX_GIT_INFO, BUILDX_GIT_LABELS
/// and BUILDX_GIT_CHECK_DIRTY. Nothing is run where no directory above the context holds a `.git`.
struct GitFacts: Sendable {
  var attributes: [String: String] = [:]
  var warning: String?

  /// - Parameters:
  ///   - directories: the client's, by the names that builds know them by.
  ///   - dockerfile: its path.
  static func of(context: String, directories: [String: String], dockerfile: String?, environment: [String: String]) async throws -> GitFacts {
    let wantsLabels = environment["BUILDX_GIT_LABELS"].map { $0 == "full" || TruthWord.parse($0) == true } ?? false
    let wantsInfo = environment["BUILDX_GIT_INFO"].flatMap(TruthWord.parse) ?? true
    guard wantsLabels || wantsInfo, holdsRepository(context) else { return GitFacts() }
    do {
      return try await ask(
        Git(directory: context), directories, dockerfile, wantsInfo: wantsInfo, wantsLabels: wantsLabels,
        checksChanges: environment["BUILDX_GIT_CHECK_DIRTY"].flatMap(TruthWord.parse) ?? false)
    } catch let error as HostError {
      guard Files.exists(context + "/.git") else { return GitFacts() }
      return GitFacts(warning: "what git knows of \(context) is not recorded: \(error.code == .notFound ? "git is not installed" : "\(error)")")
    }
  }

  private static func holdsRepository(_ path: String) -> Bool {
    guard let real = realPath(path) else { return false }
    var parts = real.split(separator: "/")
    while true {
      if Files.exists("/" + parts.joined(separator: "/") + "/.git") { return true }
      if parts.popLast() == nil { return false }
    }
  }

  private static func ask(
    _ git: Git, _ directories: [String: String], _ dockerfile: String?, wantsInfo: Bool, wantsLabels: Bool, checksChanges: Bool
  ) async throws -> GitFacts {
    async let place = git.run("rev-parse", "--is-inside-work-tree", "--show-toplevel", "HEAD")
    async let remotes = git.run("remote", "-v")
    async let branches = git.run("for-each-ref", "--format=%(HEAD) %(upstream:remotename)", "refs/heads")
    let (found, lines) = (try await place, try await place.outputText.split(separator: "\n").map(String.init))
    guard lines.count >= 2, lines[0] == "true" else {
      _ = try await (remotes, branches)
      guard Files.exists(git.directory + "/.git"), lines.first != "false" else { return GitFacts() }
      let reason = found.errorText.split(separator: "\n").first.map(String.init) ?? "\(found.status)"
      return GitFacts(warning: "what git knows of \(git.directory) is not recorded: \(reason)")
    }
    let root = lines[1]
    var out = GitFacts()
    func set(_ info: String, _ label: String, _ value: String) {
      if wantsInfo { out.attributes["vcs:" + info] = value }
      if wantsLabels { out.attributes["label:" + label] = value }
    }
    if found.succeeded, lines.count >= 3, lines[2].utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) {
      var revision = lines[2]
      if checksChanges {
        let status = try await git.run("status", "--porcelain", "--ignored")
        if !status.succeeded || !status.outputText.isEmpty { revision += "-dirty" }
      }
      set("revision", "org.opencontainers.image.revision", revision)
    }
    if let url = remote(try await remotes.outputText, branches: try await branches.outputText) { set("source", "org.opencontainers.image.source", withoutCredentials(url)) }
    if wantsLabels, let dockerfile, let relative = relative(dockerfile, to: root) { out.attributes["label:com.docker.image.source.entrypoint"] = relative }
    if wantsInfo {
      for (name, directory) in directories where !name.hasPrefix("cache:") { if let relative = relative(directory, to: root) { out.attributes["vcs:localdir:" + name] = relative } }
    }
    return out
  }

  /// The address of the remote that the branch follows, else of `origin`, else of `upstream`.
  static func remote(_ remotes: String, branches: String) -> String? {
    var addresses: [String: String] = [:]
    for line in remotes.split(separator: "\n") where line.hasSuffix(" (fetch)") {
      let parts = line.dropLast(" (fetch)".count).split(separator: "\t", maxSplits: 1)
      if parts.count == 2 { addresses[String(parts[0])] = String(parts[1]) }
    }
    let followed = branches.split(separator: "\n").first { $0.hasPrefix("* ") }.map { String($0.dropFirst(2)) } ?? ""
    return addresses[followed] ?? addresses["origin"] ?? addresses["upstream"]
  }

  /// `https://user:password@host/…` with `xxxxx` for both.
  static func withoutCredentials(_ address: String) -> String {
    guard let mark = address.firstRange(of: "://") else { return address }
    let rest = address[mark.upperBound...]
    guard let at = rest.prefix(while: { $0 != "/" }).lastIndex(of: "@") else { return address }
    let user = rest[..<at]
    let name = user.prefix { $0 != ":" }
    let masked = (name.isEmpty ? "" : "xxxxx") + (name.endIndex < user.endIndex ? ":xxxxx" : "")
    return address[..<mark.upperBound] + masked + rest[at...]
  }

  /// nil for what lies elsewhere.
  private static func relative(_ path: String, to root: String) -> String? {
    guard let real = realPath(path) else { return nil }
    if real == root { return "." }
    let prefix = root == "/" ? "/" : root + "/"
    return real.hasPrefix(prefix) ? String(real.dropFirst(prefix.count)) : nil
  }

  private static func realPath(_ path: String) -> String? {
    guard let found = realpath(path, nil) else { return nil }
    defer { free(found) }
    return String(cString: found)
  }

  private struct Git: Sendable {
    let directory: String
    func run(_ arguments: String...) async throws -> ProcessOutput {
      try await Processes.run("git", ["-c", "log.showSignature=false"] + arguments, workingDirectory: directory, limit: 4 << 20)
    }
  }
}
