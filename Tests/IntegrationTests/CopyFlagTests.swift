import Foundation
import HostOS
import OCIModel
import Testing

/// What COPY and ADD can be told, in the whole program.
@Suite struct CopyFlagTests {
  @Test(.timeLimit(.minutes(3))) func chooseAndPlace() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try environment.context(
        "flags",
        [
          "Dockerfile": """
            FROM \(base) AS from
            RUN mkdir -p /out/a/b && echo 1 > /out/a/b/one && echo 2 > /out/a/two
            FROM \(base)
            COPY --exclude=*.md --exclude=sub/skip . /exclude/
            COPY --parents sub/./deep/x.txt sub/y.md /parents/
            COPY --parents **/*.txt /globs/
            COPY --from=from --parents /out/./a/b/one /from/
            COPY --link --chown=5:6 top.txt /link/
            COPY --link --from=from /out/a /etc/a
            ADD --link --chmod=600 top.txt /mode
            RUN find /exclude /parents /globs /from /link /etc/a /mode -type f | xargs stat -c '%n %a %u:%g' | sort && echo done > /link/after
            """,
          "top.txt": "top", "read.md": "md", "sub/skip": "skip", "sub/y.md": "y", "sub/deep/x.txt": "x",
        ])
      let built = try await tool.run("build", "--progress=plain", "--no-cache", "-t", "flags", context)
      try #require(built.succeeded, "\(built.everything)")
      let lines = Set(built.errorText.split(separator: "\n").compactMap { $0.split(separator: " ", maxSplits: 2).last.map(String.init) })
      for line in [
        "/exclude/top.txt 644 0:0", "/exclude/sub/deep/x.txt 644 0:0", "/exclude/sub/y.md 644 0:0", "/parents/deep/x.txt 644 0:0", "/parents/sub/y.md 644 0:0", "/globs/top.txt 644 0:0",
        "/globs/sub/deep/x.txt 644 0:0", "/from/a/b/one 644 0:0", "/link/top.txt 644 5:6", "/etc/a/two 644 0:0", "/mode 600 0:0",
      ] { #expect(lines.contains(line), "\(line) in \(built.errorText)") }
      for line in lines { #expect(!line.hasPrefix("/exclude/read.md") && !line.hasPrefix("/exclude/sub/skip") && !line.hasPrefix("/parents/sub/deep"), "\(line)") }
      let missing = try environment.context("missing", ["Dockerfile": "FROM scratch\nCOPY --parents a/./nothing /x/\n", "a/b": ""])
      let failed = try await tool.run("build", missing)
      #expect(failed.code != 0 && failed.errorText.contains("nothing") && failed.errorText.contains("Dockerfile:2"), "\(failed.everything)")
    }
  }

  /// The layers of each platform's manifest.
  private func layers(_ environment: Environment, _ image: String) async throws -> [[Digest]] {
    guard case .index(let index) = try ImageDocument(parsing: try await environment.raw(image), mediaType: .ociIndex) else { return [] }
    var out: [[Digest]] = []
    for child in index.manifests {
      let repository = image[..<(image.lastIndex(of: ":") ?? image.endIndex)]
      guard case .manifest(let manifest) = try ImageDocument(parsing: try await environment.raw("\(repository)@\(child.digest)"), mediaType: .ociManifest) else { continue }
      out.append(manifest.layers.map(\.digest))
    }
    return out
  }

  /// A linked layer is one and the same on every base, and stays when the base changes: nothing is copied or sent again.
  @Test(.timeLimit(.minutes(3))) func linkedLayersStay() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool
      func context(_ step: String) throws -> String {
        try environment.context("link", ["Dockerfile": "FROM \(base)\nENV A=b\nWORKDIR /w\nRUN \(step)\nCOPY --link f /w/f\nCOPY --link g/ /etc/\n", "f": "file", "g/h": "h"])
      }
      let image = environment.image("me/link:1")
      let flags = ["--platform=linux/amd64,linux/arm64", "--provenance=false", "--progress=plain", "--push", "-t", image]
      try #require(try await tool.run(["build"] + flags + [context("echo one > one")]).succeeded)
      let first = try await layers(environment, image)
      let second = try await tool.run(["build"] + flags + [context("echo two > two")])
      try #require(second.succeeded, "\(second.everything)")
      #expect(second.errorText.contains("COPY --link f /w/f\n") && !second.errorText.contains("LINK COPY"))
      let layers = try await layers(environment, image)
      #expect(layers.count == 2 && first.count == 2)
      for (before, after) in zip(first, layers) {
        #expect(before.suffix(2) == after.suffix(2) && before.count == after.count && before.dropLast(2).last != after.dropLast(2).last)
      }
      #expect(layers.first?.suffix(2) == layers.last?.suffix(2))
      let run = try await tool.run("run", "--rm", image, "sh", "-c", "cat /w/f /etc/h /w/two; test ! -e /w/one; pwd; echo $A; head -c 4 /etc/passwd")
      #expect(run.outputText.replacingOccurrences(of: "\n", with: " ") == "filehtwo /w b root", "\(run.everything)")
    }
  }
}
