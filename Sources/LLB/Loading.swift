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
  var maps: [SourceMap] = []

  init(definition: Definition, limits: DefinitionLimits, supporting: Set<Capability>?) {
    (self.definition, self.limits, self.supporting) = (definition, limits, supporting)
  }

  func invalid(_ what: String) -> LLBError { LLBError(.invalidDefinition, what) }

  mutating func load() throws(LLBError) -> LoadedGraph {
    var last: Digest?
    for data in definition.proto.def {
      let bytes = [UInt8](data)
      let digest = Digest.sha256(of: bytes)
      let op: Pb_Op
      do { op = try Pb_Op(serializedBytes: bytes) } catch { throw LLBError(.invalidDefinition, "an op is not a protobuf message", cause: error) }
      guard op.inputs.count <= limits.inputs else { throw LLBError(.tooLarge, "an op has \(op.inputs.count) inputs, more than the limit of \(limits.inputs)") }
      var inputs: [(digest: Digest, index: Int64)] = []
      for (i, input) in op.inputs.enumerated() {
        guard input.index >= 0 else { throw invalid("input \(i) of an op has the output index \(input.index)") }
        guard let digest = Digest(input.digest) else { throw invalid("input \(i) of an op has the digest \"\(input.digest.prefix(100))\"") }
        inputs.append((digest, input.index))
      }
      ops[digest] = (op, bytes, inputs)
      last = digest
    }
    guard let last, ops.count >= 2, let (_, _, inputs) = ops.removeValue(forKey: last) else { throw invalid("the definition has no more than one op") }
    guard let root = inputs.first else { throw invalid("the last op has no input") }
    maps = try sourceMaps()
    try visit(root.digest)
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
      guard let (op, bytes, inputs) = ops[digest] else { throw invalid("the input \(digest) is missing from the definition") }
      if next < inputs.count {
        stack[stack.count - 1].next += 1
        if loaded[inputs[next].digest] == nil { stack.append((inputs[next].digest, 0)) }
        continue
      }
      try check(op)
      let metadata = definition.proto.metadata[digest.description] ?? Pb_OpMetadata()
      if let supporting, let missing = metadata.caps.keys.filter({ !supporting.contains(Capability(rawValue: $0)) }).min() {
        throw LLBError(.unsupported, "the definition needs the capability \(missing), which this engine does not have")
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
      guard maps.indices.contains(Int(location.sourceIndex)) else { throw invalid("a location names the source file \(location.sourceIndex) of \(maps.count)") }
      out.append(SourceLocation(maps[Int(location.sourceIndex)], location.ranges.map { SourceSpan($0) }))
    }
    return out
  }

  func check(_ op: Pb_Op) throws(LLBError) {
    let inputs = Int64(op.inputs.count)
    func checkInput(_ input: Int64, _ what: String) throws(LLBError) {
      guard input >= -1, input < inputs else { throw invalid("\(what) names the input \(input) of \(inputs)") }
    }
    switch op.op {
    case .source(let source):
      guard !source.identifier.isEmpty else { throw invalid("a source op has no identifier") }
    case .exec(let exec):
      guard exec.hasMeta, !exec.meta.args.isEmpty else { throw invalid("an exec op has no arguments") }
      guard exec.mounts.contains(where: { $0.dest == "/" }) else { throw invalid("an exec op has no root filesystem") }
      guard exec.mounts.count <= limits.inputs else { throw LLBError(.tooLarge, "an exec op has \(exec.mounts.count) mounts, more than the limit of \(limits.inputs)") }
      for mount in exec.mounts { try checkInput(mount.input, "the mount at \(mount.dest.prefix(200))") }
      if case .UNRECOGNIZED(let mode) = exec.security { throw invalid("an exec op has the security mode \(mode)") }
      if case .UNRECOGNIZED(let mode) = exec.network { throw invalid("an exec op has the network mode \(mode)") }
    case .file(let file):
      guard !file.actions.isEmpty else { throw invalid("a file op has no actions") }
      guard file.actions.count <= limits.inputs else { throw LLBError(.tooLarge, "a file op has \(file.actions.count) actions, more than the limit of \(limits.inputs)") }
      for (i, action) in file.actions.enumerated() {
        guard action.action != nil else { throw invalid("action \(i) of a file op is of no known kind") }
        for input in [action.input, action.secondaryInput] where input < -1 || input >= inputs + Int64(i) {
          throw invalid("action \(i) of a file op names the input \(input), which is not made before it")
        }
      }
      guard file.actions.contains(where: { $0.output >= 0 }) else { throw invalid("a file op has no output") }
    case .merge(let merge):
      for input in merge.inputs { try checkInput(input.input, "a merge op") }
    case .diff(let diff):
      guard diff.hasLower, diff.hasUpper else { throw invalid("a diff op lacks a side") }
      try checkInput(diff.lower.input, "a diff op")
      try checkInput(diff.upper.input, "a diff op")
    case .passthrough(let passthrough):
      guard !passthrough.id.isEmpty, !passthrough.outputs.isEmpty else { throw invalid("a passthrough op has no id or no outputs") }
      for input in passthrough.outputs where input < 0 || input >= inputs { throw invalid("a passthrough op names the input \(input) of \(inputs)") }
    case .build: break
    case nil: throw invalid("an op that is not the last has no kind, or one that this version does not know")
    }
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
