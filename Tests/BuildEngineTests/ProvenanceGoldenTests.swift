import BuildInterface
import BuildKitProto
import BuildProgress
import DockerfileFrontend
import Foundation
import OCIModel
import Synchronization
import Testing

@testable import BuildEngine
@testable import BuildOutputs

/// Attestations against those that BuildKit made of the same Dockerfiles.
@Suite struct ProvenanceGoldenTests {
  struct Layer: Decodable {
    var mediaType: String, digest: String, size: Int64
    var descriptor: OCIModel.Descriptor { get throws { OCIModel.Descriptor(mediaType: MediaType(mediaType), digest: try Digest(parsing: digest), size: size) } }
  }
  struct Base: Decodable {
    struct Image: Decodable { var config: String, layers: [Layer] }
    var digest: String, platforms: [String: Image]
  }
  struct Target: Decodable {
    var platform: String, subject: Layer, layers: [Layer], statement: String, manifest: String, config: String
  }
  struct Case: Decodable {
    var dockerfile: String, name: String, names: [String], attributes: [String: String], targets: [Target]
  }
  struct Vectors: Decodable { var base: Base, dockerfiles: [String: String], cases: [Case] }

  static let reference = "127.0.0.1:5900/library/busybox:latest"

  @Test(arguments: ["a-max1", "a-max02", "a-min1", "a-min02", "b-max1", "b-max02"]) func statements(_ name: String) async throws {
    let vectors: Vectors = try Golden.load("provenance.json")
    let vector = try #require(vectors.cases.first { $0.name == name })
    let gateway = OneImageGateway(
      base: vectors.base, dockerfile: vectors.dockerfiles[vector.dockerfile] ?? "",
      environment: FrontendEnvironment(buildPlatform: Platform(os: "linux", architecture: "amd64"), attributes: vector.attributes, sessionID: "s"))
    let result = try await DockerfileFrontend().build(gateway)
    #expect(result.targets.map(\.id) == vector.targets.map(\.platform))
    for (target, made) in zip(vector.targets, result.targets) {
      let definition = try #require((made.reference as? OneFileReference)?.definition)
      let predicate = try await predicate(vector, target, definition, vectors.base)
      // The values of secret names, which BuildKit writes out, and digests that would tell them; and what only a client of its gateway has.
      var expected = try JSONValue(parsing: target.statement.replacingOccurrences(of: "hunter2secret", with: Redaction.word))
      expected = Self.without(expected, ["root", "dockerfileVersion"], inside: false, isSecret: target.statement.contains("hunter2secret"))
      try await compare(predicate, expected, vector, target)
    }
  }

  private func predicate(_ vector: Case, _ target: Target, _ definition: Pb_Definition, _ base: Base) async throws -> JSONValue {
    let options = try #require(try ProvenanceOptions.of(vector.attributes))
    let expected = try #require(try JSONValue(parsing: target.statement)["predicate"])
    let metadata = try #require(expected["runDetails"]?["metadata"] ?? expected["metadata"])
    func text(_ names: [String]) throws -> String {
      let known = names.compactMap { name in metadata[name]?.stringValue }
      return try #require(known.first)
    }
    let platform = try Platform(parsing: target.platform)
    let image = try Reference(parsing: Self.reference), digest = try Digest(parsing: base.digest)
    var capture = ProvenanceCapture(
      images: [
        .init(reference: image.with(digest: digest), platform: platform, digest: digest), .init(reference: image, platform: platform, digest: digest),
      ],
      downloads: [.init(url: "http://127.0.0.1:5933/file.txt", digest: try Digest(parsing: "sha256:451f3e8714562111c7fc96b639f49f404507d4436dcd0ec3d539defcc2577d86"))],
      locals: ["dockerfile", "context"], secrets: [.init(id: "npmrc", isOptional: true)], usesNetwork: true)
    capture.finish()
    let record = ProvenanceRecord(
      options: options, capture: capture, frontend: "dockerfile.v0", attributes: vector.attributes, definition: definition,
      builderPlatform: Platform(os: "linux", architecture: "amd64"), invocationID: try text(["invocationId", "buildInvocationID"]),
      started: try Timestamp(rfc3339: try text(["startedOn", "buildStartedOn"])))
    let layers = ProvenanceLayers(builderPlatform: record.builderPlatform) { _, platform, _ in
      try (base.platforms[platform.description]?.layers ?? []).map { try $0.descriptor }
    }
    let own = try target.layers.map { try $0.descriptor }
    return try await record.predicate(finished: try Timestamp(rfc3339: try text(["finishedOn", "buildFinishedOn"]))) { try await layers.of($0, result: own) }
  }

