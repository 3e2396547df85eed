public import BuildKitProto
public import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// Bounds on a definition from someone else.
public struct DefinitionLimits: Sendable {
  /// Ops, the last one included.
  public var operations = 100_000
  /// Bytes of all ops together. Inline files are part of them.
  public var bytes = 512 << 20
  /// Inputs of one op, and mounts or actions of one op.
  public var inputs = 10_000
  /// Messages within all ops together (inputs, mounts, actions), which are larger in memory than on the wire.
  public var messages = 1_000_000
  /// Fields of those: arguments, variables, patterns.
  public var fields = 8_000_000
  /// Bytes of one path or name.
  public var text = 64 << 10
  public init() {}
  public static let `default` = DefinitionLimits()
}

/// A vertex of a received definition, checked.
public struct LoadedVertex: Sendable {
  public let digest: Digest
  public let op: Pb_Op
  /// The encoded op, whose digest it is known by.
  public let bytes: [UInt8]
  public let metadata: Pb_OpMetadata
  /// As people see it in progress output.
  public let name: String
  /// In the order of `op.inputs`.
  public let inputs: [(digest: Digest, index: Int64)]
  /// Where in a source file the vertex comes from.
  public let locations: [SourceLocation]
}

/// A definition whose ops were parsed, hashed and checked: every input is there, and so there can be no cycle, since an op
/// contains its inputs' digests.
public struct LoadedGraph: Sendable {
  public let vertices: [Digest: LoadedVertex]
  /// Inputs before their users; only what the result needs.
  public let order: [Digest]
  /// The result's vertex and which of its outputs; nil for scratch.
  public let root: (digest: Digest, index: Int64)?
}

extension Definition {
  /// Parses and checks a definition that may be hostile. `supporting` names the capabilities of the engine; nil takes all.
  /// Throws `LLBError`: `.invalidDefinition`, `.tooLarge` or `.unsupported`.
  public func load(limits: DefinitionLimits = .default, supporting: Set<Capability>? = nil) throws(LLBError) -> LoadedGraph {
    if isScratch { return LoadedGraph(vertices: [:], order: [], root: nil) }
    guard proto.def.count <= limits.operations else { throw LLBError(.tooLarge, "the definition has \(proto.def.count) ops, more than the limit of \(limits.operations)") }
    guard proto.def.reduce(0, { $0 + $1.count }) <= limits.bytes else { throw LLBError(.tooLarge, "the definition is larger than the limit of \(limits.bytes) bytes") }
    var loader = Loader(definition: self, limits: limits, supporting: supporting)
    return try loader.load()
  }
}

private struct Loader {
  let definition: Definition
  let limits: DefinitionLimits
  let supporting: Set<Capability>?
  var ops: [Digest: (op: Pb_Op, bytes: [UInt8], inputs: [(digest: Digest, index: Int64)])] = [:]
  var loaded: [Digest: LoadedVertex] = [:]
  var order: [Digest] = []
  /// How many outputs an op has.
  var outputs: [Digest: Int64] = [:]
  var maps: [SourceMap] = []

  init(definition: Definition, limits: DefinitionLimits, supporting: Set<Capability>?) {
    (self.definition, self.limits, self.supporting) = (definition, limits, supporting)
  }

  func invalid(_ what: String, _ vertex: Digest? = nil) -> LLBError { LLBError(.invalidDefinition, what, vertex: vertex) }

  /// An input must be an output that there is.
  func checkOutput(_ input: (digest: Digest, index: Int64), of user: Digest) throws(LLBError) {
    guard let made = outputs[input.digest], input.index < made else { throw invalid("an op reads the output \(input.index) of \(input.digest), which has \(outputs[input.digest] ?? 0)", user) }
  }

  mutating func load() throws(LLBError) -> LoadedGraph {
    var last: Digest?, scan = WireScan()
    for data in definition.proto.def {
      let bytes = [UInt8](data)
      let digest = Digest.sha256(of: bytes)
      last = digest
      if ops[digest] != nil { continue }
      scan.add(bytes)
      guard scan.messages <= limits.messages, scan.fields <= limits.fields else {
        throw LLBError(.tooLarge, "the definition has more parts than the limit of \(limits.messages) messages with \(limits.fields) fields", vertex: digest)
      }
      let op: Pb_Op
      do { op = try Pb_Op(serializedBytes: bytes) } catch { throw LLBError(.invalidDefinition, "an op is not a protobuf message", vertex: digest, cause: error) }
      guard op.inputs.count <= limits.inputs else { throw LLBError(.tooLarge, "an op has \(op.inputs.count) inputs, more than the limit of \(limits.inputs)", vertex: digest) }
      var inputs: [(digest: Digest, index: Int64)] = []
      for (i, input) in op.inputs.enumerated() {
        guard input.index >= 0 else { throw invalid("input \(i) of an op has the output index \(input.index)", digest) }
        guard let wanted = Digest(input.digest) else { throw invalid("input \(i) of an op has the digest \(String(input.digest.prefix(100)).debugDescription)", digest) }
        inputs.append((wanted, input.index))
      }
      ops[digest] = (op, bytes, inputs)
    }
    guard let last, ops.count >= 2, let (_, _, inputs) = ops.removeValue(forKey: last) else { throw invalid("the definition has no more than one op") }
    guard let root = inputs.first else { throw invalid("the last op has no input", last) }
    maps = try sourceMaps()
    try visit(root.digest)
    try checkOutput(root, of: last)
    return LoadedGraph(vertices: loaded, order: order, root: root)
  }

