package import OCIModel

/// How progress is shown; the values of `--progress`.
package enum ProgressMode: String, Sendable, CaseIterable {
  case auto, tty, plain, quiet, rawjson, none

  /// What to use: the terminal view needs a terminal, and gives way to plain without one.
  package func resolved(isTerminal: Bool) -> ProgressMode {
    switch self {
    case .auto, .tty: isTerminal ? .tty : .plain
    case .none: .quiet
    case .plain, .quiet, .rawjson: self
    }
  }
}

package struct WindowSize: Sendable, Hashable {
  package var columns: Int
  package var rows: Int
  package init(columns: Int, rows: Int) { (self.columns, self.rows) = (columns, rows) }
}

/// Draws a build: a state machine from events, a clock and a window to bytes, without I/O.
///
/// `render` may be called as seldom or as often as one likes; what it returns is to be written whole and in order.
package protocol ProgressRenderer: Sendable {
  mutating func fold(_ event: ProgressEvent, now: Timestamp)
  /// What to write to bring the output up to date.
  mutating func render(now: Timestamp, window: WindowSize) -> [UInt8]
  /// The last output: everything still unwritten, and a block for every failed step.
  mutating func finish(now: Timestamp, window: WindowSize) -> [UInt8]
  /// A line of the program's own, among the steps. Without control characters.
  mutating func message(_ text: String, now: Timestamp, window: WindowSize) -> [UInt8]
  /// Whether time alone changes the picture.
  var isAnimated: Bool { get }
  /// Whether every event is to be written at once.
  var isImmediate: Bool { get }
}

extension ProgressRenderer {
  package var isAnimated: Bool { false }
  package var isImmediate: Bool { false }
}

/// Settings of the views, by the peers' environment variables.
package struct ProgressOptions: Sendable {
  /// What is being done, in the heading: `[+] Building 1.0s (2/5)`.
  package var phase: String
  /// A line about where it is done: printed first, as `#0 …`, or at the heading's right.
  package var description: String
  package var colours: ProgressColours
  /// Lines of a running step's output to show (BUILDKIT_TTY_LOG_LINES).
  package var logLines: Int
  /// Cut names at 72 bytes in the plain view (PROGRESS_NO_TRUNC=0).
  package var truncatesNames: Bool

  package init(phase: String = "Building", description: String = "", environment: [String: String] = [:]) {
    (self.phase, self.description) = (phase, description)
    colours = ProgressColours(environment: environment)
    logLines = environment["BUILDKIT_TTY_LOG_LINES"].flatMap(Int.init).flatMap { $0 > 0 ? $0 : nil } ?? 6
    truncatesNames = environment["PROGRESS_NO_TRUNC"] == "0"
  }
}

extension ProgressMode {
  /// The view of a resolved mode; nil for one that shows nothing.
  package func renderer(_ options: ProgressOptions) -> (any ProgressRenderer)? {
    switch self {
    case .tty: TTYRenderer(options: options)
    case .plain, .auto: PlainRenderer(options: options)
    case .rawjson: RawJSONRenderer()
    case .quiet, .none: nil
    }
  }
}

/// Colours of finished steps (SGR parameters; empty for none): NO_COLOR turns all off, BUILDKIT_COLORS changes them.
package struct ProgressColours: Sendable, Hashable {
  package var run = "34"
  package var cancel = "33"
  package var warning = "33"
  package var error = "31"
  /// Faint, for lines of output.
  package var output = "2"

  package static let off = ProgressColours(all: "")

  private init(all: String) { (run, cancel, warning, error, output) = (all, all, all, all, all) }

  /// Entries of BUILDKIT_COLORS that cannot be read are passed over.
  package init(environment: [String: String]) {
    if let no = environment["NO_COLOR"], !no.isEmpty {
      self = .off
      return
    }
    // `run=green:error=255,20,20`, an RGB value perhaps in quotes, as in CSV.
    for field in (environment["BUILDKIT_COLORS"] ?? "").split(separator: ":") {
      let unquoted = field.filter { $0 != "\"" }
      let parts = unquoted.split(separator: "=", omittingEmptySubsequences: false)
      guard parts.count == 2, let code = Self.code(parts[1].lowercased()) else { continue }
      switch parts[0].lowercased() {
      case "run": run = code
      case "cancel": cancel = code
      case "error": error = code
      case "warning": warning = code
      default: break
      }
    }
  }

  private static func code(_ value: String) -> String? {
    if let named = names[value] { return named }
    let rgb = value.split(separator: ",", omittingEmptySubsequences: false).compactMap { UInt8($0) }
    guard rgb.count == 3, value.split(separator: ",", omittingEmptySubsequences: false).count == 3 else { return nil }
    let cube = rgb.map { Int($0) * 6 / 256 }
    return "38;5;\(16 + 36 * cube[0] + 6 * cube[1] + cube[2])"
  }

  private static let names: [String: String] = {
    var out = ["default": "39"]
    for (i, name) in ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"].enumerated() {
      out[name] = String(30 + i)
      out["light-" + name] = String(90 + i)
    }
    return out
  }()

  package static func apply(_ code: String, _ text: String) -> String { code.isEmpty ? text : "\u{1b}[\(code)m\(text)\u{1b}[0m" }
}
