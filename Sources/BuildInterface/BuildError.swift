package import BuildKitProto
package import OCIModel

/// What a build fails with, in the wire's shape: an error carries its vertex, its place in the source, and its cause, and
/// maps to a gRPC status code.
package struct BuildError: Error, Sendable, CustomStringConvertible {
  /// gRPC's canonical codes, as far as builds use them.
  package enum Code: String, Sendable, CaseIterable {
    case cancelled, unknown, invalidArgument, deadlineExceeded, notFound, permissionDenied, resourceExhausted, failedPrecondition, unimplemented, `internal`, unavailable, unauthenticated
  }
  /// Which side failed: decides the exit code and the advice.
  package enum Domain: String, Sendable, CaseIterable {
    /// The person's input: a Dockerfile, an option, a missing file.
    case usage
    /// A step, or the engine while building.
    case build
    /// A registry, or the way to it.
    case registry
  }
  package var code: Code
  package var domain: Domain
  /// What failed and why, one or a few lines.
  package var message: String
  /// What to do about it.
  package var suggestion: String?
  package var vertex: VertexPlace?
  /// Where in the source, outermost first.
  package var sources: [SourcePlace]
  /// The step's exit status when a process failed.
  package var exitCode: Int32?
  /// The last lines that a failed process wrote.
  package var output: [String]
  /// The file that holds all that the failed process wrote, on the machine where it ran.
  package var logFile: String?
  package var cause: (any Error)?
  /// What the client named and is not here; clients fall back to something older when they are told.
  package var unsupported: Unsupported?
  /// The op that failed, and the ids by which a client can open what it had (BuildKit's SolveError); nil where nothing is kept.
  package var operation: FailedOperation?

  package enum Unsupported: Sendable, Hashable {
    /// A capability of frontends.
    case capability(String)
    /// A question to a frontend (`requestid`).
    case subrequest(String)
  }
  package struct FailedOperation: Sendable, Hashable {
    package var op: Pb_Op
    package var inputIDs: [String]
    package var mountIDs: [String]
    package init(op: Pb_Op, inputIDs: [String] = [], mountIDs: [String] = []) { (self.op, self.inputIDs, self.mountIDs) = (op, inputIDs, mountIDs) }
  }

  package init(
    _ code: Code, _ domain: Domain = .build, _ message: String, suggestion: String? = nil, vertex: VertexPlace? = nil, sources: [SourcePlace] = [],
    exitCode: Int32? = nil, output: [String] = [], logFile: String? = nil, cause: (any Error)? = nil
  ) {
    self.code = code
    self.domain = domain
    self.message = message
    self.suggestion = suggestion
    self.vertex = vertex
    self.sources = sources
    self.exitCode = exitCode
    self.output = output
    self.logFile = logFile
    self.cause = cause
  }

  /// The cause follows unless the message has its words already.
  package var description: String {
    guard let cause = cause.map({ "\($0)" }), !message.contains(cause) else { return message }
    return "\(message): \(cause)"
  }
}

/// The vertex that failed.
package struct VertexPlace: Sendable, Hashable {
  package var digest: Digest
  package var name: String
  package var platform: Platform?
  package init(digest: Digest, name: String, platform: Platform? = nil) {
    self.digest = digest
    self.name = name
    self.platform = platform
  }
}

/// A range of lines of a source file, with the file's text so that the lines around can be shown.
package struct SourcePlace: Sendable, Hashable {
  package var filename: String
  package var data: [UInt8]
  /// First and last line, from 1.
  package var lines: ClosedRange<Int>
  /// The word that it is about, when that is known.
  package var focus: SourceFocus?
  package init(filename: String, data: [UInt8], lines: ClosedRange<Int>, focus: SourceFocus? = nil) {
    self.filename = filename
    self.data = data
    self.lines = lines
    self.focus = focus
  }

  /// The lines with up to `context` lines around them, numbered, the failing ones marked with `>>>`, as buildx shows them, and with
  /// `^^^` below the word at fault.
  package func excerpt(context: Int = 2) -> String {
    let text = data.split(separator: 0x0a, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    guard !data.isEmpty, lines.lowerBound >= 1, lines.lowerBound <= text.count else { return "" }
    let last = min(lines.upperBound, text.count)
    let first = max(1, lines.lowerBound - context), end = min(text.count, last + context)
    let rule = "--------------------"
    var out = ["\(filename):\(lines.lowerBound)", rule]
    for n in first...max(first, end) {
      if n == text.count, text[n - 1].isEmpty { continue }
      let number = String(n)
      let marker = n >= lines.lowerBound && n <= last ? ">>>" : "   "
      out.append(" " + String(repeating: " ", count: max(0, 3 - number.count)) + number + " | " + marker + " " + text[n - 1])
      if let focus, focus.startLine == n, !focus.underline.isEmpty { out.append(String(repeating: " ", count: max(3, number.count) + 2) + "|     " + focus.underline) }
    }
    out.append(rule)
    return out.joined(separator: "\n")
  }
}

/// A word of a source file.
package struct SourceFocus: Sendable, Hashable {
  /// Lines from 1, columns from 0 in Unicode scalars; the end column is exclusive.
  package var startLine: Int, startColumn: Int, endLine: Int, endColumn: Int
  /// Blanks and `^` that mark the word when they are printed below its (first) line; empty when nothing is to be marked.
  package var underline: String
  package init(startLine: Int, startColumn: Int, endLine: Int, endColumn: Int, underline: String) {
    (self.startLine, self.startColumn, self.endLine, self.endColumn) = (startLine, startColumn, endLine, endColumn)
    self.underline = underline
  }
}
