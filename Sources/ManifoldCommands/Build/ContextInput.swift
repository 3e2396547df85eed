internal import BuildInterface
internal import HostOS

/// The build context and the Dockerfile, found on this machine.
struct ContextInput: Sendable {
  /// Absolute.
  var contextDirectory: String
  /// Absolute; nil while the Dockerfile is still to be read from standard input.
  var dockerfileDirectory: String?
  /// The Dockerfile as the person names it: buildx's words.
  var shownDockerfile: String
  /// The Dockerfile's name in its directory.
  var filename: String

  init(context: String, file: String?, facts: CommandFacts) throws {
    guard !context.isEmpty else { throw BuildError.usage("the build context is missing", suggestion: "Name a directory, such as . for this one.") }
    guard context != "-" else {
      throw BuildError.notYet(
        "a build context from standard input", suggestion: "Name a directory. A Dockerfile alone may come from standard input: manifold build -f - DIR")
    }
    let directory = facts.absolute(context)
    guard let status = try? Files.status(directory) else {
      if ContextInput.isRemote(context) {
        throw BuildError.notYet("a build context from an address (\(context))", suggestion: "Fetch it first and name the directory.")
      }
      throw BuildError.usage("there is no directory \(context) to build")
    }
    guard status.kind == .directory else { throw BuildError.usage("the build context \(context) is a file; it must be a directory") }
    contextDirectory = directory
    guard let file, !file.isEmpty else {
      (dockerfileDirectory, filename) = (directory, ContextInput.defaultName(in: directory))
      shownDockerfile = ContextInput.cleaned(context + "/" + filename)
      try ContextInput.check(directory, filename, shown: context == "." ? filename : context + "/" + filename, context: context)
      return
    }
    if file == "-" {
      (dockerfileDirectory, filename) = (nil, "Dockerfile")
      shownDockerfile = "stdin"
      return
    }
    if file.hasPrefix("http://") || file.hasPrefix("https://") {
      throw BuildError.notYet("a Dockerfile from an address (\(file))", suggestion: "Fetch it first and name the file.")
    }
    shownDockerfile = file
    let path = facts.absolute(file)
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let parent = slash == path.startIndex ? "/" : String(path[..<slash])
    let name = String(path[path.index(after: slash)...])
    (dockerfileDirectory, filename) = (parent, name == "Dockerfile" ? ContextInput.defaultName(in: parent) : name)
    try ContextInput.check(parent, filename, shown: file, context: context)
  }

  /// `dockerfile` where there is no `Dockerfile`, as the peers have it.
  private static func defaultName(in directory: String) -> String {
    !Files.exists(directory + "/Dockerfile") && Files.exists(directory + "/dockerfile") ? "dockerfile" : "Dockerfile"
  }

  private static func check(_ directory: String, _ name: String, shown: String, context: String) throws {
    guard let status = try? Files.status(directory + "/" + name) else {
      let others = ["Containerfile", "Dockerfile", "dockerfile"].filter { $0 != name && Files.exists(directory + "/" + $0) }
      let inContext = Files.exists(context + "/" + shown) ? "-f is looked up from this directory, not from the build context: -f \(context)/\(shown)" : nil
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

  static func isRemote(_ text: String) -> Bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@", "github.com/", "oci-layout://", "docker-image://", "target:"]
    return schemes.contains { text.hasPrefix($0) } || text.hasSuffix(".git")
  }
}
