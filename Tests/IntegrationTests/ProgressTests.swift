import HostOS
import OCIModel
import Testing

/// A window of a terminal: what stands in it after some output.
private struct Window {
  let rows: Int, columns: Int
  private var cells: [[Character]]
  private(set) var scrolledOut: [String] = []
  /// Lines that were too long for it.
  private(set) var wraps = 0
  private(set) var unknownSequences: [String] = []
  private var row = 0, column = 0

  init(rows: Int = 24, columns: Int = 80) {
    (self.rows, self.columns) = (rows, columns)
    cells = Array(repeating: Array(repeating: " ", count: columns), count: rows)
  }

  var lines: [String] { cells.map { line in String(String(line).reversed().drop { $0 == " " }.reversed()) } }

  mutating func show(_ text: String) {
    var rest = Substring(text)
    while let next = rest.unicodeScalars.popFirst() {
      switch next {
      case "\u{1b}": escape(&rest)
      case "\r": column = 0
      case "\n": newLine()
      default:
        if column >= columns {
          wraps += 1
          newLine()
          column = 0
        }
        cells[row][column] = Character(next)
        column += 1
      }
    }
  }

  private mutating func newLine() {
    if row < rows - 1 { return row += 1 }
    scrolledOut.append(lines[0])
    cells.removeFirst()
    cells.append(Array(repeating: " ", count: columns))
  }

  private mutating func escape(_ rest: inout Substring) {
    guard rest.first == "[" else { return unknownSequences.append(String(rest.prefix(3))) }
    rest.removeFirst()
    let parameters = rest.prefix { $0.isNumber || $0 == ";" || $0 == "?" }
    rest.removeFirst(parameters.count)
    let number = Int(parameters) ?? 1
    switch rest.popFirst() {
    case "A": row = max(0, row - number)
    case "B": row = min(rows - 1, row + number)
    case "G": column = number - 1
    case "K": for i in column..<columns { cells[row][i] = " " }
    case "J":
      for i in min(column, columns - 1)..<columns { cells[row][i] = " " }
      for i in (row + 1)..<max(rows, row + 1) { cells[i] = Array(repeating: " ", count: columns) }
    case "m", "h", "l": break
    case let other: unknownSequences.append("\(parameters)\(other ?? " ")")
    }
  }
}

