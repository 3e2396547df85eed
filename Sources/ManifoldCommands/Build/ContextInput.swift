internal import BuildInterface
internal import HostOS
internal import LLB

/// The build context and the Dockerfile, as the command line names them: buildx's rules (build/opt.go).
struct ContextInput: Sendable {
  enum Context: Sendable, Hashable {
    /// Absolute.
    case directory(String)
    /// A git repository, or a file of the web.
    case address(String)
    /// A tar archive, or else the Dockerfile alone.
    case standardInput
  }
  enum Dockerfile: Sendable, Hashable {
    /// A directory of this machine, absolute, that has it.
    case directory(String)
    /// Within the context.
    case inContext
    case standardInput
    case address(String)
  }
  var context: Context
  var dockerfile: Dockerfile
  /// The Dockerfile as the person names it: buildx's words.
  var shownDockerfile: String
  /// The Dockerfile's name in its directory, or its path in the context.
  var filename: String
  /// -f was given.
  var namesDockerfile: Bool

  /// Whether the frontend takes the Dockerfile from this machine though the context is elsewhere.
  var forcesDockerfile: Bool {
    switch (dockerfile, context) {
    case (.standardInput, _), (.address, _), (.directory, .address): true
    default: false
    }
  }
  /// Whether the context is a repository that is reached by ssh.
  var isOverSSH: Bool {
    get throws {
      guard case .address(let address) = context else { return false }
      return try ContextInput.isOverSSH(address)
    }
  }
  static func isOverSSH(_ address: String) throws -> Bool { try repository(address)?.scheme == "ssh" }
  var readsStandardInput: Bool { context == .standardInput || dockerfile == .standardInput }

  static let defaultFile = "Dockerfile"

  init(context: String, file: String?, facts: CommandFacts) throws {
    guard !context.isEmpty else { throw BuildError.usage("the build context is missing", suggestion: "Name a directory, such as . for this one.") }
    self.context = try ContextInput.context(context, facts)
    let file = file ?? ""
    namesDockerfile = !file.isEmpty
    if file == "-" {
      guard self.context != .standardInput else {
        throw BuildError.usage(
          "invalid argument: can't use stdin for both build context and dockerfile", suggestion: "Leave -f - out to send a tar archive or a Dockerfile alone; or name the context's directory.")
      }
      (dockerfile, filename, shownDockerfile) = (.standardInput, ContextInput.defaultFile, "stdin")
      return
    }
    if file.hasPrefix("http://") || file.hasPrefix("https://") {
      (dockerfile, filename, shownDockerfile) = (.address(file), ContextInput.defaultFile, file)
      return
    }
    switch self.context {
    case .directory(let directory) where file.isEmpty:
      (dockerfile, filename) = (.directory(directory), ContextInput.defaultName(in: directory))
      shownDockerfile = ContextInput.cleaned(context + "/" + filename)
      try ContextInput.check(directory, filename, shown: context == "." ? filename : context + "/" + filename, context: context)
    case .directory: (dockerfile, filename, shownDockerfile) = try ContextInput.local(file, context: context, facts)
    case .address where file.hasPrefix("/"): (dockerfile, filename, shownDockerfile) = try ContextInput.local(file, context: nil, facts)
    case .address, .standardInput:
      (dockerfile, filename) = (.inContext, file.isEmpty ? ContextInput.defaultFile : file)
      shownDockerfile = file.isEmpty ? context == "-" ? ContextInput.defaultFile : context + "/" + ContextInput.defaultFile : file
    }
  }

  private static func context(_ text: String, _ facts: CommandFacts) throws -> Context {
    if text == "-" { return .standardInput }
    let directory = facts.absolute(text)
    // What is there is meant, whatever it looks like.
    if let status = try? Files.status(directory) {
      guard status.kind == .directory else {
        throw BuildError.usage(
          "the build context \(text) is a file; it must be a directory", suggestion: "A tar archive goes to standard input: manifold build - < \(text)")
      }
      return .directory(directory)
    }
    if try isAddress(text) { return .address(text) }
    if let scheme = ["oci-layout://", "docker-image://", "target:"].first(where: text.hasPrefix) {
      throw BuildError.usage("the build context \(text): only a named context can be \(scheme)…", suggestion: "Name it with --build-context NAME=\(text), and give a directory.")
    }
    throw BuildError.usage(
      "there is no directory \(text) to build", suggestion: text.hasSuffix(".git") ? "A repository is named with its protocol, as https://\(text)." : nil)
  }

  /// Whether it is of a repository or of a file of the web. Throws for a repository's that is wrong.
  static func isAddress(_ text: String) throws -> Bool {
    if text.hasPrefix("http://") || text.hasPrefix("https://") {
      _ = try repository(text)
      return true
    }
    return try repository(text) != nil
  }

  /// Whose address it is, when it is one.
  static func repository(_ text: String) throws -> GitAddress? {
    do { return try GitAddress(parsing: text, context: true) } catch {
      throw BuildError.usage("\(text): \(error)", suggestion: "A repository is named as in https://host/repo.git#ref:directory or https://host/repo.git?branch=main&subdir=directory.")
    }
  }

  /// A Dockerfile of this machine, wherever it is.
  /// - Parameter context: a directory, for advice.
  private static func local(_ file: String, context: String?, _ facts: CommandFacts) throws -> (Dockerfile, filename: String, shown: String) {
    let path = facts.absolute(file)
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let parent = slash == path.startIndex ? "/" : String(path[..<slash])
    let name = String(path[path.index(after: slash)...])
    let filename = name == defaultFile ? defaultName(in: parent) : name
    try check(parent, filename, shown: file, context: context)
    return (.directory(parent), filename, file)
  }

  /// `dockerfile` where there is no `Dockerfile`, as the peers have it.
  private static func defaultName(in directory: String) -> String {
    !Files.exists(directory + "/Dockerfile") && Files.exists(directory + "/dockerfile") ? "dockerfile" : "Dockerfile"
  }

  private static func check(_ directory: String, _ name: String, shown: String, context: String?) throws {
    guard let status = try? Files.status(directory + "/" + name) else {
      let others = ["Containerfile", "Dockerfile", "dockerfile"].filter { $0 != name && Files.exists(directory + "/" + $0) }
      let inContext = context.flatMap { context in
        Files.exists(context + "/" + shown) ? "-f is looked up from this directory, not from the build context: -f \(context)/\(shown)" : nil
      }
      throw BuildError.usage(
        "there is no Dockerfile \(shown)",
        suggestion: inContext ?? others.first.map { "There is \(directory)/\($0): name it with -f." } ?? "Name it with -f FILE.")
    }
    guard status.kind != .directory else { throw BuildError.usage("the Dockerfile \(shown) is a directory") }
  }

  /// As Go's filepath.Join shows a path: without `.`, doubled slashes and, where it can be told, `..`.
  private static func cleaned(_ path: String) -> String {
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part == "..", let last = parts.last, last != ".." { parts.removeLast() } else if part != ".." || !path.hasPrefix("/") { parts.append(part) }
    }
    return (path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
  }
}
