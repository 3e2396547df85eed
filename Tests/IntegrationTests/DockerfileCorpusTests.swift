import Foundation
import HostOS
import OCIModel
import Testing

/// The corpus of Dockerfiles (Golden/README.md): what is built of each has the layers, entry by entry, the config and the history that a real BuildKit gave it.
/// They are compared with what was recorded; where buildkitd, buildctl and runc are installed, with what these build now, too.
@Suite(.enabled(if: Tool.builds)) struct DockerfileCorpusTests {
  private static let script = packageDirectory + "/Tests/IntegrationTests/Golden/corpus.py"

  @Test(.timeLimit(.minutes(20))) func sameAsBuildKit() async throws {
    try await withEnvironment(needs: ["python3", "git", "setfattr", "xz", "zstd"]) { environment in
      let bases = environment.scratch + "/bases", work = environment.scratch + "/corpus"
      let layout = try await BaseImage.shared.layout()
      try await checked("python3", [Self.script, "bases", layout, bases])
      try await checked("python3", [Self.script, "push", bases, environment.registry.host])
      let server = try Child("python3", [Self.script, "serve", environment.scratch + "/served", environment.scratch + "/port"], environment: environment.tool.environment(), outputPath: environment.scratch + "/serve.log")
      defer {
        server.closeInput()
        server.wait()
      }
      for _ in 0..<600 where !Files.exists(environment.scratch + "/port") { try await Task.sleep(for: .milliseconds(100)) }
      let address = "127.0.0.1:\(try #require(Files.text(environment.scratch + "/port"), "\(server.output)"))"
      let cases = try Self.cases()
      try await checked("python3", [Self.script, "prepare", work, address] + cases)
      let configuration = environment.scratch + "/buildkitd.toml"
      let mirrored = ["docker.io", "gcr.io", "mcr.microsoft.com"].map { "[registry.\"\($0)\"]\nmirrors = [\"\(environment.registry.host)\"]\n" }
      try Files.writeAtomically(Array(mirrored.joined().utf8), to: configuration)
      try await build(cases, in: work, environment, ["--config", configuration])
      let compared = try await Processes.run("python3", [Self.script, "check", bases, work, address] + cases)
      #expect(compared.succeeded, "\(compared.outputText)\(compared.errorText)")
      for program in ["buildkitd", "buildctl", "runc"] where Processes.executablePath(program) == nil {
        return print("SKIPPED: a BuildKit that builds now: \(program) is not installed; compared with what was recorded")
      }
      guard HostFacts.isRoot else { return print("SKIPPED: a BuildKit that builds now needs root; compared with what was recorded") }
      let live = try await Processes.run("python3", [Self.script, "live", layout, work, address] + cases)
      #expect(live.succeeded, "\(live.outputText)\(live.errorText)")
    }
  }

  /// Their names; without those that need root where there is none.
  private static func cases() throws -> [String] {
    let folder = packageDirectory + "/Tests/IntegrationTests/Golden/cases"
    return try FileManager.default.contentsOfDirectory(atPath: folder).sorted().filter { name in
      guard let options = Files.text("\(folder)/\(name)/case.json"), !HostFacts.isRoot else { return true }
      guard try JSONValue(parsing: Array(options.utf8))["root"]?.boolValue == true else { return true }
      print("SKIPPED: \(name) has what only root can make")
      return false
    }
  }

  /// Two at a time, on one store.
  private func build(_ cases: [String], in work: String, _ environment: Environment, _ flags: [String]) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (i, name) in cases.enumerated() {
        if i >= 2 { try await group.next() }
        group.addTask {
          let arguments = try JSONValue(parsing: Array(try #require(Files.text("\(work)/\(name).json")).utf8)).arrayValue?.compactMap(\.stringValue) ?? []
          let built = try await environment.tool.run(arguments + flags)
          #expect(built.succeeded, "\(name): \(built.everything)")
        }
      }
      try await group.waitForAll()
    }
  }
}