@Suite(.enabled(if: Tool.builds)) struct ProgressTests {
  /// Runs the program on a terminal of 24 by 80 until it ends; its output with all control sequences, and its exit code.
  private func onTerminal(_ environment: Environment, _ arguments: [String], _ more: [String: String] = [:]) async throws -> (text: String, code: Int32?) {
    let command = "stty rows 24 cols 80; exec " + ([environment.tool.binary] + arguments).map { "'\($0)'" }.joined(separator: " ")
    let output = try await Processes.run("script", ["-qec", command, "/dev/null"], environment: environment.tool.environment(["TERM": "xterm", "SHELL": "/bin/sh"].merging(more) { $1 }), limit: 16 << 20)
    return (output.outputText, output.code)
  }

  @Test(.timeLimit(.minutes(2))) func inAWindow() async throws {
    try await withEnvironment(needs: ["script", "stty"]) { environment in
      let base = try await environment.base()
      let context = try environment.context(
        "c",
        [
          "Dockerfile": """
            FROM \(base) AS a
            RUN for i in 1 2 3 4 5 6 7 8; do echo "$i: a line of output that is much longer than the window is wide, so that it has to be cut"; sleep 0.15; done
            FROM \(base)
            RUN head -c 4000000 /dev/urandom > /random
            COPY --from=a /etc/passwd /
            """
        ])
      let image = environment.image("window:1")
      let build = ["build", "--platform", "linux/amd64,linux/arm64", "-t", image, "--push", context]
      let (text, code) = try await onTerminal(environment, build)
      #expect(code == 0, "\(text)")
      var window = Window()
      window.show(text)
      #expect(window.wraps == 0 && window.unknownSequences.isEmpty, "\(window.unknownSequences)")
      let all = (window.scrolledOut + window.lines).filter { !$0.isEmpty }
      // Redrawn in place: each step stands there once, in the end.
      for step in ["[linux/amd64 a 2/2] RUN", "[linux/arm64 a 2/2] RUN", "[linux/amd64 stage-1 3/3] COPY", "exporting to image"] {
        #expect(all.filter { $0.contains(step) }.count == 1, "\(step)\n\(all.joined(separator: "\n"))")
      }
      #expect(all.contains { $0.hasPrefix("[+] Building ") && $0.contains("FINISHED") } && all.contains { $0.contains("linux/amd64 5/5") }, "\(all.joined(separator: "\n"))")
      #expect(all.contains { $0.contains("pushing sha256:") && $0.contains("4.00MB / 4.00MB") }, "\(all.joined(separator: "\n"))")
      // On the way there: lines of output under their step, cut.
      var seen = Window()
      var outputSeen = false
      for frame in text.split(separator: "[+] Building") {
        seen.show("[+] Building" + frame)
        outputSeen = outputSeen || seen.lines.contains { $0.hasPrefix(" => => # ") && $0.hasSuffix("…") }
      }
      #expect(outputSeen)
      #expect(text.contains("\u{1b}[34m") || text.contains("\u{1b}[36m"))

      let plain = try await onTerminal(environment, build, ["NO_COLOR": "1"])
      #expect(plain.code == 0 && !plain.text.contains("\u{1b}[3") && plain.text.contains("CACHED"), "\(plain.text)")
      let forced = try await onTerminal(environment, ["build", "--progress=plain", "-t", "x", context])
      #expect(forced.text.contains("#1 [internal] load build definition") && !forced.text.contains("\u{1b}["), "\(forced.text)")
      // A failing step's output and place are there, too.
      let failing = try environment.context("failing", ["Dockerfile": "FROM \(base)\nRUN echo its last words; exit 3\n"])
      let failed = try await onTerminal(environment, ["build", failing])
      #expect(failed.code == 1 && failed.text.contains("its last words") && failed.text.contains("exit code: 3") && failed.text.contains("Dockerfile:2"), "\(failed.text)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func withoutATerminal() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("c", ["Dockerfile": "FROM \(try await environment.base())\nRUN echo said\n", "unused": "x"])
      let automatic = try await environment.tool.run("build", "-t", "x", context)
      let lines = automatic.errorText.split(separator: "\n").map(String.init)
      #expect(automatic.outputText.isEmpty && lines.contains("#1 [internal] load build definition from Dockerfile"), "\(automatic.everything)")
      #expect(lines.contains { $0.hasSuffix(" said") && $0.hasPrefix("#") } && !automatic.errorText.contains("\u{1b}"), "\(automatic.everything)")
      #expect(lines.contains { $0.hasPrefix("#") && $0.hasSuffix("DONE 0.0s") } && lines.contains { $0.contains("naming to docker.io/library/x:latest") }, "\(automatic.everything)")
      // The view for terminals gives way where there is none.
      let tty = try await environment.tool.run("build", "--progress=tty", "-t", "x", context)
      #expect(tty.succeeded && tty.errorText.contains("\n#1 [internal] load") && !tty.errorText.contains("\u{1b}"), "\(tty.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func runOnATerminal() async throws {
    try await withEnvironment(needs: ["script", "stty"]) { environment in
      let context = try environment.context("c", ["Dockerfile": "FROM \(try await environment.base())\n"])
      try #require(try await environment.build(context, ["-t", "t"]).succeeded)
      let terminal = try await onTerminal(environment, ["run", "-it", "t", "sh", "-c", "tty; stty size; echo $TERM; exit 6"])
      #expect(terminal.code == 6 && terminal.text.contains("/dev/pts/0") && terminal.text.contains("24 80") && terminal.text.contains("xterm"), "\(terminal.text)")
      // -t alone needs no terminal here; -it does.
      let alone = try await environment.tool.run("run", "-t", "t", "sh", "-c", "tty; exit 6")
      #expect(alone.code == 6 && alone.outputText == "/dev/pts/0\r\n", "\(alone.everything)")
      let both = try await environment.tool.run("run", "-it", "t", "tty")
      #expect(both.code == 2 && both.errorText.contains("terminal"), "\(both.everything)")
    }
  }
}
