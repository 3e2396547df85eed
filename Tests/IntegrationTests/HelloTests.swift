import Foundation
import HostOS
import OCIModel
import Testing

/// The main job: one command, one index with all its platforms in a real registry.
@Suite(.enabled(if: Tool.builds)) struct HelloTests {
  private static let machines = ["linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/arm/v7": "armv7l"]

  @Test(.timeLimit(.minutes(10))) func helloForThreePlatforms() async throws {
    try await withEnvironment(needs: ["umoci"]) { environment in
      let base = try await environment.base(), image = environment.image("me/hello:latest")
      let build = ["build", "--platform", BaseImage.usual.joined(separator: ","), "--build-arg", "BASE=\(base)", "--progress=plain", "-t", image, "--push", packageDirectory + "/Examples/hello"]
      let first = try await environment.tool.run(build)
      try #require(first.succeeded, "\(first.everything)")
      #expect(try await environment.platforms(image).filter { $0 != "unknown/unknown" } == BaseImage.usual)
      _ = try await environment.pulled(image)
      var texts: Set<String> = []
      for platform in BaseImage.usual {
        let text = try #require(Files.text(try await environment.unpacked(image, platform) + "/os.txt"))
        #expect(text.hasPrefix(platform + ": "), "\(text)")
        texts.insert(text)
        let run = try await environment.tool.run("run", "--rm", "--platform", platform, image)
        try #require(run.succeeded, "\(run.everything)")
        #expect(texts.contains("\(platform): \(run.outputText)"), "\(run.everything)")
      }
      #expect(texts.count == 3)
      try await again(build, image, environment)
      try await inspected(image, environment)
    }
  }

  /// A second, identical build runs nothing and moves no blob but what says when each platform was built.
  private func again(_ build: [String], _ image: String, _ environment: Environment) async throws {
    let before = try await environment.raw(image)
    let uploads = environment.registry.requests("POST /v2/").count
    let second = try await environment.tool.run(build)
    try #require(second.succeeded, "\(second.everything)")
    #expect(second.errorText.split(separator: "\n").filter { $0.hasSuffix(" CACHED") }.count >= 3, "\(second.everything)")
    #expect(environment.registry.requests("POST /v2/").count == uploads + BaseImage.usual.count)
    func manifests(_ bytes: [UInt8]) throws -> [Digest] {
      guard case .index(let index) = try ImageDocument(parsing: bytes, mediaType: .ociIndex) else { return [] }
      return index.manifests.filter { $0.platform?.os != "unknown" }.map(\.digest)
    }
    #expect(try await manifests(environment.raw(image)) == manifests(before))
  }

  private func inspected(_ image: String, _ environment: Environment) async throws {
    let inspect = try await environment.tool.run("imagetools", "inspect", image)
    let lines = inspect.outputText.split(separator: "\n")
    for platform in BaseImage.usual { #expect(lines.contains { $0.hasPrefix("  Platform:") && $0.hasSuffix(" \(platform)") }, "\(inspect.everything)") }
    let raw = try await environment.tool.run("imagetools", "inspect", "--raw", image)
    #expect(try await raw.output == environment.raw(image))
  }

  @Test(.timeLimit(.minutes(10))) func whatFailsSaysWhere() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let failing = try environment.context("failing", ["Dockerfile": "FROM \(base)\nRUN echo about to fail; exit 7\n"])
      let run = try await environment.tool.run(["build", "--platform", "linux/amd64", "--progress=plain", failing])
      #expect(!run.succeeded)
      #expect(run.errorText.contains("exit code: 7") && run.errorText.contains("about to fail") && run.errorText.contains("Dockerfile:2"), "\(run.everything)")
      let typo = try environment.context("typo", ["Dockerfile": "FROM \(base)\nRUM true\n"])
      let parse = try await environment.tool.run(["build", "--progress=plain", typo])
      #expect(!parse.succeeded && parse.errorText.contains("RUM") && parse.errorText.contains("RUN"), "\(parse.everything)")
      let other = try environment.context("other", ["Dockerfile": "FROM \(base)\n"])
      let platform = try await environment.tool.run(["build", "--platform", "linux/s390x", "--progress=plain", "-t", environment.image("no"), "--push", other])
      #expect(!platform.succeeded)
      for name in ["linux/amd64", "linux/arm64", "linux/arm/v7"] { #expect(platform.errorText.contains(name), "\(platform.everything)") }
    }
  }
}
