import BuildProgress
import OCIModel
import Testing

#if canImport(Glibc)
import Glibc
#endif

private func at(_ milliseconds: Int64) -> Timestamp { Timestamp(nanosecondsSinceEpoch: 1_709_618_820_000_000_000 + milliseconds * 1_000_000) }
private func digest(_ name: String) -> Digest { .sha256(of: name) }
private func vertex(_ name: String, _ start: Int64? = nil, _ end: Int64? = nil, cached: Bool = false, error: String = "") -> ProgressVertex {
  ProgressVertex(digest: digest(name), name: name, started: start.map(at), completed: end.map(at), cached: cached, error: error)
}
private func log(_ name: String, _ ms: Int64, _ text: String) -> VertexLog {
  VertexLog(vertex: digest(name), timestamp: at(ms), stream: 1, message: Array(text.utf8))
}
private let noColour = ProgressOptions(environment: ["NO_COLOR": "1"])

@Suite struct TTYTests {
  @Test func picture() {
    let window = WindowSize(columns: 61, rows: 14)
    var renderer = TTYRenderer(options: noColour)
    var screen = Screen(columns: 60, rows: 14)
    let amd = "[linux/amd64 2/2] RUN make", arm = "[linux/amd64->arm64 2/2] RUN make 中文"
    renderer.fold(
      ProgressEvent(
        vertices: [vertex("[internal] load build definition", 0, 100), vertex("base", 100, 100, cached: true), vertex(amd, 200), vertex(arm, 300), vertex("later")],
        statuses: [VertexStatus(id: "sha256:0123456789abcdef0123456789abcdef0123456789", vertex: digest(arm), total: 10_000_000, current: 0, timestamp: at(300), started: at(300))],
        logs: [log(amd, 400, "cc a.c\n10%\r20%\rcc\u{1b}[2Jb.c\n\n")]), now: at(0))
    screen.feed(renderer.render(now: at(1000), window: window))
    renderer.fold(
      ProgressEvent(statuses: [
        VertexStatus(id: "sha256:0123456789abcdef0123456789abcdef0123456789", vertex: digest(arm), total: 10_000_000, current: 4_000_000, timestamp: at(2300), started: at(300))
      ]), now: at(2300))
    screen.feed(renderer.render(now: at(2300), window: window))
    #expect(screen.text == """
      [+] Building 2.3s (2/5)
          linux/amd64 0/1   linux/arm64 0/1
       => [internal] load build definition                    0.1s
       => CACHED base                                         0.0s
       => [linux/amd64 2/2] RUN make                          2.1s
       => => # cc a.c
       => => # ccb.c
       => [linux/amd64->arm64 2/2] RUN make 中中文文              2.0s
       => => sha256:0123456789abc… 4.00MB / 10.00MB  2.00MB/s 2.0s

      """)
    #expect(screen.unknown == [])
  }

  @Test("never taller or wider than the window, never reaching above what it drew", arguments: [(20, 3), (40, 5), (80, 24), (200, 60), (12, 2), (61, 12)])
  func fits(_ columns: Int, _ rows: Int) throws {
    let window = WindowSize(columns: columns, rows: rows)
    var renderer = TTYRenderer(options: noColour)
    var screen = Screen(columns: columns, rows: rows)
    screen.feed(Array("$ make\n".utf8))
    var clock: Int64 = 0
    for i in 0..<40 {
      let name = "[linux/\(["amd64", "arm64", "s390x"][i % 3]) \(i)/40] RUN 中文 step \(i)"
      renderer.fold(ProgressEvent(vertices: [vertex(name, clock)], logs: [log(name, clock, "out \(i)\nmore 한국어 \(i)\n")]), now: at(clock))
      if i % 4 != 0 { renderer.fold(ProgressEvent(vertices: [vertex(name, clock, clock + 50)]), now: at(clock)) }
      clock += 100
      let before = screen.lines.count
      screen.feed(renderer.render(now: at(clock), window: window))
      #expect(screen.lines.count - before <= max(1, rows))
    }
    #expect(screen.text.hasPrefix("$ make\n[+] "))
    #expect(screen.unknown == [])
    screen.feed(renderer.finish(now: at(clock), window: window))
    #expect(screen.text.split(separator: "\n").count >= 40 && screen.unknown == [])
  }

  @Test func endAndFailure() {
    var renderer = TTYRenderer(options: noColour)
    var screen = Screen(columns: 80, rows: 24)
    renderer.fold(
      ProgressEvent(
        vertices: [vertex("ok", 0, 100), vertex("bad", 0), vertex("other", 0)], logs: [log("bad", 50, "first\nlast words \u{1b}]0;x\u{07}")]), now: at(0))
    screen.feed(renderer.render(now: at(100), window: WindowSize(columns: 80, rows: 24)))
    screen.feed(renderer.message("note", now: at(100), window: WindowSize(columns: 80, rows: 24)))
    renderer.fold(
      ProgressEvent(vertices: [vertex("bad", 0, 200, error: "exit code: 1"), vertex("other", 0, 200, error: "rpc: context canceled")]), now: at(200))
    screen.feed(renderer.finish(now: at(200), window: WindowSize(columns: 80, rows: 24)))
    let pad = { (s: String, t: String) in s + String(repeating: " ", count: 79 - s.count - t.count) + t }
    #expect(screen.text == ["note", "[+] Building 0.2s (3/3) FINISHED", pad(" => ok", "0.1s"), pad(" => ERROR bad", "0.2s"), pad(" => CANCELED other", "0.2s"),
      "------", " > bad:", "0.050 first", "0.050 last words", "------", ""].joined(separator: "\n"))
    #expect(screen.unknown == [])
  }

  @Test func coloursOfRows() {
    var renderer = TTYRenderer(options: ProgressOptions())
    renderer.fold(ProgressEvent(vertices: [vertex("ok", 0, 100), vertex("bad", 0, 100, error: "x")]), now: at(0))
    let out = String(decoding: renderer.render(now: at(100), window: WindowSize(columns: 40, rows: 10)), as: UTF8.self)
    #expect(out.contains("\u{1b}[34m => ok") && out.contains("\u{1b}[31m => ERROR bad") && out.hasPrefix("\u{1b}[?25l") && out.hasSuffix("\u{1b}[?25h"))
  }
}

@Suite struct DisplayTests {
  /// A file without a name. Not a pipe to be read to its end: programs that other tests start may inherit its other end.
  private func file() throws -> Int32 {
    var path = Array("/tmp/progress-test-XXXXXX".utf8CString)
    let descriptor = mkstemp(&path)
    try #require(descriptor >= 0)
    unlink(path)
    return descriptor
  }
  private func readAll(_ descriptor: Int32) -> String {
    var out: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = pread(descriptor, &buffer, buffer.count, off_t(out.count))
      if count <= 0 { return String(decoding: out, as: UTF8.self) }
      out += buffer[..<count]
    }
  }

  @Test("everything emitted before finish is written", arguments: [ProgressMode.plain, .rawjson, .quiet, .auto])
  func flushes(_ mode: ProgressMode) async throws {
    let descriptor = try file()
    defer { close(descriptor) }
    let display = ProgressDisplay(mode: mode, descriptor: descriptor)
    for event in try scenario("two-platforms") { display.emit(event) }
    display.message("said")
    await display.finish()
    await display.finish()
    display.emit(ProgressEvent(vertices: [vertex("late", 0)]))
    let out = readAll(descriptor)
    switch mode {
    case .rawjson: #expect(try out == String(decoding: golden("two-platforms.jsonl"), as: UTF8.self))
    case .quiet: #expect(out.isEmpty)
    default: #expect(out.contains("#5 100.7 late\n#5 DONE 101.6s\n") && out.contains("said\n") && !out.contains("late\n\n"))
    }
  }

  @Test func aReaderThatIsGoneHoldsNothingUp() async {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    close(ends[0])
    signal(SIGPIPE, SIG_IGN)
    let display = ProgressDisplay(mode: .plain, descriptor: ends[1])
    display.emit(ProgressEvent(vertices: [vertex("v", 0, 1)]))
    await display.finish()
    close(ends[1])
  }

  @Test func modes() {
    #expect(ProgressMode.auto.resolved(isTerminal: true) == .tty && ProgressMode.auto.resolved(isTerminal: false) == .plain)
    #expect(ProgressMode.tty.resolved(isTerminal: false) == .plain && ProgressMode.none.resolved(isTerminal: true) == .quiet)
  }
}
