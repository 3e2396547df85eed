internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import OCIModel

/// Executes a merge op: its inputs laid over one another, the last on top. No file is copied, and a layer stays what it is when those below it change.
struct MergeOperation: Op {
  let op: Pb_MergeOp
  let inputCount: Int
  let services: EngineServices

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    CacheMapAnswer(services.cacheMap(OpCacheKey.merge(op, inputCount: inputCount), reads: false))
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    try await services.collector.beforeStep()
    var trees: [ImmutableRef] = []
    for input in inputs { if let tree = try await TreeResult.of(input).snapshot(services.refs) { trees.append(tree) } }
    guard !trees.isEmpty else { return [TreeResult(.scratch)] }
    return [TreeResult(.snapshot(try await services.refs.merge(trees, description: context.vertex.name)))]
  }
}

/// Executes a diff op: what the upper tree has over the lower one, as a layer on its own.
struct DiffOperation: Op {
  let op: Pb_DiffOp
  let services: EngineServices

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer { CacheMapAnswer(services.cacheMap(OpCacheKey.diff(op), reads: false)) }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    try await services.collector.beforeStep()
    var rest = inputs[...]
    func side(_ input: Int64) async throws -> ImmutableRef? {
      // Sides that are there follow one another; -1 is an empty tree.
      guard input != -1 else { return nil }
      guard let next = rest.popFirst() else { throw InvalidDefinition("a diff op has fewer inputs than it names") }
      return try await TreeResult.of(next).snapshot(services.refs)
    }
    let lower = try await side(op.lower.input), upper = try await side(op.upper.input)
    guard let lower else { return [TreeResult(upper.map { .snapshot($0.clone()) } ?? .scratch)] }
    if lower.id == upper?.id { return [TreeResult(.scratch)] }
    return [TreeResult(.snapshot(try await services.refs.diff(from: lower, to: upper, description: context.vertex.name)))]
  }
}

extension OpCacheKey {
  /// solver/llbsolver/ops/merge.go
  static func merge(_ op: Pb_MergeOp, inputCount: Int) -> OpCacheKey {
    var fields = GoFields()
    fields.add("inputs", op.inputs.map { input($0.input) })
    return key("Merge", "buildkit.merge.v0", fields.json, inputCount)
  }

  /// solver/llbsolver/ops/diff.go
  static func diff(_ op: Pb_DiffOp) -> OpCacheKey {
    var fields = GoFields()
    if op.hasLower { fields.add("lower", input(op.lower.input)) }
    if op.hasUpper { fields.add("upper", input(op.upper.input)) }
    return key("Diff", "buildkit.diff.v0", fields.json, [op.lower.input, op.upper.input].count { $0 != -1 })
  }

  private static func input(_ index: Int64) -> JSONValue {
    var fields = GoFields()
    fields.add("input", index)
    return fields.json
  }

  private static func key(_ name: String, _ type: String, _ body: JSONValue, _ inputs: Int) -> OpCacheKey {
    OpCacheKey(digest: .sha256(of: JSONValue.object(JSONObject([("Type", .string(type)), (name, body)])).encoded()), inputs: [Input](repeating: Input(), count: inputs))
  }
}
