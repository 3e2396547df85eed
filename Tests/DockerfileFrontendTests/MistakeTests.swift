import BuildInterface
import BuildKitProto
import SwiftProtobuf
import Synchronization
import Testing

@testable import DockerfileFrontend

/// What a person gets who wrote something wrong: the file, the lines, what is wrong, and what may have been meant.
@Suite struct MistakeTests {
  struct Mistake: CustomTestStringConvertible, Sendable {
    var dockerfile: String, lines: ClosedRange<Int>, message: String, suggestion: String?
    var attributes: [String: String] = [:]
    var code = BuildError.Code.invalidArgument
    var testDescription: String { message }
    init(_ dockerfile: String, _ lines: ClosedRange<Int>, _ message: String, _ suggestion: String?, code: BuildError.Code = .invalidArgument) {
      (self.dockerfile, self.lines, self.message, self.suggestion, self.code) = (dockerfile, lines, message, suggestion, code)
    }
  }
  static let a = "FROM alpine:3.20\n"

  static let mistakes: [Mistake] = [
    // Words
    Mistake(a + "\nRUNN x\n", 3...3, "unknown instruction: RUNN", "RUN?"), Mistake(a + "copi a b\n", 2...2, "unknown instruction: copi", "copy?"),
    Mistake(a + "ENTRYPONT x\n", 2...2, "ENTRYPONT", "ENTRYPOINT?"), Mistake(a + "FOO x\n", 2...2, "unknown instruction: FOO", nil),
    Mistake(a + "COPY --chwon=1 a b\n", 2...2, "--chwon", "chown?"), Mistake(a + "RUN --mout=type=cache,target=/x y\n", 2...2, "--mout", "mount?"),
    Mistake(a + "RUN --mount=type=cahce,target=/x y\n", 2...2, "cahce", "cache?"), Mistake(a + "RUN --mount=type=cache,tagret=/x y\n", 2...2, "tagret", "target?"),
    Mistake(a + "HEALTHCHECK CMF x\n", 2...2, "CMF", "CMD?"), Mistake(a + "RUN --network=hots x\n", 2...2, "hots", "host?"),
    // Several lines
    Mistake(a + "RUN --mount=type=cache \\\n  echo \\\n  x\n", 2...4, "target", nil), Mistake(a + "RUN ok\nRUN <<EOF\nnever\nclosed\n", 3...3, "EOF", nil),
    Mistake(a + "COPY <<EOF /x\nnever\n", 2...2, "EOF", nil),
    // Stages
    Mistake("RUN x\n" + a, 1...1, "FROM", nil), Mistake(a + "COPY --from=7 /a /b\n", 2...2, "invalid stage index 7", "counted from 0"),
    Mistake("FROM alpine:3.20 AS one\nCOPY --from=two /a /b\nFROM alpine:3.20 AS two\nFROM one\n", 2...2, "defined before", "move the stage"),
    Mistake("FROM alpine:3.20 AS one\nCOPY --from=one /a /b\n", 2...2, "circular", "cannot copy from itself"),
    Mistake("FROM alpine:3.20 AS builder\nFROM alpine:3.20\nCOPY --from=biulder /a /b\n", 3...3, "biulder", "did you mean the stage builder?", code: .notFound),
    Mistake("FROM alpine:3.20 AS builder\nFROM buildr\n", 2...2, "buildr", "did you mean the stage builder?", code: .notFound),
    Mistake("FROM alpine:3.20 AS builder\nFROM alpine:3.20\nRUN --mount=from=bulder,target=/x y\n", 3...3, "bulder", "did you mean the stage builder?", code: .notFound),
    Mistake(a + "COPY --from=nothing-like-it /a /b\n", 2...2, "nothing-like-it", "no stage is named nothing-like-it", code: .notFound),
    Mistake(a + "COPY --from=$X /a /b\n", 2...2, "--from", "define a new stage"),
    // Arguments
    Mistake("FROM $UNDEFINED\n", 1...1, "should not be blank", "$UNDEFINED is not set"), Mistake("ARG VERSION=1\nFROM alpine:$VERSON\n", 2...2, "alpine:", "did you mean $VERSION?"),
    Mistake("FROM alpine:${TAG}\nARG TAG=3\n", 1...1, "alpine:", "$TAG is not set"),
    Mistake("FROM --platform=$BUILDPLATFROM alpine:3.20\n", 1...1, "empty platform", "did you mean $BUILDPLATFORM?"),
    Mistake("FROM --platform=linux/amd65 alpine:3.20\n", 1...1, "linux/amd65", "the image has", code: .notFound),
    Mistake("FROM --platform=bo/gus/x/y alpine:3.20\n", 1...1, "bo/gus/x/y", "os/arch[/variant]"), Mistake(a + "ENV A=${B:?is-needed}\n", 2...2, "is-needed", nil),
    Mistake(a + "ENV A=${B\n", 2...2, "B", nil),
    // Values
    Mistake(a + "ADD https://h/b.git?branch=a&tag=b /x\n", 2...2, "branch conflicts with tag", "https://host/repo.git"), Mistake(a + "ADD https://h/b.git?what=a /x\n", 2...2, "unexpected query \"what\"", nil),
    Mistake(a + "ADD --keep-git-dir=false https://h/b.git?keep-git-dir=1 /x\n", 2...2, "inconsistent keep-git-dir", "say it once"),
    Mistake(a + "ADD --checksum=ab https://h/b.git?checksum=cd /x\n", 2...2, "checksum mismatch", "say it once"),
    Mistake(a + "COPY --chmod=999 a b\n", 2...2, "999", "--chmod=755"), Mistake(a + "STOPSIGNAL SIGNOPE\n", 2...2, "SIGNOPE", "did you mean SIG"),
    Mistake(a + "COPY https://example.com/x /y\n", 2...2, "URL", "use ADD"), Mistake(a + "COPY git@github.com:a/b.git /x\n", 2...2, "git ref", "./git@github.com"),
    Mistake(a + "ADD --checksum=sha256:ab a b\n", 2...2, "checksum", "leave --checksum out"), Mistake(a + "RUN --mount=type=cache,target=/ x\n", 2...2, "invalid mount target", "below the root"),
    Mistake(a + "SHELL /bin/sh\n", 2...2, "SHELL", nil), Mistake(a + "COPY a\n", 2...2, "COPY", nil), Mistake(a + "ENV A\n", 2...2, "ENV", nil),
  ]

