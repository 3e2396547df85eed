import BuildInterface
import Testing

@Suite struct SourcePlaceTests {
  @Test func excerptMarksTheFailingLines() {
    let source = Array("FROM a\nRUN b\nRUN c\nRUN d\n".utf8)
    let place = SourcePlace(filename: "Dockerfile", data: source, lines: 2...2)
    #expect(
      place.excerpt() == """
        Dockerfile:2
        --------------------
           1 |     FROM a
           2 | >>> RUN b
           3 |     RUN c
           4 |     RUN d
        --------------------
        """)
  }
  @Test func linesOutsideTheSourceShowNothing() {
    #expect(SourcePlace(filename: "x", data: [], lines: 7...9).excerpt() == "")
  }
}

@Suite struct BuildErrorTests {
  @Test func theCauseIsSaidOnce() {
    let cause = BuildError(.unknown, .build, "the disk is full")
    #expect(BuildError(.unknown, .build, "cannot write x", cause: cause).description == "cannot write x: the disk is full")
    #expect(BuildError(.unknown, .build, "x: the disk is full\nfree some", cause: cause).description == "x: the disk is full\nfree some")
  }
}
