import Foundation
import HostOS
import OCIModel
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Pushes that fail, of the real program.
@Suite(.enabled(if: Tool.builds), .serialized)
struct PushFaultTests {
  private func context(_ environment: Environment, _ name: String, seed: UInt64, size: Int = 50_000, from: String = "scratch") throws -> String {
    let path = try environment.context(name, ["Dockerfile": "FROM \(from)\nCOPY one /one\nCOPY two /two\nCOPY three /three\n"])
    var random = SeededGenerator(seed)
    for file in ["one", "two", "three"] { try Files.writeAtomically(random.bytes(size), to: "\(path)/\(file)", durable: false) }
    return path
  }

  @Test(.timeLimit(.minutes(3))) func retriesAreShownWithTheRegistrysWords() async throws {
    try await withEnvironment { environment in
      try await TestRegistry.run { registry in
        let image = registry.host + "/team/app:1"
        registry.inject(TestFault("PUT", "/manifests/", times: 2, .status(429, headers: [("Retry-After", "1"), ("Content-Type", "application/json")], body: #"{"errors":[{"code":"TOOMANYREQUESTS","message":"Rate exceeded"}]}"#)))
        let path = try context(environment, "shown", seed: 1)
        let build = try await environment.tool.run(["build", "--progress=plain", "--provenance=false", "-t", image, "--push", path])
        #expect(build.succeeded && registry.missing(of: "1", in: "team/app") == nil, "\(build.everything)")
        #expect(build.errorText.contains("429 Too Many Requests (TOOMANYREQUESTS: Rate exceeded) [PUT http://\(registry.host)/v2/team/app/manifests/"), "\(build.everything)")
        #expect(build.errorText.contains("trying again in 1.") && build.errorText.contains("(try 2 of 6)"), "\(build.everything)")
        // What arrived needs no name here.
        let images = try await environment.tool.run("images")
        #expect(images.succeeded && !images.outputText.contains("team/app"), "\(images.everything)")
        // Nor does it take a name from what has it here.
        let local = try await environment.tool.run(["build", "--quiet", "--provenance=false", "-t", image, try context(environment, "local", seed: 9)])
        let before = try await environment.tool.run("image", "inspect", "--format", "{{.Id}}", image)
        let again = try await environment.tool.run(["build", "--quiet", "--provenance=false", "-t", image, "--push", path])
        let after = try await environment.tool.run("image", "inspect", "--format", "{{.Id}}", image)
        #expect(local.succeeded && again.succeeded && before.succeeded && before.outputText == after.outputText, "\(local.everything)\(again.everything)\(before.everything)\(after.everything)")
        // The same of an image verb.
        registry.inject(TestFault("GET", "/manifests/", .status(503, headers: [("Content-Type", "text/html")], body: "<html><title>down for a moment</title></html>")))
        let pull = try await environment.tool.run(["pull", "--progress=plain", image])
        #expect(pull.succeeded && pull.errorText.contains("503 Service Unavailable") && pull.errorText.contains("down for a moment"), "\(pull.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(3))) func whatCouldNotBePushedIsInTheStoreAndGoesOn() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"])
      try await TestRegistry.run { registry in
        let image = registry.host + "/team/app:1"
        let path = try context(environment, "kept", seed: 2, from: base)
        // All blobs arrive, no manifest does.
        registry.inject(TestFault("PUT", "/manifests/", times: 1000, .status(403, headers: [("Content-Type", "application/json")], body: #"{"errors":[{"code":"DENIED","message":"pushes are frozen until Monday"}]}"#)))
        let build = try await environment.tool.run(["build", "--progress=plain", "--platform=linux/amd64", "-t", image, "--push", path])
        #expect(build.status == .exited(3), "\(build.everything)")
        #expect(build.errorText.contains("DENIED: pushes are frozen until Monday") && build.errorText.contains("[PUT http://\(registry.host)/v2/team/app/manifests/"), "\(build.everything)")
        #expect(build.errorText.contains("The image is in the local store as \(image)") && build.errorText.contains("manifold push --resume \(image)"), "\(build.everything)")
        let images = try await environment.tool.run("images", "--format", "{{.Repository}}:{{.Tag}}")
        #expect(images.outputText.contains(image), "\(images.everything)")

        registry.clearFaults()
        registry.clearRequests()
        let push = try await environment.tool.run(["push", "--resume", "--progress=plain", image])
        #expect(push.succeeded && registry.missing(of: "1", in: "team/app") == nil, "\(push.everything)")
        #expect(!registry.requests.contains { $0.path.contains("/uploads/") }, "\(registry.requests)")
        #expect(push.errorText.contains("were there already"), "\(push.everything)")
        // The base's layers were never here: to a third registry they are brought from where they were seen.
        let third = environment.image("third:1")
        let tag = try await environment.tool.run("tag", image, third)
        #expect(tag.succeeded, "\(tag.everything)")
        let other = try await environment.tool.run(["push", third])
        #expect(other.succeeded, "\(other.everything)")
        _ = try await environment.pulled(third, as: "third")
        #expect(environment.registry.requests("POST /v2/third/blobs/uploads/").contains { $0.contains("from=base") }, "not mounted")
        // And it runs.
        let run = try await environment.tool.run("run", "--rm", image, "stat", "-c", "%s", "/three")
        #expect(run.outputText == "50000\n", "\(run.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func killedWhilePushingTheTagIsOldOrComplete() async throws {
    try await withEnvironment { environment in
      let platforms = "--platform=linux/amd64,linux/arm64"
      func make(_ name: String, seed: UInt64) async throws {
        let build = try await environment.tool.run(["build", "--quiet", platforms, "--provenance=false", "-t", environment.image("source:\(name)"), try context(environment, name, seed: seed, size: 6_000_000)])
        try #require(build.succeeded, "\(build.everything)")
      }
      try await make("old", seed: 3)
      for (i, requests) in [1, 3, 6, 9, 12, 14, 16, 18].enumerated() {
        let repository = "killed\(i)", name = environment.image(repository + ":1")
        func use(_ which: String) async throws {
          let tag = try await environment.tool.run("tag", environment.image("source:\(which)"), name)
          try #require(tag.succeeded, "\(tag.everything)")
        }
        try await use("old")
        let first = try await environment.tool.run("push", name)
        try #require(first.succeeded, "\(first.everything)")
        let old = try await environment.raw(name)
        // Each round has content of its own: what one round pushed would be mounted in the next.
        try await make("new\(i)", seed: 10 + UInt64(i))
        try await use("new\(i)")
        let before = environment.registry.requests("/v2/\(repository)/").count
        let child = try environment.tool.start(["push", "--progress=plain", name], output: "\(environment.scratch)/push-\(i)")
        let end = ContinuousClock.now + .seconds(60)
        // (Each request is two lines of the log.)
        while !child.hasEnded, environment.registry.requests("/v2/\(repository)/").count < before + 2 * requests, ContinuousClock.now < end { usleep(500) }
        child.kill(SIGKILL)
        child.wait()
        let between = try await environment.raw(name)
        _ = try await environment.pulled(name, as: "between\(i)")
        let again = try await environment.tool.run("push", "--resume", name)
        #expect(again.succeeded, "\(again.everything)")
        let new = try await environment.raw(name)
        #expect(new != old && (between == old || between == new), "\(i)")
        _ = try await environment.pulled(name, as: "after\(i)")
        // No blob was finished twice: its last request is one line of the access log.
        let finished = environment.registry.requests("\"PUT /v2/\(repository)/blobs/uploads/").filter { $0.contains("\" 201 ") }.compactMap { $0.split(separator: "digest=").dropFirst().first?.prefix { $0 != " " && $0 != "&" } }
        #expect(finished.count >= 5 && Set(finished).count == finished.count, "\(i): \(finished)")
      }
    }
  }
}
