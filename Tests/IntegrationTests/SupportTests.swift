import HostOS
import OCIModel
import Testing

/// What the other tests here stand on.
@Suite struct SupportTests {
  @Test(.timeLimit(.minutes(10))) func registryAndBaseImage() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      #expect(try await environment.platforms(base) == BaseImage.usual)
      #expect(!environment.registry.requests("/v2/base/").isEmpty)
      environment.registry.stop()
      let after = try await Processes.run("skopeo", ["inspect", "--raw", "--tls-verify=false", "docker://\(base)"])
      #expect(!after.succeeded)
    }
  }

  @Test func theProgramAnswers() async throws {
    try await withEnvironment { environment in
      let output = try await environment.tool.run("no-such-verb")
      #expect(!output.succeeded)
      #expect(output.errorText.contains("manifold"), "\(output.everything)")
    }
  }
}
