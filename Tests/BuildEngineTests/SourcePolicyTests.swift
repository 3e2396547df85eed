import BuildInterface
import BuildKitProto
import Foundation
import LLB
import OCIModel
import SwiftProtobuf
import Testing

@testable import BuildEngine

@Suite struct SourcePolicyTests {
  struct Vector: Decodable {
    var name: String, identifier: String
    var policies: [String]?, attrs: [String: String]?
    var out: String?, outAttrs: [String: String]?, error: String?
  }

  @Test func asBuildKit() async throws {
    let vectors: [Vector] = try Golden.load("policies.json")
    #expect(vectors.count > 150)
    for vector in vectors {
      var source = Pb_SourceOp()
      source.identifier = vector.identifier
      source.attrs = vector.attrs ?? [:]
      do {
        let policies = try SourcePolicies(try (vector.policies ?? []).map { try Moby_Buildkit_V1_Sourcepolicy_Policy(serializedBytes: Golden.bytes($0)) })
        let found = try await policies.evaluate(source, platform: nil)
        #expect(vector.error == nil, "\(vector.name): not refused")
        #expect(found.identifier == vector.out, "\(vector.name)")
        #expect(found.attrs == vector.outAttrs ?? [:], "\(vector.name)")
      } catch let error as BuildError {
        // What cannot be read is refused when the build begins, there when a source is compared with it.
        #expect(vector.error != nil, "\(vector.name): \(error)")
        if let expected = vector.error, expected.contains("denied") { #expect(error.message == expected, "\(vector.name)") }
      }
    }
  }

  private struct Client: PolicyService {
    let answer: @Sendable (Pb_SourceOp) -> PolicyDecision
    func check(_ source: Pb_SourceOp, platform: Pb_Platform?) async throws -> PolicyDecision { answer(source) }
  }
  private static func source(_ identifier: String) -> Pb_SourceOp { .with { $0.identifier = identifier } }

  @Test func clientsAreAsked() async throws {
    let converting = Client { source in
      switch source.identifier {
      case "docker-image://docker.io/library/a:latest": .convert(Self.source("docker-image://docker.io/library/b:latest"))
      case "docker-image://docker.io/library/b:latest": .allow
      case "local://endless": .convert(Self.source("local://endless"))
      default: .deny(messages: ["not that one"])
      }
    }
    let policies = try SourcePolicies([], verifier: converting)
    #expect(try await policies.evaluate(Self.source("docker-image://a"), platform: nil).identifier == "docker-image://docker.io/library/b:latest")
    let denied = await #expect(throws: BuildError.self) { try await policies.evaluate(Self.source("https://x/y"), platform: nil) }
    #expect(denied?.code == .permissionDenied)
    #expect(denied?.message.contains("not that one") == true)
    await #expect(throws: BuildError.self) { try await policies.evaluate(Self.source("local://endless"), platform: nil) }
  }

  /// A short name is judged by the rule of its long one.
  @Test func namesAreMadeWhole() async throws {
    var policy = Moby_Buildkit_V1_Sourcepolicy_Policy()
    policy.rules = [.with { $0.action = .deny; $0.selector = .with { $0.identifier = "docker-image://docker.io/library/alpine:*" } }]
    let policies = try SourcePolicies([policy])
    for name in ["alpine", "alpine:3", "docker.io/alpine", "index.docker.io/library/alpine:3.18"] {
      await #expect(throws: BuildError.self, "\(name)") { try await policies.evaluate(Self.source("docker-image://" + name), platform: nil) }
    }
  }

  /// What reads a source that is another now has another digest; names and places stay.
  @Test func definitionsAreRewritten() async throws {
    let graph = Graph()
    var step = VertexOptions()
    step.name = "copy it"
    let one = graph.image(try Reference(parsing: "alpine:3.18")), two = graph.image(try Reference(parsing: "busybox"))
    let made = try one.file([.copy(from: two, "/x", to: "/y")], options: step)
    let definition = try graph.merge([made, two]).marshal()
    var policy = Moby_Buildkit_V1_Sourcepolicy_Policy()
    policy.rules = [.with {
      $0.action = .convert
      $0.selector = .with { $0.identifier = "docker-image://docker.io/library/alpine:*" }
      $0.updates = .with { $0.identifier = "docker-image://example.com/alpine:${1}" }
    }]
    let rewritten = try await SourcePolicyPass.run(try SourcePolicies([policy]), definition.proto)
    let other = Graph()
    let expected = try other.merge([
      try other.image(try Reference(parsing: "example.com/alpine:3.18")).file([.copy(from: other.image(try Reference(parsing: "busybox")), "/x", to: "/y")], options: step),
      other.image(try Reference(parsing: "busybox")),
    ]).marshal()
    let (found, wanted) = (try Definition(rewritten).load(), try expected.load())
    #expect(Set(found.order) == Set(wanted.order))
    #expect(found.root?.digest == wanted.root?.digest)
    #expect(found.vertices.values.contains { $0.name == "copy it" })
    // Nothing to change: byte for byte.
    #expect(try await SourcePolicyPass.run(try SourcePolicies([Moby_Buildkit_V1_Sourcepolicy_Policy()]), definition.proto) == definition.proto)
  }
}
