internal import BuildExecutor
internal import BuildInterface
internal import BuildKitProto
internal import BuildSnapshots
internal import DockerfileFrontend
internal import HostOS
internal import LLB
internal import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// A frontend that is an image (BuildKit's `gateway.v0`): its program runs in a container and asks over its standard streams.
struct FrontendImage: Frontend {
  static let name = "gateway.v0"
  static let sourceKey = "source"
  static let inputsCapability = "moby.buildkit.frontend.inputs"

  let source: String
  let engine: Engine

  /// A program and the tree that it runs in.
  private struct Program: Sendable {
    var tree: EngineReference
    var config: ImageConfig
  }

  func build(_ gateway: any FrontendGateway) async throws -> FrontendResult {
    guard let gateway = gateway as? EngineGateway else { throw BuildError(.internal, .build, "a frontend image needs an engine to run in") }
    guard let server = engine.options.frontendServer else { throw BuildError(.unimplemented, .usage, "this program runs no frontend images: \(source)") }
    let program = try await program(gateway)
    try checkCapabilities(program.config, gateway.environment)
    let result = try await run(program, gateway, server)
    guard let result else { throw BuildError(.unknown, .build, "the frontend \(source) ended without a result") }
    return try FrontendResult(result, platform: gateway.environment.buildPlatform)
  }

  // MARK: the program

  private func program(_ gateway: EngineGateway) async throws -> Program {
    if let input = try await input(gateway) { return input }
    let reference: Reference
    do { reference = try Reference(parsing: named(gateway.environment.attributes) ?? source).withDefaultTag } catch {
      throw BuildError(.invalidArgument, .usage, "the frontend \"\(source)\" is no name of an image: \(error)")
    }
    let found = try await gateway.resolveImage(
      reference, options: ImageResolveOptions(platform: gateway.environment.buildPlatform.normalized, logName: "resolve image config for docker-image://\(reference)"))
    var op = Pb_SourceOp()
    op.identifier = "docker-image://\(reference.with(digest: found.digest))"
    op.attrs["image.recordtype"] = "frontend"
    let tree = try await gateway.reference(try SourceTime.definition(of: op, name: "docker-image://\(reference.with(digest: found.digest))"))
    return Program(tree: tree, config: try ImageConfig(parsing: found.config))
  }

  /// What the client put in the image's place: a named context of the frontend's name.
  private func named(_ attributes: [String: String]) -> String? {
    guard let context = context(attributes), context.hasPrefix("docker-image://") else { return nil }
    return String(context.dropFirst("docker-image://".count))
  }

  private func context(_ attributes: [String: String]) -> String? {
    let names = [source] + ((try? Reference(parsing: source)).map { [$0.familiar, $0.familiar.hasSuffix(":latest") ? String($0.familiar.dropLast(7)) : $0.familiar] } ?? [])
    return names.lazy.compactMap { attributes["context:" + $0] }.first
  }

  /// A frontend that this build made itself, given as an input.
  private func input(_ gateway: EngineGateway) async throws -> Program? {
    let environment = gateway.environment
    guard let context = context(environment.attributes) else { return nil }
    if context.hasPrefix("docker-image://") { return nil }
    guard context.hasPrefix("input:") else {
      throw BuildError(.unimplemented, .usage, "the frontend \(source) is to be taken from \(context): only an image (docker-image://) or another build's result can stand in for it")
    }
    let name = String(context.dropFirst("input:".count))
    guard let definition = environment.inputs[name] else { throw BuildError(.invalidArgument, .usage, "invalid input \(name) for \(source)") }
    var config = ImageConfig(platform: environment.buildPlatform)
    if let metadata = environment.attributes["input-metadata:" + name], let members = try JSONValue(parsing: metadata).objectValue {
      if let text = members["containerimage.config"]?.stringValue, let bytes = Data(base64Encoded: text) { config = try ImageConfig(parsing: Array(bytes)) }
    }
    return Program(tree: try await gateway.reference(definition), config: config)
  }

  /// What the client needs of it, by the image's own label.
  private func checkCapabilities(_ config: ImageConfig, _ environment: FrontendEnvironment) throws {
    func list(_ text: String?) -> Set<String> {
      Set((text ?? "").split(separator: ",").compactMap { $0.split(separator: "+", maxSplits: 1).first.map(String.init) })
    }
    let has = list(config.config.labels["moby.buildkit.frontend.caps"])
    var needs = list(environment.attributes["frontend.caps"])
    if !environment.inputs.isEmpty { needs.insert(Self.inputsCapability) }
    if let lacking = needs.subtracting(has).min() { throw BuildError(.unimplemented, .usage, "unsupported frontend capability \(lacking)") }
  }

  // MARK: run

  private func run(_ program: Program, _ gateway: EngineGateway, _ server: any FrontendServer) async throws -> NestedResult? {
    guard let built = try await program.tree.built(), let tree = try await TreeResult.of(built).snapshot(engine.refs) else {
      throw BuildError(.invalidArgument, .usage, "gateway source \(source) didn't return default result: it has no files")
    }
    let layer = try await engine.refs.newMutable(parent: tree, description: "frontend \(source)", recordType: .frontend)
    let outcome: Result<NestedResult?, any Error>
    do { outcome = .success(try await run(process(program, gateway.environment), root: try await layer.mountPlan(), gateway, server)) } catch { outcome = .failure(error) }
    await layer.discard()
    return try outcome.get()
  }

  private enum Ending: Sendable {
    case program(Result<StepExit, any Error>)
    case answers(Result<NestedResult?, any Error>)
  }

