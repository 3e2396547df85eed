internal import BuildInterface
internal import BuildKitProto
internal import LLB
internal import OCIModel

/// A definition as provenance lists it: the ops by number, inputs before their users, the last one the result.
struct BuildSteps {
  private var ops: [(digest: Digest, op: Pb_Op)] = []
  /// Of each vertex.
  private(set) var numbers: [Digest: Int] = [:]

  init(_ definition: Pb_Definition) throws {
    let definition = Definition(definition)
    let graph = try definition.load()
    var all = graph.vertices.mapValues(\.op)
    // The last op has no kind: it names the result.
    guard let last = definition.digests.last, let root = graph.root else { return }
    var result = Pb_Op(), input = Pb_Input()
    (input.digest, input.index) = (root.digest.description, root.index)
    result.inputs = [input]
    all[last] = result
    var rest = [(last, false)]
    while let (digest, isDone) = rest.popLast() {
      guard numbers[digest] == nil, let op = all[digest] else { continue }
      if isDone {
        numbers[digest] = ops.count
        ops.append((digest, op))
      } else {
        rest.append((digest, true))
        rest += op.inputs.reversed().compactMap { input in Digest(input.digest).map { ($0, false) } }
      }
    }
  }

  func name(_ digest: Digest) -> String? { numbers[digest].map { "step\($0)" } }

  /// So that values can be learnt before any is written.
  func learnSecrets(_ redaction: Redaction) {
    for case (_, let op) in ops {
      guard case .exec(let exec)? = op.op else { continue }
      for variable in exec.meta.env {
        guard let equals = variable.firstIndex(of: "=") else { continue }
        redaction.learn(String(variable[..<equals]), String(variable[variable.index(after: equals)...]))
      }
    }
  }

  /// `llbDefinition`; nil when there is none.
  func list(_ json: OpJSON) -> JSONValue? {
    if ops.isEmpty { return nil }
    return .array(
      ops.enumerated().map { i, item in
        var step = JSONObject([("id", .string("step\(i)")), ("op", json.op(item.op))])
        let inputs = item.op.inputs.compactMap { input in Digest(input.digest).flatMap(name).map { JSONValue.string("\($0):\(input.index)") } }
        if !inputs.isEmpty { step["inputs"] = .array(inputs) }
        return .object(step)
      })
  }

  /// `digestMapping`. None where secrets were taken out: the digest of a step with one would tell whether a guess of it is right.
  func digests(unless isRedacted: Bool) -> JSONValue? {
    if isRedacted || ops.isEmpty { return nil }
    return .object(JSONObject(sorted: Dictionary(uniqueKeysWithValues: numbers.map { ($0.key.description, "step\($0.value)") })))
  }

  /// The chain of vertices that the result's tree was made by, the result's own last, with each one's output: every one adds a layer, and the first
  /// is an image or has nothing below.
  var layerSteps: [(digest: Digest, index: Int64)] {
    let known = Dictionary(uniqueKeysWithValues: ops.map { ($0.digest, $0.op) })
    guard let last = ops.last, let root = last.op.inputs.first, var digest = Digest(root.digest) else { return [] }
    var index = root.index, out: [(Digest, Int64)] = []
    while let op = known[digest], out.count <= ops.count {
      out.append((digest, index))
      guard let below = BuildSteps.base(of: op, output: index), op.inputs.indices.contains(Int(below)), let next = Digest(op.inputs[Int(below)].digest) else { break }
      (digest, index) = (next, op.inputs[Int(below)].index)
    }
    return out.reversed()
  }

  /// The input that an output is a changed copy of.
  private static func base(of op: Pb_Op, output: Int64) -> Int64? {
    switch op.op {
    case .exec(let exec): return exec.mounts.first { $0.output == output && $0.mountType == .bind && $0.input >= 0 }?.input
    case .file(let file):
      // Actions take inputs, or, numbered after them, the results of actions before.
      guard var i = file.actions.firstIndex(where: { $0.output == output }) else { return nil }
      for _ in file.actions {
        let input = file.actions[i].input
        if input < 0 { return nil }
        if input < op.inputs.count { return input }
        i = Int(input) - op.inputs.count
        guard file.actions.indices.contains(i) else { return nil }
      }
      return nil
    default: return nil
    }
  }

  /// The images among the steps.
  var images: [(digest: Digest, source: Pb_SourceOp, platform: Pb_Platform)] {
    ops.compactMap { item in
      guard case .source(let source)? = item.op.op, source.identifier.hasPrefix("docker-image://") else { return nil }
      return (item.digest, source, item.op.platform)
    }
  }
}
