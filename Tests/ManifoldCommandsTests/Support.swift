import class ContentStore.ContentStore
import ArgumentParser
import BuildInterface
import BuildProgress
import ContentStore
import HostOS
import OCIModel
import Synchronization
import Testing

@testable import ManifoldCommands

/// A directory that is gone with the test.
final class Scratch: Sendable {
  let path: String
  init() throws { path = try Files.makeTemporaryDirectory(prefix: "manifold-commands-") }
  deinit { try? Files.removeTree(path) }
  @discardableResult func file(_ name: String, _ text: String = "FROM scratch\n") throws -> String {
    let full = path + "/" + name
    if let slash = full.lastIndex(of: "/") { try Files.makeDirectories(String(full[..<slash])) }
    try Files.writeAtomically(Array(text.utf8), to: full, durable: false)
    return full
  }
}

let amd64 = Platform(os: "linux", architecture: "amd64")

/// The plan of a `build` command line in a context that holds a Dockerfile.
func plan(_ arguments: [String], in scratch: Scratch, environment: [String: String] = [:], terminal: Bool = false) throws -> BuildPlan {
  let words = try CommandLineForms.normalised(["build"] + arguments)
  let command = try #require(try Manifold.parseAsRoot(words) as? BuildCommand)
  return try command.plan(CommandFacts(environment: environment, workingDirectory: scratch.path, standardOutputIsTerminal: terminal, host: amd64))
}

/// The message of the `BuildError` that `body` throws.
func failure(_ body: () throws -> Void) -> BuildError? {
  do {
    try body()
    return nil
  } catch { return error as? BuildError }
}

/// Remembers what it is asked, and answers as told.
final class FakeEngine: EmbeddedEngine {
  struct Client: ClientServices, FileService, SecretService, CredentialService, ExportService, AgentService {
    var files: any FileService { self }
    var secrets: any SecretService { self }
    var credentials: any CredentialService { self }
    var exports: any ExportService { self }
    var agents: any AgentService { self }
    func hasAgent(id: String) async throws -> Bool { description.agents[id] != nil }
    func serve(id: String, connection: Int32) {}
    func knownHosts() async throws -> [UInt8] { [] }
    let description: ClientDescription
    func directory(named name: String) async throws -> LocalDirectory {
      guard let path = description.directories[name] else { throw BuildError(.notFound, .usage, "no directory \(name)") }
      return .inPlace(path: path)
    }
    func secret(id: String) async throws -> [UInt8]? { nil }
    func credential(host: String) async throws -> BuildCredential? { nil }
    func target(id: String) async throws -> ExportTarget {
      guard let target = description.exports[id] else { throw BuildError(.notFound, .usage, "no target \(id)") }
      return target
    }
  }

  typealias Solve = @Sendable (SolveRequest, any ClientServices, any ProgressSink) async throws -> SolveResponse
  private struct State {
    var settings: [EngineSettings] = []
    var shutdowns = 0
    var runs: [RunRequest] = []
    var shells: [String] = []
  }
  private let state = Mutex(State())
  private let onSolve: Solve
  private let onRun: @Sendable (RunRequest) async throws -> Int32
  private let stored: [BuildInterface.LocalImage]
  private let explanation: BuildExplanation?

  init(
    images: [BuildInterface.LocalImage] = [], explanation: BuildExplanation? = nil, solve: @escaping Solve = { _, _, _ in SolveResponse() }, run: @escaping @Sendable (RunRequest) async throws -> Int32 = { _ in 0 }
  ) {
    (stored, self.explanation, onSolve, onRun) = (images, explanation, solve, run)
  }

  var settings: [EngineSettings] { state.withLock { $0.settings } }
  var shutdowns: Int { state.withLock { $0.shutdowns } }
  var runs: [RunRequest] { state.withLock { $0.runs } }

  func solve(_ request: SolveRequest, client: any ClientServices, progress: any ProgressSink) async throws -> SolveResponse {
    try await onSolve(request, client, progress)
  }
  func platformSupport(for platforms: [Platform]) async -> [PlatformSupport] {
    platforms.map { PlatformSupport(platform: $0, kind: $0 == amd64 ? .native : .emulated(by: "QEMU 7.2.22")) }
  }
  func images() async throws -> [BuildInterface.LocalImage] { stored }
  func removeImage(_ reference: Reference) async throws -> Bool { stored.contains { $0.reference == reference } }
  func diskUsage() async throws -> [UsageRecord] { [] }
  func prune(_ request: PruneRequest, removed: @escaping @Sendable (UsageRecord) -> Void) async throws -> [UsageRecord] { [] }
  func verifyStore(repair: Bool) async throws -> StoreReport { StoreReport() }
  func run(_ request: RunRequest) async throws -> Int32 {
    state.withLock { $0.runs.append(request) }
    return try await onRun(request)
  }
  func builds() async throws -> [BuildSummary] { explanation.map { [$0.build] } ?? [] }
  func explain(_ ref: String?) async throws -> BuildExplanation {
    guard let explanation else { throw BuildError(.notFound, .usage, "this store has no build in its history") }
    return explanation
  }
  func openShell(inFailedStepOf ref: String, terminal: Bool) async throws -> Int32? {
    state.withLock { $0.shells.append(ref) }
    return 0
  }
  var shells: [String] { state.withLock { $0.shells } }
  func client(_ description: ClientDescription) -> any ClientServices { Client(description: description) }
  var store: ContentStore { preconditionFailure("this engine has no store") }
  func shutdown() async { state.withLock { $0.shutdowns += 1 } }

  var composition: Composition {
    Composition { settings in
      self.state.withLock { $0.settings.append(settings) }
      return self
    }
  }

  func main(_ arguments: [String]) async -> Int32 { await Manifold.main(arguments, composition) }
}
