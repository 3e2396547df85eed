internal import BuildInterface
internal import BuildProgress
internal import OCIModel

/// How errors read: what failed, for which platform and at which line, why, and what to do.
enum ErrorText {
  static func of(_ error: any Error) -> String {
    if error is CancellationError { return "ERROR: interrupted\n" }
    guard let error = error as? BuildError else { return "ERROR: \(TerminalText.singleLine("\(error)"))\n" }
    var out = ""
    for place in error.sources {
      let excerpt = place.excerpt()
      if !excerpt.isEmpty { out += TerminalText.multiLine(excerpt) + "\n" }
    }
    var subject = ""
    if let vertex = error.vertex {
      let platform = vertex.platform.map { "\($0)" } ?? ""
      // The name of a step has its platform already when there are several.
      subject = platform.isEmpty || vertex.name.contains(platform) ? vertex.name + ": " : "\(vertex.name) (\(platform)): "
    }
    out += "ERROR: \(TerminalText.multiLine(subject + error.description))\n"
    if let suggestion = error.suggestion { out += TerminalText.multiLine(suggestion) + "\n" }
    return out
  }
}
