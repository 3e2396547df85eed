package import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import HostOS

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// The `manifold` program's command line.
package struct Manifold: AsyncParsableCommand {
  package static let version = "0.1.0"
  package static let configuration = CommandConfiguration(
    commandName: "manifold",
    abstract: "Builds container images for every platform at once, without Docker, a daemon or root.",
    discussion: """
      Examples:
        manifold build -t hello . && manifold run hello
        manifold build --platform linux/amd64,linux/arm64 -t reg/me/hello --push .
        manifold imagetools inspect reg/me/hello
        manifold pull --all-platforms alpine && manifold save -o alpine.tar alpine

      Docker's longer spellings (image ls, container run, buildx build …) mean the same. --root, --debug, --config and --insecure-registry may stand before the command or behind it.

      Exit status: 0 done; 1 the build or the engine failed; 2 the command line, the Dockerfile or another input is wrong; \
      3 a registry refused or could not be reached; 130 interrupted. `run` gives its command's own, and 125 when that did not start.
      """,
    version: "manifold \(version)",
    subcommands: [
      BuildCommand.self, ExplainCommand.self, ExplainCheckCommand.self, DebugCommand.self, RunCommand.self, PullCommand.self, PushCommand.self, TagCommand.self, ImagesCommand.self, RmiCommand.self, SaveCommand.self, LoadCommand.self,
      HistoryCommand.self, ImageCommand.self, ImagetoolsCommand.self, ManifestCommand.self, VerifyCommand.self, DiffCommand.self, DuCommand.self, DfCommand.self, PruneCommand.self, StoreCommand.self, DaemonCommand.self, LoginCommand.self, LogoutCommand.self, InfoCommand.self,
      VersionCommand.self,
    ])
  package init() {}

  /// Parses and runs; returns the program's exit status. Everything for people goes to standard error.
  package static func main(_ arguments: [String], _ composition: Composition) async -> Int32 {
    Signals.ignoreBrokenPipe()
    do {
      // The daemon reads its flags as buildkitd does.
      let words = arguments.first == "daemon" ? arguments : try CommandLineForms.normalised(arguments)
      try refuseUnknownVerb(words)
      var command = try parseAsRoot(words)
      return try await Composition.$current.withValue(composition) {
        if var asynchronous = command as? any AsyncParsableCommand { try await asynchronous.run() } else { try command.run() }
        return 0
      }
    } catch {
      return report(error)
    }
  }

  /// What the program's name says that it is: started as `buildkitd`, it takes that program's command line.
  package static func arguments(_ words: [String]) -> [String] {
    let name = words.first.map { $0.split(separator: "/").last.map(String.init) ?? $0 }
    let rest = Array(words.dropFirst())
    return name == "buildkitd" ? ["daemon", DaemonCommand.buildkitdMark] + rest : rest
  }

  /// Commands of docker, buildx and buildctl that come later; each is refused by its name.
  private static let verbsToCome: Set<String> = [
    "bake", "builder", "container", "context", "create", "dap", "dial-stdio", "export", "import", "inspect", "install", "ls",
    "policy", "ps", "rm", "stop", "system", "uninstall", "use",
  ]

  static func refuseUnknownVerb(_ words: [String]) throws {
    guard let verb = words.first, !verb.hasPrefix("-") else { return }
    let known = configuration.subcommands.compactMap { $0.configuration.commandName }
    if known.contains(verb) || verb == "help" { return }
    if verbsToCome.contains(verb) { throw BuildError.notYet("manifold \(verb)", suggestion: "Commands are \(known.joined(separator: ", ")).") }
    let meant = Spelling.nearest(to: verb, among: known).map { "Did you mean \($0)? " } ?? ""
    throw BuildError.usage("there is no command \"\(verb)\"", suggestion: "\(meant)Commands are \(known.joined(separator: ", ")); manifold --help says more.")
  }

  private static func report(_ error: any Error) -> Int32 {
    if let exit = error as? ExitCode { return exit.rawValue }
    if let shown = error as? ShownError {
      Terminal.error(ErrorText.of(shown.error, output: shown.output))
      return ManifoldExit.of(shown.error)
    }
    if let failure = error as? RunFailure {
      Terminal.error(ErrorText.of(failure.cause))
      return ManifoldExit.of(failure)
    }
    guard isParserError(error) else {
      Terminal.error(ErrorText.of(error))
      return ManifoldExit.of(error)
    }
    let code = exitCode(for: error)
    let text = fullMessage(for: error)
    if code == .success {
      Terminal.output(text + "\n")
      return 0
    }
    Terminal.error(text + "\n")
    return ManifoldExit.usage
  }

  /// The parser's own errors (and requests for help) are of types that it keeps to itself.
  private static func isParserError(_ error: any Error) -> Bool { String(reflecting: type(of: error)).hasPrefix("ArgumentParser.") }
}

/// An error with what must be shown along with it.
struct ShownError: Error {
  var error: any Error
  /// The failed step's last lines of output.
  var output: [String]
}

/// Whole writes to standard output and standard error.
enum Terminal {
  /// What others have named or said is cleaned where it is put into a text; here once more, for what was forgotten there. Colours may be ours.
  static func output(_ text: String) { write(guarded(text), to: STDOUT_FILENO) }
  /// Bytes as they are: documents.
  static func output(_ bytes: [UInt8]) { write(bytes, to: STDOUT_FILENO) }
  static func error(_ text: String) { write(guarded(text), to: STDERR_FILENO) }

  static func guarded(_ text: String) -> [UInt8] {
    var filter = EscapeFilter(keepsColours: true)
    return filter.filter(text.utf8)
  }
  private static func write(_ content: some Sequence<UInt8>, to descriptor: Int32) {
    var bytes = Array(content)[...]
    while !bytes.isEmpty {
      let n = bytes.withUnsafeBytes { buffer in
        #if canImport(Glibc)
          Glibc.write(descriptor, buffer.baseAddress, buffer.count)
        #elseif canImport(Musl)
          Musl.write(descriptor, buffer.baseAddress, buffer.count)
        #else
          Darwin.write(descriptor, buffer.baseAddress, buffer.count)
        #endif
      }
      if n < 0 {
        if errno == EINTR { continue }
        return
      }
      bytes = bytes.dropFirst(n)
    }
  }
}