  /// The statement and the manifest, byte for byte where nothing had to be left out.
  private func compare(_ predicate: JSONValue, _ expected: JSONValue, _ vector: Case, _ target: Target) async throws {
    let type = try #require(expected["predicateType"]?.stringValue)
    let made = Attestation(predicateType: type, filename: "provenance.json", inlineOnly: false) { _ in
      Self.without(predicate, [], inside: false, isSecret: target.statement.contains("hunter2secret"))
    }
    let empty = OCIModel.Descriptor(mediaType: .ociConfig, of: [])
    let manifest = WrittenImage.Manifest(
      target: target.platform, document: .init(descriptor: try target.subject.descriptor, bytes: []), config: .init(descriptor: empty, bytes: []), layers: [])
    let image = ExportSource.Target(id: target.platform, platform: try Platform(parsing: target.platform), ref: nil, imageConfig: [])
    let isArtifact = target.manifest.contains("artifactType")
    let ours = try await AttestationManifest.make(
      [made], of: manifest, image, names: try vector.names.map { try Reference(parsing: $0) }, isArtifact: isArtifact)
    #expect(String(decoding: ours.statements[0].bytes, as: UTF8.self) == expected.encodedString(), "\(vector.name) \(target.platform)")
    // The manifest and the config are BuildKit's but for the statement's digest and size.
    let theirs = try JSONValue(parsing: target.manifest), layer = ours.statements[0].descriptor
    let statement = try #require(theirs["layers"]?.arrayValue?.first)
    let digest = try #require(statement["digest"]?.stringValue), size = try #require(statement["size"]?.intValue)
    let config = target.config.replacingOccurrences(of: digest, with: layer.digest.description)
    #expect(String(decoding: ours.config.bytes, as: UTF8.self) == config)
    let wanted = target.manifest.replacingOccurrences(of: digest, with: layer.digest.description).replacingOccurrences(of: "\"size\": \(size),\n      \"ann", with: "\"size\": \(layer.size),\n      \"ann")
      .replacingOccurrences(of: theirs["config"]?["digest"]?.stringValue ?? "-", with: Digest.sha256(of: config).description)
    #expect(String(decoding: ours.document.bytes, as: UTF8.self) == wanted)
  }

  /// Without members of these names; of the Dockerfile's own steps the digests go, which hold the session's name; and with a secret all digests and the
  /// claim that the request is complete.
  private static func without(_ json: JSONValue, _ names: Set<String>, inside: Bool, isSecret: Bool) -> JSONValue {
    switch json {
    case .object(let object):
      var out = JSONObject()
      for (key, value) in object.members where !names.contains(key) {
        if key == "digestMapping", inside || isSecret { continue }
        if key == "buildkit_completeness" || key == "completeness", isSecret, var members = value.objectValue {
          for name in ["request", "parameters"] where members[name] != nil { members[name] = false }
          out[key] = .object(members)
          continue
        }
        out[key] = without(value, names, inside: inside || key == "infos", isSecret: isSecret)
      }
      return .object(out)
    case .array(let items): return .array(items.map { without($0, names, inside: inside, isSecret: isSecret) })
    default: return json
    }
  }
}

/// Solves nothing: has one Dockerfile and one image.
private final class OneImageGateway: FrontendGateway {
  let base: ProvenanceGoldenTests.Base
  let dockerfile: String
  let environment: FrontendEnvironment
  init(base: ProvenanceGoldenTests.Base, dockerfile: String, environment: FrontendEnvironment) {
    (self.base, self.dockerfile, self.environment) = (base, dockerfile, environment)
  }

  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference { OneFileReference(definition: definition, text: dockerfile) }
  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage {
    let image = try #require(base.platforms[options.platform.normalized.description])
    return ResolvedImage(reference: reference, digest: try Digest(parsing: base.digest), config: Array(image.config.utf8))
  }
  func warn(_ warning: VertexWarning) async {}
  func progress<T: Sendable>(named name: String, _ body: @Sendable () async throws -> T) async throws -> T { try await body() }
}

private struct OneFileReference: FrontendReference {
  let definition: Pb_Definition
  let text: String
  func evaluate() async throws {}
  func readFile(_ path: String, limit: Int) async throws -> [UInt8] {
    guard path == "Dockerfile" || path == "/Dockerfile" else { throw BuildError(.notFound, .build, "\(path): no such file") }
    return Array(text.utf8)
  }
  func exists(_ path: String) async throws -> Bool { path == "Dockerfile" || path == "/Dockerfile" }
}
