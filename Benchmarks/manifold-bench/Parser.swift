import DockerfileSyntax

/// A Dockerfile of a thousand instructions of the usual kinds.
func parserBenchmarks() async throws {
  var text = "# syntax=docker/dockerfile:1\nARG VERSION=1\nFROM busybox AS base\n"
  for i in 0..<250 {
    text += "ENV NAME\(i)=\"value \(i)\" OTHER=${VERSION:-x}\nRUN --mount=type=cache,target=/c\(i) echo one \\\n  && echo two \\\n  # a comment\n  && echo three\n"
    text += "COPY --chown=1:2 a\(i) b\(i) /dest/\(i)/\nLABEL org.example.\(i)='quoted text' \\\n  second=2\n"
  }
  let source = text
  try await measure("parser: 1,002 instructions", {
    _ = try Dockerfile.parse(source)
    return 1002
  }, note: rate("instructions"))
}
