internal import BuildProgress
internal import HostOS
package import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// What the daemon says of itself, a line each, on standard error.
package struct DaemonLog: Sendable {
  package enum Level: String, Sendable, CaseIterable, Comparable {
    case trace, debug, info, warning, error
    private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
    package static func < (a: Level, b: Level) -> Bool { a.rank < b.rank }
    /// The words of buildkitd's `--log-level`.
    package init?(word: String) {
      switch word.lowercased() {
      case "panic", "fatal", "error": self = .error
      case "warn", "warning": self = .warning
      default: self.init(rawValue: word.lowercased())
      }
    }
  }
  package enum Format: String, Sendable { case text, json }

  package var level: Level
  package var format: Format
  /// For tests; nil writes to standard error.
  private let sink: (@Sendable (String) -> Void)?

  package init(level: Level = .info, format: Format = .text, sink: (@Sendable (String) -> Void)? = nil) {
    self.level = level
    self.format = format
    self.sink = sink
  }

  package func debug(_ message: @autoclosure () -> String) { if level <= .debug { write(.debug, message()) } }
  package func info(_ message: String) { write(.info, message) }
  package func warning(_ message: String) { write(.warning, message) }
  package func error(_ message: String) { write(.error, message) }

  private func write(_ level: Level, _ message: String) {
    if level < self.level { return }
    let line = Self.line(level, message, format, now: Timestamp(nanosecondsSinceEpoch: HostClock.now))
    if let sink { return sink(line) }
    _ = line.withCString { Self.writeAll($0) }
  }

  private static func writeAll(_ text: UnsafePointer<CChar>) -> Int {
    // One write a line: lines of several threads do not mix.
    #if canImport(Glibc)
      Glibc.write(2, text, strlen(text))
    #elseif canImport(Musl)
      Musl.write(2, text, strlen(text))
    #else
      Darwin.write(2, text, strlen(text))
    #endif
  }

  static func line(_ level: Level, _ message: String, _ format: Format, now: Timestamp) -> String {
    switch format {
    case .text: "\(now) \(level.rawValue): \(TerminalText.singleLine(message))\n"
    case .json:
      JSONValue.object(JSONObject([("level", .string(level.rawValue)), ("msg", .string(message)), ("time", .string("\(now)"))])).encodedString() + "\n"
    }
  }
}
