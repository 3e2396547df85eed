import BuildProgress
import OCIModel
import Testing

private let scenarios = ["two-platforms", "failure", "group", "warnings", "restart"]
private let window = WindowSize(columns: 80, rows: 24)
private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
private func at(_ milliseconds: Int64) -> Timestamp { Timestamp(nanosecondsSinceEpoch: 1_709_618_820_000_000_000 + milliseconds * 1_000_000) }
private func digest(_ name: String) -> Digest { .sha256(of: name) }

private func plain(_ events: [ProgressEvent], every step: Int64 = 120, options: ProgressOptions = .init()) -> String {
  var renderer = PlainRenderer(options: options)
  var out: [UInt8] = []
  for (i, event) in events.enumerated() {
    renderer.fold(event, now: at(Int64(i) * step))
    out += renderer.render(now: at(Int64(i) * step), window: window)
  }
  return text(out + renderer.finish(now: at(Int64(events.count) * step), window: window))
}

@Suite struct PlainTests {
  @Test("the peers' plain output, byte for byte", arguments: scenarios)
  func peers(_ name: String) throws {
    #expect(try plain(scenario(name)) == text(golden(name + ".plain")))
  }

  @Test("the peers' rawjson, byte for byte", arguments: scenarios)
  func rawJSON(_ name: String) throws {
    var renderer = RawJSONRenderer()
    var out: [UInt8] = []
    for event in try scenario(name) {
      renderer.fold(event, now: at(0))
      out += renderer.render(now: at(0), window: window)
    }
    #expect(try text(out) == text(golden(name + ".jsonl")))
  }

