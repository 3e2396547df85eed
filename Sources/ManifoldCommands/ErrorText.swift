internal import BuildInterface
internal import BuildProgress
internal import ImageStores
internal import OCIModel

/// How errors read: what failed, for which platform and at which line, why, and what to do.
enum ErrorText {
  /// `output` is the failed step's last output, where nothing has shown it yet.
  static func of(_ error: any Error, output: [String] = []) -> String {
    if error is Interrupted || error is CancellationError { return "ERROR: interrupted\n" }
    if let error = error as? ImageStoreError {
      return "ERROR: \(TerminalText.multiLine("\(error)"))\n" + (error.advice.map { TerminalText.multiLine($0) + "\n" } ?? "")
    }
    guard let error = error as? BuildError else { return "ERROR: \(TerminalText.multiLine("\(error)"))\n" }
    var out = ""
    if !output.isEmpty {
      out += "------\n > \(TerminalText.singleLine(error.vertex?.name ?? "output")):\n"
      for line in output { out += TerminalText.singleLine(line) + "\n" }
      out += "------\n"
    }
    for place in error.sources {
      let excerpt = place.excerpt()
      if !excerpt.isEmpty { out += TerminalText.multiLine(excerpt) + "\n" }
    }
    out += "ERROR: \(TerminalText.multiLine(subject(error) + error.description + exit(error)))\n"
    if let path = error.logFile { out += "The step's whole output: \(TerminalText.singleLine(path))\n" }
    if let suggestion = error.suggestion { out += TerminalText.multiLine(suggestion) + "\n" }
    return out
  }

  /// The step: `[linux/arm64 2/2] RUN make: `.
  private static func subject(_ error: BuildError) -> String {
    guard let vertex = error.vertex, !vertex.name.isEmpty, !error.message.contains(vertex.name) else { return "" }
    // A step's name has its platform already when there are several.
    guard let platform = vertex.platform.map({ "\($0)" }), !vertex.name.contains(platform) else { return vertex.name + ": " }
    return "\(vertex.name) (\(platform)): "
  }

  private static func exit(_ error: BuildError) -> String {
    guard let code = error.exitCode, !error.description.contains("exit code: \(code)"), !error.description.contains("exit status \(code)") else { return "" }
    return " (exit code: \(code))"
  }
}