  @Test(arguments: mistakes) func isExplained(_ mistake: Mistake) async throws {
    let error = try #require(try await Trial(mistake.dockerfile).error(mistake.attributes))
    #expect(error.code == mistake.code, "\(error)")
    #expect(error.message.contains(mistake.message), "\(error)")
    if let wanted = mistake.suggestion {
      #expect(error.suggestion?.contains(wanted) == true, "\(error) – \(error.suggestion ?? "no suggestion")")
      #expect(!error.message.contains("did you mean"), "once is enough")
    }
    let place = try #require(error.sources.last)
    #expect(place.filename == "Dockerfile")
    #expect(place.lines == mistake.lines, "\(error)")
    let excerpt = place.excerpt()
    #expect(excerpt.split(separator: "\n").count { $0.contains(">>>") } == mistake.lines.count)
  }

  /// A file without a stage, or none at all.
  @Test(arguments: [("", "no instructions", "FROM"), ("# only\n\n# comments\n", "no instructions", "FROM"), ("ARG A=1\n", "no stage", "FROM")])
  func nothingToBuild(_ dockerfile: String, _ message: String, _ suggestion: String) async throws {
    let error = try #require(try await Trial(dockerfile).error())
    #expect(error.code == .invalidArgument)
    #expect(error.message.contains(message), "\(error)")
    #expect(error.suggestion?.contains(suggestion) == true, "\(error)")
    #expect(error.sources.first?.filename == "Dockerfile")
    #expect((error.sources.first?.lines.lowerBound ?? 0) >= 1)
  }

  @Test func missingDockerfile() async throws {
    // A lower-case name is taken, as everywhere.
    let lower = try Trial(nil, files: ["dockerfile": "FROM alpine:3.20\nRUNN x\n"])
    let error = try #require(await lower.error())
    #expect(error.message.contains("RUNN") && error.sources.first?.lines == 2...2)
    let none = try #require(try await Trial(nil).error())
    #expect(none.code == .notFound && none.domain == .usage)
    #expect(none.message == "failed to read dockerfile: open Dockerfile: no such file or directory")
    #expect(none.suggestion?.contains("-f") == true)
    // Another name is meant as it is written.
    let other = try #require(await lower.error(["filename": "Dockerfile.dev"]))
    #expect(other.code == .notFound && other.message.contains("Dockerfile.dev"))
  }

  @Test(arguments: [("bulid", "did you mean the stage build?"), ("other", "the named stages are build, test"), ("7", "the named stages are build, test")])
  func target(_ name: String, _ suggestion: String) async throws {
    let error = try #require(try await Trial("FROM alpine:3.20 AS build\nFROM build AS test\nFROM test\n").error(["target": name]))
    #expect(error.code == .notFound && error.message.contains(name))
    #expect(error.suggestion == suggestion)
  }

  @Test func aBadIgnoreFileIsNamed() async throws {
    let general = try #require(try await Trial("FROM scratch\nCOPY . /\n", files: [".dockerignore": "ok\n[a-\n"]).error())
    #expect(general.message.contains(".dockerignore") && general.message.contains("[a-"), "\(general)")
    let own = try #require(try await Trial("FROM scratch\nCOPY . /\n", files: ["Dockerfile.dockerignore": "[a-\n", ".dockerignore": "fine\n"]).error())
    #expect(own.message.contains("Dockerfile.dockerignore"), "\(own)")
  }

  /// What the gateway is asked for: the Dockerfile's own ignore file with the Dockerfile, the general one only without it.
  @Test func ignoreFilesAreAskedFor() async throws {
    func excludes(_ files: [String: String]) async throws -> (solves: Int, excludes: String) {
      let trial = try Trial("FROM scratch\nCOPY . /\n", files: files)
      let gateway = trial.gateway()
      _ = try await DockerfileFrontend().build(gateway)
      let texts = gateway.definitions.withLock { $0 }.flatMap(\.def).compactMap { try? Pb_Op(serializedBytes: $0) }.map(\.source.attrs)
      #expect(texts.contains { $0["local.followpaths"]?.contains("Dockerfile.dockerignore") == true })
      return (gateway.definitions.withLock { $0.count }, texts.compactMap { $0["local.excludepatterns"] }.joined())
    }
    let general = try await excludes([".dockerignore": "general\n"])
    #expect(general.solves == 3 && general.excludes == #"["general"]"#)
    let own = try await excludes(["Dockerfile.dockerignore": "own\n", ".dockerignore": "general\n"])
    #expect(own.solves == 2 && own.excludes == #"["own"]"#)
    let none = try await excludes([:])
    #expect(none.solves == 3 && none.excludes == "")
  }
}
