import BuildInterface
import BuildKitProto
import BuildProgress
import Foundation
import LLB
import OCIModel
import Synchronization
import Testing

@testable import DockerfileFrontend

/// One Dockerfile of the corpus with its options, and what BuildKit's frontend made of it.
struct GoldenCase: CustomTestStringConvertible, Sendable {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden")

  /// The Dockerfiles that the integration tests build and compare with BuildKit's images.
  static let built = root.deletingLastPathComponent().deletingLastPathComponent().appending(path: "IntegrationTests/Golden")

  let name: String
  var isBuilt = false
  var folder: URL { isBuilt ? GoldenCase.built.appending(path: "cases/\(name)/context") : GoldenCase.root.appending(path: name) }
  var testDescription: String { isBuilt ? "built/\(name)" : name }

  static let all: [GoldenCase] = {
    func names(_ folder: URL, with file: String) -> [String] {
      let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
      return names.filter { FileManager.default.fileExists(atPath: folder.appending(path: $0).appending(path: file).path) }.sorted()
    }
    return names(root, with: "expected.json").map { GoldenCase(name: $0) } + names(built.appending(path: "cases"), with: "llb.json").map { GoldenCase(name: $0, isBuilt: true) }
  }()

  /// What is in a built case's llb.json, by its key.
  private func part(_ key: String) throws -> JSONValue { try GoldenCase.json(GoldenCase.built.appending(path: "cases/\(name)/llb.json"))[key] ?? .null }

  static func json(_ url: URL) throws -> JSONValue { try JSONValue(parsing: [UInt8](Data(contentsOf: url))) }

  func gateway() throws -> FakeGateway {
    let options = isBuilt ? try part("options") : try GoldenCase.json(folder.appending(path: "options.json"))
    var attributes: [String: String] = [:]
    for (key, value) in options["opts"]?.objectValue?.members ?? [] { attributes[key] = value.stringValue }
    var inputs: [String: Pb_Definition] = [:]
    for (name, image) in options["inputs"]?.objectValue?.members ?? [] {
      let state = Graph().image(
        try Reference(parsing: image.stringValue ?? ""), options: VertexOptions(name: "input " + name, platform: Platform(os: "linux", architecture: "amd64")))
      inputs[name] = try state.marshal().proto
    }
    var times: [String: Int64] = [:]
    for (source, time) in options["times"]?.objectValue?.members ?? [] { times[source] = time.intValue }
    return FakeGateway(
      folder: folder,
      environment: FrontendEnvironment(
        buildPlatform: try Platform(parsing: options["build"]?.stringValue ?? "linux/amd64"), attributes: attributes, inputs: inputs, sessionID: "session-0"),
      images: isBuilt ? FakeGateway.builtImages : FakeGateway.images, times: times)
  }
  func expected() throws -> JSONValue { isBuilt ? try part("expected") : try GoldenCase.json(folder.appending(path: "expected.json")) }
}

/// A gateway that solves nothing: it records definitions, reads the case's folder and knows the images of images.json.
final class FakeGateway: FrontendGateway {
  let folder: URL
  let environment: FrontendEnvironment
  let definitions = Mutex<[Pb_Definition]>([])
  let lookups = Mutex<[String]>([])
  let warnings = Mutex<[String]>([])
  /// Of sources, by their identifiers.
  let times: [String: Int64]

  private let images: Result<JSONValue, any Error>

  init(folder: URL, environment: FrontendEnvironment, images: Result<JSONValue, any Error> = FakeGateway.images, times: [String: Int64] = [:]) {
    (self.folder, self.environment, self.images, self.times) = (folder, environment, images, times)
  }

  static let images = Result { try GoldenCase.json(GoldenCase.root.appending(path: "images.json")) }
  static let builtImages = Result { try GoldenCase.json(GoldenCase.built.appending(path: "bases/llb-images.json")) }

  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference {
    definitions.withLock { $0.append(definition) }
    // What a client's directories hold is in folders of their names, where there are such.
    let local = Definition(definition).sources.compactMap { $0.identifier.hasPrefix("local://") ? String($0.identifier.dropFirst("local://".count)) : nil }.last
    let own = local.map { folder.appending(path: "sources/" + $0) }.flatMap { FileManager.default.fileExists(atPath: $0.path) ? $0 : nil }
    return FakeReference(folder: own ?? folder, head: Definition(definition).head)
  }

  func time(of source: Pb_SourceOp, logName: String) async throws -> Timestamp? {
    lookups.withLock { $0.append("\(source.identifier) \(logName)  ") }
    return times[source.identifier].map { Timestamp(seconds: $0) }
  }

  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage {
    lookups.withLock { $0.append("\(reference) \(options.logName) \(options.platform.fullDescription) \(options.layout.map { "layout " + $0 } ?? options.mode.rawValue)") }
    var image = try images.get()[reference.description]
    // In a layout it is found by its digest.
    if options.layout != nil { image = try images.get().objectValue?.members.first { $0.value["digest"]?.stringValue == reference.digest?.description }?.value }
    guard let image, let digest = image["digest"]?.stringValue else {
      throw BuildError(.notFound, .registry, "\(reference): not found")
    }
    for (key, config) in image["configs"]?.objectValue?.members ?? [] where try Platform(parsing: key).normalized == options.platform.normalized {
      return ResolvedImage(reference: reference, digest: try Digest(parsing: digest), config: config.encoded())
    }
    // Of a Windows image as containerd chooses: its version need not be said in full.
    let matcher = PlatformMatcher(only: options.platform)
    let others = try (image["configs"]?.objectValue?.members ?? []).map { (platform: try Platform(parsing: $0.0), config: $0.1) }.filter { $0.platform.os == "windows" && matcher.matches($0.platform) }
    if let best = others.min(by: { matcher.isBetter($0.platform, than: $1.platform) }) { return ResolvedImage(reference: reference, digest: try Digest(parsing: digest), config: best.config.encoded()) }
    let known = image["configs"]?.objectValue?.keys.joined(separator: ", ") ?? ""
    throw BuildError(.notFound, .registry, "no match for platform \(options.platform) in manifest", suggestion: "the image has \(known)")
  }

  func warn(_ warning: VertexWarning) async { warnings.withLock { $0.append(String(decoding: warning.short, as: UTF8.self)) } }
  func progress<T: Sendable>(named name: String, _ body: @Sendable () async throws -> T) async throws -> T { try await body() }
}

struct FakeReference: FrontendReference {
  let folder: URL
  let head: Digest?
  func evaluate() async throws {}
  func readFile(_ path: String, limit: Int) async throws -> [UInt8] {
    guard let data = try? Data(contentsOf: folder.appending(path: path)) else { throw BuildError(.notFound, .build, "open \(path): no such file or directory") }
    return [UInt8](data)
  }
  /// What is fetched is of one time here; the local files of a case have none that could be relied on.
  func exists(_ path: String) async throws -> Bool { FileManager.default.fileExists(atPath: folder.appending(path: path).path) }
}