  /// What it returned as an error counts before how it ended, and that before what it returned as a result.
  private func run(_ spec: ProcessSpec, root: MountPlan, _ gateway: EngineGateway, _ server: any FrontendServer) async throws -> NestedResult? {
    let ends = try await Blocking.run { try Sockets.pair() }
    let errors = try await Blocking.run { try Descriptor.pipe() }
    let words = LastWords()
    let ours = try ends.0.released()
    let theirs = HandedOver(ends.1, errors.write)
    let executor = engine.services.executor
    let reader = Task { [errors] in try? await DedicatedThread.run { words.read(errors.read) } }
    let (exit, answer) = await withTaskGroup(of: Ending.self) { group in
      group.addTask {
        do {
          let exit = try await executor.run(spec, root: root, locks: [], streams: .attached(input: theirs.socket, output: theirs.socket, error: theirs.errors, terminal: false, signals: nil))
          theirs.close()
          return .program(.success(exit))
        } catch {
          theirs.close()
          return .program(.failure(error))
        }
      }
      group.addTask {
        do { return .answers(.success(try await server.serve(gateway, connection: ours))) } catch { return .answers(.failure(error)) }
      }
      var exit: Result<StepExit, any Error>?, answer: Result<NestedResult?, any Error>?
      for await ending in group {
        switch ending {
        case .program(let result): exit = result
        case .answers(let result):
          answer = result
          // It has nobody to speak with any more: what still runs is ended.
          if exit == nil { group.cancelAll() }
        }
      }
      return Endings(exit: exit, answer: answer)
    }.both
    _ = await reader.value
    try Task.checkCancellation()
    return try conclude(exit, answer, words.text)
  }

  private struct Endings: Sendable {
    var exit: Result<StepExit, any Error>?
    var answer: Result<NestedResult?, any Error>?
    var both: (Result<StepExit, any Error>?, Result<NestedResult?, any Error>?) { (exit, answer) }
  }

  private func conclude(_ exit: Result<StepExit, any Error>?, _ answer: Result<NestedResult?, any Error>?, _ words: String) throws -> NestedResult? {
    let said = words.isEmpty ? [] : words.split(separator: "\n").suffix(20).map(String.init)
    switch answer {
    case .failure(let error)? where error is BuildError: throw error
    case .success(let result?)?:
      if case .success(let exit)? = exit, exit.code != 0 { throw BuildError(.unknown, .build, "frontend \(source): exit code: \(exit.code)", output: said) }
      // Killed for being slow to end after its result: it had returned all.
      return result
    default: break
    }
    switch exit {
    case .success(let exit)?:
      if exit.code != 0 || exit.runtimeMessage != nil {
        throw BuildError(.unknown, .build, "frontend \(source): " + (exit.runtimeMessage ?? "exit code: \(exit.code)") + (said.isEmpty ? "" : ": \(said.joined(separator: "\n"))"), output: said)
      }
    case .failure(let error)?: if !(error is CancellationError) { throw error }
    case nil: break
    }
    if case .failure(let error)? = answer { throw BuildError(.unavailable, .build, "the frontend \(source) could not be spoken with", output: said, cause: error) }
    return nil
  }

  private func process(_ program: Program, _ environment: FrontendEnvironment) throws -> ProcessSpec {
    let config = program.config.config
    var variables = config.env
    var number = 0
    for (key, value) in environment.attributes.sorted(by: { $0.key < $1.key }) where !DockerfileFrontend.ownAttributes.contains(key) {
      variables.append("BUILDKIT_FRONTEND_OPT_\(number)=\(key)=\(value)")
      number += 1
    }
    variables.append("BUILDKIT_SESSION_ID=\(environment.sessionID)")
    variables.append("BUILDKIT_WORKERS=\(Self.json(environment.workers))")
    variables.append("BUILDKIT_EXPORTEDPRODUCT=")
    let hasNoNetwork = ["1", "t", "true"].contains(config.labels["moby.buildkit.frontend.network.none"]?.lowercased())
    let definition = try program.tree.definition.serializedData()
    return ProcessSpec(
      arguments: config.entrypoint ?? ["/run"], environment: variables, workingDirectory: config.workingDir.isEmpty ? "/" : config.workingDir, network: hasNoNetwork ? .none : .sandbox,
      mounts: [
        ProcessMount(destination: "/run/config/buildkit/metadata/frontend.bin", source: .memory(bytes: Array(definition), mode: 0o400, uid: 0, gid: 0), readOnly: true)
      ], platform: environment.buildPlatform.normalized)
  }

  /// As Go writes client.WorkerInfo.
  private static func json(_ workers: [Moby_Buildkit_V1_Types_WorkerRecord]) -> String {
    let list = workers.map { worker -> JSONValue in
      [
        "id": .string(worker.id), "labels": .object(JSONObject(sorted: worker.labels)), "platforms": .array(worker.platforms.map { Platform($0).json }), "gcPolicy": .null,
        "buildkitVersion": ["package": "", "version": "", "revision": ""], "cdiDevices": .null,
      ]
    }
    return JSONValue.array(list).encodedString()
  }
}

/// The program's ends of its streams, which this side must not keep open when it has ended.
private final class HandedOver: Sendable {
  let socket: HostOS.Descriptor
  let errors: HostOS.Descriptor
  init(_ socket: HostOS.Descriptor, _ errors: HostOS.Descriptor) { (self.socket, self.errors) = (socket, errors) }
  func close() {
    Sockets.end(socket)
    try? errors.close()
  }
}
