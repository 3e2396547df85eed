import DockerfileSyntax
import Testing

@Suite struct InstructionTests {
  private func only(_ line: String) throws -> Instruction {
    let file = try Dockerfile.parse("FROM a\n" + line + "\n")
    return try #require(file.stages.first?.instructions.first)
  }

  /// A line, and the words of the instruction after each was put into angle brackets.
  static let expansions: [(String, [String])] = [
    ("COPY --chown=o --chmod=m --from=f a b c", ["<o>", "<m>", "f", "<a>", "<b>", "<c>"]),
    ("ADD --chown=o --checksum=s a c", ["<o>", "<s>", "<a>", "<c>"]),
    ("ARG a=b c", ["<a>", "<b>", "<c>"]),
    ("ENV a=b c='d'", ["<a>", "<b>", "<c>", "<'d'>"]),
    ("LABEL a b", ["<a>", "<b>"]),
    ("STOPSIGNAL s", ["<s>"]), ("USER u", ["<u>"]), ("VOLUME a b", ["<a>", "<b>"]), ("WORKDIR w", ["<w>"]),
    ("RUN a", ["a"]), ("CMD a", ["a"]), ("EXPOSE 1", ["1"]), ("SHELL [\"a\"]", ["a"]),
  ]

  @Test(arguments: expansions)
  func expands(_ line: String, _ expected: [String]) throws {
    var instruction = try only(line)
    try instruction.expand { "<\($0)>" }
    let words: [String?] =
      switch instruction {
      case .copy(let it): [it.owner, it.mode, it.from] + it.sources.paths + [it.sources.destination]
      case .add(let it): [it.owner, it.checksum] + it.sources.paths + [it.sources.destination]
      case .arg(let it): it.arguments.flatMap { [$0.key, $0.value] }
      case .env(let it): it.variables.flatMap { [$0.key, $0.value] }
      case .label(let it): it.labels.flatMap { [$0.key, $0.value] }
      case .stopsignal(let it): [it.signal]
      case .user(let it): [it.user]
      case .volume(let it): it.volumes
      case .workdir(let it): [it.path]
      case .run(let it): it.command.arguments
      case .cmd(let it): it.command.arguments
      case .expose(let it): it.ports
      case .shell(let it): it.shell
      default: []
      }
    #expect(words.compactMap(\.self) == expected)
  }

  @Test func expandsHeredocsThatAreNotQuoted() throws {
    let file = try Dockerfile.parse("FROM a\nCOPY <<A <<'B' /x\n$V\nA\n$V\nB\n")
    var instruction = try #require(file.stages.first?.instructions.first)
    try instruction.expandContents { $0 + "!" }
    guard case .copy(let copy) = instruction else { return #expect(Bool(false), "a COPY") }
    #expect(copy.sources.contents.map(\.data) == ["$V\n!", "$V\n"])
  }

  @Test func placesErrorsOfExpansion() throws {
    let file = try Dockerfile.parse("FROM a\n\nRUN --mount=type=$T,target=/x \\\n  true\nENV a=${b?}\n")
    let stage = try #require(file.stages.first)
    guard case .run(let run) = stage.instructions[0] else { return #expect(Bool(false), "a RUN") }
    let error = #expect(throws: DockerfileError.self) { try run.resolvedMounts { $0 == "$T" ? "tmp" : $0 } }
    #expect(error?.description == "line 3: type=tmp of --mount is not known; known are bind, cache, tmpfs, secret, ssh (did you mean tmpfs?)")
    #expect(error?.range?.lines == 3...4)
    var env = stage.instructions[1]
    let other = #expect(throws: DockerfileError.self) { try env.expand { try WordLexer().expand($0, environment: [String: String]()).text } }
    #expect(other?.range?.lines == 5...5)
    #expect(other?.code == .expansion)
  }

  @Test func firesTriggers() throws {
    let range = SourceRange(lines: 7...7)
    let run = try Instruction.trigger("RUN <<EOF\necho\nEOF", at: range)
    #expect(run.name == "RUN" && run.origin.range == range && run.origin.code == "RUN <<EOF")
    for text in ["FROM a", "RUN a\nRUN b", "", "RUNN a", "COPY --x a b"] {
      let error = #expect(throws: DockerfileError.self) { try Instruction.trigger(text, at: range) }
      #expect(error?.range == range, "\(text)")
    }
  }

  @Test func knowsHowHeredocsAreUsed() throws {
    func use(_ text: String) throws -> CommandLine.HeredocUse {
      let file = try Dockerfile.parse("FROM a\n" + text)
      guard case .run(let run)? = file.stages.first?.instructions.first else { return .none }
      return run.command.heredocUse
    }
    #expect(try use("RUN a") == .none)
    #expect(try use("RUN <<-E\n\ta\n\tE\n") == .script(Heredoc.opening("<<-E").map { var it = $0; it.content = "\ta\n"; return it } ?? #require(nil)))
    #expect(try use("RUN sh <<E && cat <<F\na\nE\nb\nF\n") == .embedded("sh <<E && cat <<F\na\nE\nb\nF"))
  }

  @Test func findsStages() throws {
    let file = try Dockerfile.parse("FROM a AS One\nFROM b\nFROM c AS two\nFROM d AS one\n")
    #expect(file.stageIndex(named: "ONE") == 3)
    #expect(file.stageIndex(named: "two") == 2)
    #expect(file.stageIndex(named: "three") == nil)
  }

  @Test func keepsPlaces() throws {
    let tree = try SyntaxTree.parse("FROM a\n  COPY --link \\\n   # comment\n   --chown=a:b x \\\n y\n")
    let copy = tree.nodes[1]
    #expect(copy.range == SourceRange(start: SourcePosition(line: 2, column: 2), end: SourcePosition(line: 5, column: 2)))
    #expect(copy.keywordRange == SourceRange(start: SourcePosition(line: 2, column: 2), end: SourcePosition(line: 2, column: 6)))
    #expect(copy.flagRanges.map(\.start) == [SourcePosition(line: 2, column: 7), SourcePosition(line: 4, column: 3)])
    #expect(copy.flagRanges.map(\.end) == [SourcePosition(line: 2, column: 13), SourcePosition(line: 4, column: 14)])
    #expect(copy.range.lineRanges.map(\.start.line) == [2, 3, 4, 5])
  }

  @Test func printsExcerptsAsBuildxDoes() throws {
    let source = (1...9).map { "line \($0)" }.joined(separator: "\n")
    func excerpt(_ lines: ClosedRange<Int>) -> String? { SourceExcerpt.render(source: source, fileName: "Dockerfile", ranges: [SourceRange(lines: lines)]) }
    let rule = "--------------------\n"
    #expect(excerpt(5...5) == "Dockerfile:5\n\(rule)   3 |     line 3\n   4 |     line 4\n   5 | >>> line 5\n   6 |     line 6\n   7 |     line 7\n\(rule)")
    #expect(excerpt(1...1) == "Dockerfile:1\n\(rule)   1 | >>> line 1\n   2 |     line 2\n   3 |     line 3\n\(rule)")
    #expect(excerpt(8...9) == "Dockerfile:8\n\(rule)   7 |     line 7\n   8 | >>> line 8\n   9 | >>> line 9\n\(rule)")
    #expect(excerpt(10...10) == nil)
  }
}
