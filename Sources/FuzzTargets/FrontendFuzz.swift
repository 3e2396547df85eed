import BuildInterface
import BuildKitProto
import BuildProgress
import Dispatch
import DockerfileFrontend
import LLB
import OCIModel
import Synchronization

/// A Dockerfile through the whole frontend: built for two platforms and checked.
enum FrontendFuzz {
  static func run(_ bytes: [UInt8]) throws {
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).count
    try frontend(bytes, lines: lines, ["platform": "linux/amd64,linux/arm64"])
    try frontend(bytes, lines: lines, ["requestid": "frontend.lint"])
    try frontend(bytes, lines: lines, ["requestid": "frontend.outline"])
  }

  private static func frontend(_ bytes: [UInt8], lines: Int, _ attributes: [String: String]) throws {
    let gateway = FuzzGateway(dockerfile: bytes, attributes: attributes)
    switch wait({ try await DockerfileFrontend().build(gateway) }) {
    case .success(let result):
      if let json = result.metadata["result.json"] { _ = try JSONValue(parsing: json) }
      for target in result.targets { _ = try ImageConfig(parsing: target.imageConfig) }
      for definition in gateway.definitions { _ = try Definition(definition).load(limits: DefinitionLimits()) }
    case .failure(let error):
      guard let error = error as? BuildError else { throw FuzzFinding("an error without a place: \(error)") }
      for place in error.sources {
        try FuzzFinding.check(place.lines.lowerBound >= 1 && place.lines.upperBound <= max(lines, 1), "lines \(place.lines) of \(lines): \(error)")
        if let focus = place.focus { try FuzzFinding.check(place.lines.contains(focus.startLine), "a word of line \(focus.startLine) in \(place.lines): \(error)") }
        _ = place.excerpt()
      }
    }
  }

  /// The result of `body`. libFuzzer calls from a thread of its own, which is none of the cooperative pool's and can wait only by blocking; the task ends before
  /// this returns.
  private static func wait<T: Sendable>(_ body: @escaping @Sendable () async throws -> T) -> Result<T, any Error> {
    let done = DispatchSemaphore(value: 0)
    let box = ResultBox<T>()
    Task.detached {
      do { box.set(.success(try await body())) } catch { box.set(.failure(error)) }
      done.signal()
    }
    done.wait()
    return box.value ?? .failure(FuzzFinding("no result"))
  }
}

private final class ResultBox<T: Sendable>: Sendable {
  private let result = Mutex<Result<T, any Error>?>(nil)
  func set(_ new: Result<T, any Error>) { result.withLock { $0 = new } }
  var value: Result<T, any Error>? { result.withLock { $0 } }
}

/// Knows one Dockerfile, and any image.
private final class FuzzGateway: FrontendGateway {
  let environment: FrontendEnvironment
  private let dockerfile: [UInt8]
  private let solved = Mutex<[Pb_Definition]>([])
  var definitions: [Pb_Definition] { solved.withLock { $0 } }

  init(dockerfile: [UInt8], attributes: [String: String]) {
    self.dockerfile = dockerfile
    environment = FrontendEnvironment(buildPlatform: Platform(os: "linux", architecture: "amd64"), attributes: attributes, sessionID: "fuzz")
  }

  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference {
    solved.withLock { $0.append(definition) }
    return FuzzReference(dockerfile: dockerfile)
  }

  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage {
    let platform = options.platform
    let config = """
      {"architecture":"\(platform.architecture)","os":"\(platform.os)","config":{"Env":["PATH=/bin","LANG=C"],"WorkingDir":"/w","OnBuild":["RUN echo a","COPY --from=alpine /a /b"]},\
      "rootfs":{"type":"layers","diff_ids":["\(Digest.sha256(of: Array("x".utf8)))"]},"history":[{"created_by":"x"}]}
      """
    return ResolvedImage(reference: reference, digest: Digest.sha256(of: Array(reference.description.utf8)), config: Array(config.utf8))
  }

  func warn(_ warning: VertexWarning) async {}
  func progress<T: Sendable>(named name: String, _ body: @Sendable () async throws -> T) async throws -> T { try await body() }
}

private struct FuzzReference: FrontendReference {
  let dockerfile: [UInt8]
  func evaluate() async throws {}
  func readFile(_ path: String, limit: Int) async throws -> [UInt8] {
    if path == "Dockerfile" { return dockerfile }
    if path == ".dockerignore" { return Array("secret\n*.log\n".utf8) }
    throw BuildError(.notFound, .build, "open \(path): no such file or directory")
  }
  func exists(_ path: String) async throws -> Bool { path == "Dockerfile" || path == ".dockerignore" }
}