  @Test func turnsAreTakenAndGivenBack() {
    func log(_ name: String, _ ms: Int64, _ line: String) -> ProgressEvent {
      ProgressEvent(logs: [VertexLog(vertex: digest(name), timestamp: at(ms), stream: 1, message: Array(line.utf8))])
    }
    let a = ProgressVertex(digest: digest("a"), name: "a", started: at(0)), b = ProgressVertex(digest: digest("b"), name: "b", started: at(0))
    var renderer = PlainRenderer(options: .init())
    var out: [UInt8] = []
    func step(_ event: ProgressEvent, _ ms: Int64) {
      renderer.fold(event, now: at(ms))
      out += renderer.render(now: at(ms), window: window)
    }
    step(ProgressEvent(vertices: [a, b]), 0)
    step(log("a", 100, "one\ntw"), 100)
    step(log("b", 200, "quiet\n"), 200)
    #expect(renderer.isAnimated)
    step(log("a", 300, "o\nthree"), 300)
    out += renderer.render(now: at(10_700), window: window)
    #expect(!renderer.isAnimated || text(out).contains("quiet"))
    var done = a
    done.completed = at(11_000)
    step(ProgressEvent(vertices: [done]), 11_000)
    #expect(text(out) == """
      #1 a
      #1 0.100 one
      #1 0.100 two
      #1 0.300 three
      #1 ...

      #2 b
      #2 0.200 quiet
      #2 ...

      #1 a
      #1 0.300 three
      #1 DONE 11.0s

      """)
  }

  @Test func transfersAreThrottled() {
    let v = ProgressVertex(digest: digest("v"), name: "v", started: at(0))
    let statuses = (0..<100).map { i in
      ProgressEvent(statuses: [
        VertexStatus(id: "id", vertex: digest("v"), total: 100_000, current: Int64(i) * 1000, timestamp: at(Int64(i)), started: at(0))
      ])
    }
    let lines = plain([ProgressEvent(vertices: [v])] + statuses, every: 10).split(separator: "\n").filter { $0.contains("id") }
    #expect(lines.count == 20)
    #expect(lines[1] == "#1 id 5.00kB / 100.00kB")
  }

  @Test func messageDescriptionAndTruncation() {
    var renderer = PlainRenderer(options: ProgressOptions(description: "building with \"x\"", environment: ["PROGRESS_NO_TRUNC": "0"]))
    let name = String(repeating: "n", count: 80)
    renderer.fold(ProgressEvent(vertices: [ProgressVertex(digest: digest("v"), name: name, started: at(0))]), now: at(0))
    var out = renderer.render(now: at(0), window: window)
    out += renderer.message("said", now: at(1), window: window)
    renderer.fold(ProgressEvent(vertices: [ProgressVertex(digest: digest("v"), name: name, started: at(0), completed: at(100))]), now: at(100))
    out += renderer.render(now: at(100), window: window)
    let header = "#1 " + String(repeating: "n", count: 72) + "..."
    #expect(text(out) == "#0 building with \"x\"\n\n\(header)\n#1 ...\n\nsaid\n\n\(header)\n#1 DONE 0.1s\n")
  }

  @Test func unknownVerticesAreIgnored() {
    let log = ProgressEvent(
      statuses: [VertexStatus(id: "s", vertex: digest("?"), timestamp: at(0))], logs: [VertexLog(vertex: digest("?"), timestamp: at(0), stream: 1, message: [65])],
      warnings: [VertexWarning(vertex: digest("?"), short: "w")])
    #expect(plain([log]) == "")
  }

  @Test("escapes of a step never reach the terminal; colours do")
  func escapes() {
    let v = ProgressVertex(digest: digest("v"), name: "v \u{1b}]0;title\u{07}\u{202e}\nx", started: at(0))
    let log = VertexLog(vertex: digest("v"), timestamp: at(0), stream: 1, message: Array("\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{1b}]52;c;aGk=\u{1b}\\ok\n".utf8))
    #expect(plain([ProgressEvent(vertices: [v], logs: [log])]) == "#1 v  x\n#1 0.000 \u{1b}[31mred\u{1b}[0mok\n")
  }
}

@Suite struct FoldingTests {
  @Test(arguments: [
    ([], []), ([(0, 1)], [(0, 1)]), ([(2, 4), (2, 4)], [(2, 4)]), ([(0, 2), (1, 3)], [(0, 3)]), ([(4, 5), (0, 2)], [(0, 2), (4, 5)]),
    ([(0, 10), (2, 3)], [(0, 10)]), ([(0, 2), (2, 4)], [(0, 4)]), ([(0, nil), (2, 3)], [(0, nil)]), ([(0, 2), (1, nil), (5, 6)], [(0, nil)]),
  ] as [([(Int64, Int64?)], [(Int64, Int64?)])])
  func merging(_ input: [(Int64, Int64?)], _ expected: [(Int64, Int64?)]) {
    #expect(Interval.merge(input.map { Interval(start: $0.0, stop: $0.1) }) == expected.map { Interval(start: $0.0, stop: $0.1) })
  }

  @Test(arguments: [
    (0, "0B"), (999, "999B"), (1000, "1.00kB"), (1234, "1.23kB"), (1_005_000, "1.00MB"), (3_400_000, "3.40MB"), (-1234, "-1.23kB"),
    (Int64.max, "9.22EB"),
  ] as [(Int64, String)])
  func bytes(_ count: Int64, _ expected: String) { #expect(Figures.bytes(count) == expected) }

  @Test(arguments: [
    ("[linux/arm64 builder 2/5] RUN x", "linux/arm64"), ("[linux/arm/v7 2/2] x", "linux/arm/v7"), ("[linux/amd64->arm64 b 1/2] x", "linux/arm64"),
    ("[linux/amd64->windows/amd64 1/2] x", "windows/amd64"), ("[linux/amd64->arm/v7 1/2] x", "linux/arm/v7"), ("[internal] load", nil),
    ("[builder/x 2/5] RUN", nil), ("exporting to image", nil), ("[linux/arm64]", "linux/arm64"), ("[", nil), ("[-> x]", nil),
    ("[windows(10.0.17763)/amd64 1/2] x", "windows(10.0.17763)/amd64"),
  ] as [(String, String?)])
  func names(_ name: String, _ platform: String?) { #expect(StepName(name).platform == platform) }

  @Test("however a sequence is cut, it is filtered whole", arguments: [
    ("plain \ttext\r\n", "plain \ttext\r\n"), ("\u{1b}[31mr\u{1b}[0m", "\u{1b}[31mr\u{1b}[0m"), ("\u{1b}[2Jx\u{1b}[1;1Hy", "xy"),
    ("\u{1b}]0;t\u{07}x", "x"), ("\u{1b}]8;;http://a\u{1b}\\l\u{1b}]8;;\u{1b}\\", "l"), ("\u{9b}2Jx", "x"), ("\u{9d}0;t\u{9c}x", "x"),
    ("é中👍", "é中👍"), ("\u{1b}(Bx", "x"), ("\u{1b}cx", "x"), ("a\u{8}\u{7}b\u{0}\u{7f}", "ab"), ("\u{1b}[>0;276;0cx", "x"), ("\u{1b}[?25lx", "x"),
    ("\u{1b}Pq#0\u{1b}\\x", "x"), ("\u{1b}]never ended\nnext", "\nnext"), ("\u{1b}[" + String(repeating: "1;", count: 200) + "mx", "x"), ("£", "£"),
  ])
  func filter(_ input: String, _ expected: String) {
    for cut in 1...5 {
      var filter = EscapeFilter(keepsColours: true)
      var out: [UInt8] = []
      var rest = Array(input.utf8)[...]
      while !rest.isEmpty {
        out += filter.filter(rest.prefix(cut))
        rest = rest.dropFirst(cut)
      }
      #expect(String(decoding: out, as: UTF8.self) == expected, "cut \(cut)")
    }
  }

  @Test(arguments: [("abc", 3), ("中文", 4), ("é", 1), ("e\u{301}", 1), ("👍", 2), ("한", 2), ("\u{200b}", 0), ("ｆ", 2), ("…", 1), ("🇩🇪", 2)])
  func width(_ text: String, _ cells: Int) { #expect(TerminalText.width(text) == cells) }

  @Test(arguments: [("abcdef", 4, "abc…"), ("中文字", 5, "中文…"), ("中文字", 4, "中…"), ("ab", 2, "ab"), ("abc", 0, ""), ("abc", 1, "…")])
  func fit(_ text: String, _ limit: Int, _ expected: String) { #expect(TerminalText.fit(text, width: limit) == expected) }

  @Test func colours() {
    #expect(ProgressColours(environment: ["NO_COLOR": "1", "BUILDKIT_COLORS": "run=green"]) == .off)
    let colours = ProgressColours(environment: ["BUILDKIT_COLORS": "run=light-green:error=\"255,0,0\":warning=1,2:x=y:cancel=nonsense"])
    #expect(colours.run == "92" && colours.error == "38;5;196" && colours.warning == "33" && colours.cancel == "33")
  }

  @Test func fanOut() {
    let a = RecordingSink(), b = RecordingSink()
    let fan = FanOutSink([a])
    let subscription = fan.add(b)
    fan.emit(ProgressEvent())
    fan.remove(subscription)
    fan.emit(ProgressEvent())
    #expect(a.events.count == 2 && b.events.count == 1)
  }
}
