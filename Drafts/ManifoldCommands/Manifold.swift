package import ArgumentParser
internal import BuildInterface

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
        manifold build --platform linux/amd64,linux/arm64,linux/arm/v7 -t registry/me/hello --push .
        manifold imagetools inspect registry/me/hello
      """,
    version: version,
    subcommands: [BuildCommand.self, RunCommand.self, ImagesCommand.self, ImagetoolsCommand.self])
  package init() {}

  /// Parses and runs; returns the program's exit status. Everything for people goes to standard error.
  package static func main(_ arguments: [String], _ composition: Composition) async -> Int32 {
    do {
      var command = try parseAsRoot(GlobalOptions.moved(behindVerb: arguments))
      return try await Composition.$current.withValue(composition) {
        if var asynchronous = command as? any AsyncParsableCommand { try await asynchronous.run() } else { try command.run() }
        return 0
      }
    } catch {
      return report(error)
    }
  }

  private static func report(_ error: any Error) -> Int32 {
    if let exit = error as? ExitCode { return exit.rawValue }
    if error is BuildError || error is CancellationError || !isParserError(error) {
      Terminal.error(ErrorText.of(error))
      return ManifoldExit.of(error).rawValue
    }
    let code = exitCode(for: error)
    let text = fullMessage(for: error)
    if code == .success {
      Terminal.output(text + "\n")
      return 0
    }
    Terminal.error(text + "\n")
    return ManifoldExit.usage.rawValue
  }

  /// The parser's own errors (and requests for help) are of types that it keeps to itself.
  private static func isParserError(_ error: any Error) -> Bool {
    let name = String(reflecting: type(of: error))
    return name.hasPrefix("ArgumentParser.")
  }
}

/// Whole writes to standard output and standard error.
enum Terminal {
  static func output(_ text: String) { write(text, to: STDOUT_FILENO) }
  static func error(_ text: String) { write(text, to: STDERR_FILENO) }
  private static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
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
