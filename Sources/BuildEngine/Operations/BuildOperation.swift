internal import BuildInterface
internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import LLB
internal import OCIModel

/// Executes a build op: LLB that an earlier step wrote into a file is built in its place. What the build may not do, such LLB may not do either.
struct BuildOperation: Op {
  let op: Pb_BuildOp
  let inputCount: Int
  let loader: GraphLoader
  let services: EngineServices
  static let definitionInput = "buildkit.llb.definition"
  static let filenameAttribute = "llbbuild.filename"
  /// Bytes of the file.
  static let limit = 64 << 20
  /// Definitions within definitions.
  static let depthLimit = 16

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    CacheMapAnswer(services.cacheMap(try OpCacheKey.build(op, inputCount: inputCount), reads: false))
  }

  /// It computes nothing itself.
  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { nil }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    guard let input = op.inputs[Self.definitionInput]?.input else { throw InvalidDefinition("no llb definition input \(Self.definitionInput) found") }
    guard input >= 0, input < inputs.count else { throw InvalidDefinition("a build op reads the input \(input) of \(inputs.count)") }
    guard loader.depth < Self.depthLimit else { throw InvalidDefinition("build ops are nested deeper than the limit of \(Self.depthLimit)") }
    let definition = try Definition(serialized: try await file(try TreeResult.of(inputs[Int(input)])))
    let session = try services.session(of: context)
    guard let edge = try await loader.nested.edge(of: definition.proto, session: session, services: services) else { return [TreeResult(.scratch)] }
    return [try await context.build(edge)]
  }

  private func file(_ tree: TreeResult) async throws -> [UInt8] {
    let name = op.attrs[Self.filenameAttribute] ?? Self.definitionInput
    let read: @Sendable (any TreeReader) throws -> [UInt8] = { tree in
      let path = try TreePaths.resolve(name, in: tree, followLast: true)
      guard !path.isEmpty, let status = try tree.status(path) else { throw TreeError(.notFound, "\"\(name)\": no such file") }
      guard status.kind == .regular else { throw TreeError("\"\(name)\" is not a regular file") }
      return try tree.open(path).readToEnd(limit: Self.limit)
    }
    switch tree.tree {
    case .scratch: return try read(EmptyTree())
    case .local(let source): return try await Blocking.run { try read(source.tree) }
    case .snapshot(let ref):
      try await ref.prepare()
      return try await ref.withMounted { try read(MountedTree($0)) }
    }
  }
}

/// Executes a passthrough op: its outputs are its inputs, in an order of their own, once all of them are there.
struct PassthroughOperation: Op {
  let op: Pb_PassthroughOp
  let inputCount: Int
  let services: EngineServices

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    CacheMapAnswer(services.cacheMap(OpCacheKey.passthrough(op, inputCount: inputCount), reads: false))
  }
  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { nil }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    guard op.outputs.allSatisfy({ $0 >= 0 && $0 < inputs.count }) else { throw InvalidDefinition("a passthrough op names an input that is not there") }
    return op.outputs.map { inputs[Int($0)].clone() }
  }
}

extension OpCacheKey {
  /// solver/llbsolver/ops/build.go
  static func build(_ op: Pb_BuildOp, inputCount: Int) throws -> OpCacheKey {
    var fields = GoFields(), inputs = JSONObject(), attributes = JSONObject()
    fields.add("builder", op.builder)
    for (name, value) in op.inputs.sorted(by: { TreePaths.precedes($0.key, $1.key) }) {
      var one = GoFields()
      one.add("input", value.input)
      inputs[name] = one.json
    }
    if !op.inputs.isEmpty { fields.add("inputs", JSONValue.object(inputs)) }
    // Nobody sends one, and no builder reads it: the digest stands for what BuildKit would write out.
    if op.hasDef { fields.add("def", try Definition(op.def).serialized().isEmpty ? JSONValue.object(JSONObject()) : .string(Digest.sha256(of: try Definition(op.def).serialized()).description)) }
    for (name, value) in op.attrs.sorted(by: { TreePaths.precedes($0.key, $1.key) }) { attributes[name] = .string(value) }
    if !op.attrs.isEmpty { fields.add("attrs", JSONValue.object(attributes)) }
    return plain("Exec", "buildkit.build.v0", fields.json, inputCount)
  }

  /// solver/llbsolver/ops/passthrough.go
  static func passthrough(_ op: Pb_PassthroughOp, inputCount: Int) -> OpCacheKey {
    var fields = GoFields()
    fields.add("id", op.id)
    fields.add("outputs", op.outputs.map { JSONValue.int($0) })
    return plain("Passthrough", "buildkit.passthrough.v0", fields.json, inputCount)
  }

  private static func plain(_ name: String, _ type: String, _ body: JSONValue, _ inputs: Int) -> OpCacheKey {
    OpCacheKey(digest: .sha256(of: JSONValue.object(JSONObject([("Type", .string(type)), (name, body)])).encoded()), inputs: [Input](repeating: Input(), count: inputs))
  }

  /// source/containerblob/pull.go
  static func blob(_ digest: Digest, filename: String, mode: UInt32, uid: UInt32, gid: UInt32) -> Digest {
    let document = JSONObject([
      ("Digest", .string(digest.description)), ("Filename", .string(filename)), ("Perm", .int(Int64(mode))), ("UID", .int(Int64(uid))), ("GID", .int(Int64(gid))),
    ])
    return source(Digest.sha256(of: JSONValue.object(document).encoded()).description)
  }
}