  func sourceMaps() throws(LLBError) -> [SourceMap] {
    definition.proto.source.infos.map {
      SourceMap(filename: $0.filename, language: $0.language, data: [UInt8]($0.data), definition: $0.hasDefinition ? Definition($0.definition) : nil)
    }
  }

  mutating func visit(_ root: Digest) throws(LLBError) {
    var stack: [(digest: Digest, next: Int)] = [(root, 0)]
    while let (digest, next) = stack.last {
      if loaded[digest] != nil { stack.removeLast(); continue }
      guard let (op, bytes, inputs) = ops[digest] else { throw invalid("invalid missing input digest: \(digest) is missing from the definition") }
      if next < inputs.count {
        stack[stack.count - 1].next += 1
        if loaded[inputs[next].digest] == nil { stack.append((inputs[next].digest, 0)) }
        continue
      }
      do { outputs[digest] = try OperationCheck(op, limits: limits).run() } catch { throw LLBError(error.code, error.message, vertex: digest) }
      for input in inputs { try checkOutput(input, of: digest) }
      let metadata = definition.proto.metadata[digest.description] ?? Pb_OpMetadata()
      if let supporting, let missing = metadata.caps.keys.filter({ !supporting.contains(Capability(rawValue: $0)) }).min() {
        throw LLBError(.unsupported, "unknown API capability \(missing.prefix(200)): this engine does not have what the definition needs", vertex: digest)
      }
      loaded[digest] = LoadedVertex(
        digest: digest, op: op, bytes: bytes, metadata: metadata, name: metadata.description_p[VertexOptions.nameKey] ?? derivedName(op, inputs), inputs: inputs,
        locations: try locations(of: digest))
      order.append(digest)
      stack.removeLast()
    }
  }

  func locations(of digest: Digest) throws(LLBError) -> [SourceLocation] {
    var out: [SourceLocation] = []
    for location in definition.proto.source.locations[digest.description]?.locations ?? [] {
      guard maps.indices.contains(Int(location.sourceIndex)) else { throw invalid("a location names the source file \(location.sourceIndex) of \(maps.count)", digest) }
      out.append(SourceLocation(maps[Int(location.sourceIndex)], location.ranges.map { SourceSpan($0) }))
    }
    return out
  }

  /// As BuildKit names a vertex that has no name of its own. Cut at 1000 characters, since merges contain their inputs' names.
  func derivedName(_ op: Pb_Op, _ inputs: [(digest: Digest, index: Int64)]) -> String {
    func name(_ input: Int64) -> String { inputs.indices.contains(Int(input)) ? loaded[inputs[Int(input)].digest]?.name ?? "" : "" }
    let name: String =
      switch op.op {
      case .source(let source): source.identifier
      case .exec(let exec): exec.meta.args.joined(separator: " ")
      case .file(let file): file.actions.map(\.actionName).joined(separator: ", ")
      case .build: "build"
      case .merge: "merge (" + op.inputs.indices.prefix(100).map { name(Int64($0)) }.joined(separator: ", ") + ")"
      case .diff(let diff):
        "diff " + (diff.lower.input < 0 ? "scratch" : "(\(name(diff.lower.input)))") + " -> " + (diff.upper.input < 0 ? "scratch" : "(\(name(diff.upper.input)))")
      case .passthrough(let passthrough): "passthrough " + passthrough.id
      case nil: "unknown"
      }
    return name.utf8.count > 1000 ? String(name.prefix(1000)) + "…" : name
  }
}

extension Pb_FileAction {
  fileprivate var actionName: String {
    switch action {
    case .mkdir(let a): "mkdir \(a.path)"
    case .mkfile(let a): "mkfile \(a.path)"
    case .symlink(let a): "symlink \(a.newpath) -> \(a.oldpath)"
    case .rm(let a): "rm \(a.path)"
    case .copy(let a): "copy \(a.src) \(a.dest)"
    case nil: ""
    }
  }
}
