internal import BuildInterface
internal import HostOS
internal import OCIModel
internal import OCIRegistry

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// What a command line means besides its words: the environment, the working directory, the terminal and the host.
struct CommandFacts: Sendable {
  var environment: [String: String]
  /// Absolute.
  var workingDirectory: String
  var standardOutputIsTerminal: Bool
  var standardInputIsTerminal: Bool
  var standardErrorIsTerminal: Bool
  var host: Platform

  init(
    environment: [String: String] = [:], workingDirectory: String = "/", standardOutputIsTerminal: Bool = false, standardInputIsTerminal: Bool = false,
    standardErrorIsTerminal: Bool = false, host: Platform = .current
  ) {
    self.environment = environment
    self.workingDirectory = workingDirectory
    self.standardOutputIsTerminal = standardOutputIsTerminal
    self.standardInputIsTerminal = standardInputIsTerminal
    self.standardErrorIsTerminal = standardErrorIsTerminal
    self.host = host
  }

  /// Those of this process.
  static func current() throws -> CommandFacts {
    guard let path = getcwd(nil, 0) else { throw HostError(errno: errno, operation: "find the working directory", path: "") }
    defer { free(path) }
    return CommandFacts(
      environment: RegistryConfiguration.processEnvironment, workingDirectory: String(cString: path), standardOutputIsTerminal: isatty(STDOUT_FILENO) == 1,
      standardInputIsTerminal: isatty(STDIN_FILENO) == 1, standardErrorIsTerminal: isatty(STDERR_FILENO) == 1)
  }

  /// The path from the root, with `.`, empty parts and trailing slashes taken out; `..` stays, since a link may be before it.
  func absolute(_ path: String) -> String {
    let full = path.hasPrefix("/") ? path : workingDirectory + "/" + path
    let parts = full.split(separator: "/").filter { $0 != "." }
    return "/" + parts.joined(separator: "/")
  }
}

extension BuildError {
  /// The command line, or what it names, is wrong.
  static func usage(_ message: String, suggestion: String? = nil) -> BuildError { BuildError(.invalidArgument, .usage, message, suggestion: suggestion) }
  /// A thing that the peers have and this program does not have yet.
  static func notYet(_ what: String, suggestion: String? = nil) -> BuildError {
    BuildError(.unimplemented, .usage, "\(what): not yet supported", suggestion: suggestion)
  }
}

/// Words for truth, as Go's strconv.ParseBool has them.
enum TruthWord {
  static func parse(_ word: String) -> Bool? {
    switch word {
    case "1", "t", "T", "TRUE", "true", "True": true
    case "0", "f", "F", "FALSE", "false", "False": false
    default: nil
    }
  }
}
