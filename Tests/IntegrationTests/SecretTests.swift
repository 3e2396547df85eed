import Foundation
import HostOS
import OCIModel
import Testing

/// What a build is trusted with stays nowhere: not in layers, cache, history, log files and pushed documents, not on any command line, and not in
/// the store once the step is over.
@Suite(.serialized) struct SecretTests {
  static let fileSecret = "hidden-in-a-file-5b1f", variableSecret = "hidden-in-a-variable-77c2"

  @Test(.timeLimit(.minutes(4))) func areKeptNowhere() async throws {
    try await withEnvironment(needs: ["crun"]) { environment in
      let base = try await environment.base()
      let context = try environment.context(
        "secrets",
        [
          "Dockerfile": """
            FROM \(base)
            RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=VARIABLE \\
              test "$(cat /run/secrets/file)" = \(Self.fileSecret.split(separator: "-").joined(separator: "'-'")) && test ${#VARIABLE} = \(Self.variableSecret.count) && touch /used && sleep 3
            COPY Dockerfile /after
            """.replacing(Self.fileSecret.split(separator: "-").joined(separator: "'-'"), with: "\"$(echo \(String(Self.fileSecret.reversed())) | rev)\""),
          "value": Self.fileSecret,
        ])
      chmodPrivate(context + "/value")
      let log = environment.scratch + "/build.log"
      let image = environment.image("with/secrets:1")
      let child = try environment.tool.start(
        [
          "build", "--progress", "plain", "-t", image, "--push", "--output", "type=image,push=true", "--metadata-file", environment.scratch + "/metadata.json", "--secret",
          "id=file,src=\(context)/value", "--secret", "id=variable,env=TRUSTED", context,
        ].filter { $0 != "--output" && $0 != "type=image,push=true" }, environment: ["TRUSTED": Self.variableSecret], output: log)
      // While the step runs: every process's command line, and what the store holds.
      var places = Set<String>()
      var sawRuntime = false
      while !child.hasEnded {
        for process in try FileManager.default.contentsOfDirectory(atPath: "/proc") where process.allSatisfy(\.isNumber) {
          guard let line = try? Data(contentsOf: URL(fileURLWithPath: "/proc/\(process)/cmdline")) else { continue }
          let text = String(decoding: line, as: UTF8.self)
          sawRuntime = sawRuntime || text.contains("sleep") && text.contains("3")
          if text.contains(Self.fileSecret) || text.contains(Self.variableSecret) { places.insert("the command line \(text)") }
        }
        for found in try await self.files(with: [Self.fileSecret, Self.variableSecret], in: environment.tool.root) {
          // The runtime's specification has the step's environment, in a private directory; it goes with the step.
          guard found.hasSuffix("/config.json"), found.hasPrefix(environment.tool.root + "/run/") else { places.insert("during the step: \(found)"); continue }
          if let status = try? Files.status(found), status.permissions & 0o077 != 0 { places.insert("\(found) with mode \(String(status.permissions, radix: 8))") }
        }
        try await Task.sleep(for: .milliseconds(50))
      }
      #expect(child.wait() == 0, "\(child.output)")
      #expect(sawRuntime)
      #expect(places.isEmpty, "\(places)")
      // Afterwards: the store, the registry's storage, the log, the metadata, and the image's own trees.
      let tree = try await environment.unpacked(image, "linux/amd64")
      #expect(Files.exists(tree + "/used") && !Files.exists(tree + "/run/secrets/file"))
      for place in [environment.tool.root, environment.registry.storage, log, environment.scratch + "/metadata.json", tree, environment.tool.root + "-home"] where Files.exists(place) {
        let found = try await self.files(with: [Self.fileSecret, Self.variableSecret], in: place)
        #expect(found.isEmpty, "\(found)")
      }
      #expect(try Directory.open(environment.tool.root + "/run").entries().filter { $0.name.contains("config") }.isEmpty)
      let explained = try await environment.tool.run(["explain"])
      #expect(!explained.everything.contains(Self.fileSecret) && !explained.everything.contains(Self.variableSecret))
    }
  }

  /// The store is its owner's alone: it has setuid programs, devices and the files of others.
  @Test(.timeLimit(.minutes(2))) func storeIsPrivate() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("plain", ["Dockerfile": "FROM \(base)\nCOPY Dockerfile /f\n"])
      let output = try await environment.tool.run(["build", "-t", "x", context])
      #expect(output.succeeded, "\(output.everything)")
      // "idmap" tells of ids alone; "run" holds what containers of user namespaces must reach.
      for name in try Directory.open(environment.tool.root).entries() where name.name != "idmap" && name.name != "run" {
        let status = try Files.status(environment.tool.root + "/" + name.name)
        // Either the root keeps others out, or each of its members does.
        let root = try Files.status(environment.tool.root)
        #expect(root.permissions & 0o077 == 0 || status.permissions & 0o077 == 0, "\(name.name) has mode \(String(status.permissions, radix: 8)) in a root with \(String(root.permissions, radix: 8))")
      }
    }
  }

  private func chmodPrivate(_ path: String) { _ = try? FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path) }

  /// Files beneath a place that contain one of the texts. What vanishes meanwhile has none.
  private func files(with texts: [String], in place: String) async throws -> [String] {
    let output = try await Processes.run("grep", ["-r", "-l", "-s", "-a", "-F", "-D", "skip"] + texts.flatMap { ["-e", $0] } + ["--", place], limit: 1 << 20)
    return output.outputText.split(separator: "\n").map(String.init)
  }
}
