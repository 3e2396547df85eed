public import BuildKitProto
public import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// What a graph leaves open until it is marshalled.
public struct MarshalOptions: Sendable {
  /// The platform of vertices that name none.
  public var platform: Platform
  /// Sets apart the local sources, without a session, of one build from those of another.
  public var localUniqueID: String
  /// What `Graph.placeholder` stands for.
  public var inputs: [String: State]

  public init(platform: Platform = Platform.current.normalized, localUniqueID: String = "", inputs: [String: State] = [:]) {
    (self.platform, self.localUniqueID, self.inputs) = (platform, localUniqueID, inputs)
  }
}

extension State {
  /// The definition of this state: its vertices, byte for byte as BuildKit's own client encodes them, with metadata and source
  /// maps. Scratch gives an empty definition. Throws `LLBError.invalidOption` when a placeholder has no input.
  public func marshal(_ options: MarshalOptions = MarshalOptions()) throws(LLBError) -> Definition {
    var marshaller = Marshaller(vertices: graph.snapshot, graph: graph, options: options)
    return try marshaller.definition(of: output)
  }
}

private struct Marshaller {
  let vertices: [Vertex]
  let graph: Graph
  let options: MarshalOptions
  var encoded: [Int: Digest] = [:]
  var definition = Pb_Definition()
  var written: Set<Digest> = []
  var maps: [SourceMap] = []
  var source = Pb_Source()

  init(vertices: [Vertex], graph: Graph, options: MarshalOptions) { (self.vertices, self.graph, self.options) = (vertices, graph, options) }

  /// Placeholders replaced; nil is scratch.
  func resolve(_ output: Output) throws(LLBError) -> Output? {
    guard case .placeholder(let name) = output.node else { return output }
    guard let state = options.inputs[name] else { throw LLBError(.invalidOption, "the graph needs an input named \"\(name)\"") }
    guard state.graph === graph else { throw LLBError(.invalidOption, "the input \"\(name)\" belongs to another graph") }
    if case .placeholder = state.output?.node { throw LLBError(.invalidOption, "the input \"\(name)\" is itself a placeholder") }
    return state.output
  }

  mutating func definition(of output: Output?) throws(LLBError) -> Definition {
    guard let output, let output = try resolve(output), case .vertex(let root) = output.node else { return Definition(definition) }
    try visit(root)
    var last = Pb_Op()
    last.inputs = [try input(output)]
    let bytes = try encode(last)
    definition.def.append(Data(bytes))
    var metadata = Pb_OpMetadata()
    var capabilities: Set<Capability> = [.constraints, .platform]
    for entry in definition.metadata.values {
      if entry.ignoreCache { capabilities.insert(.ignoreCache) }
      if !entry.description_p.isEmpty { capabilities.insert(.description) }
      if entry.hasExportCache { capabilities.insert(.exportCache) }
    }
    for capability in capabilities { metadata.caps[capability.rawValue] = true }
    definition.metadata[Digest.sha256(of: bytes).description] = metadata
    for map in maps { source.infos.append(map.info) }
    definition.source = source
    return Definition(definition)
  }

  /// Depth first, inputs before users, without recursion: a long Dockerfile is a deep graph.
  mutating func visit(_ root: Int) throws(LLBError) {
    var stack: [(vertex: Int, inputs: [Int], next: Int)] = [(root, try inputs(of: root), 0)]
    while let top = stack.last {
      if encoded[top.vertex] != nil { stack.removeLast(); continue }
      if top.next < top.inputs.count {
        stack[stack.count - 1].next += 1
        let input = top.inputs[top.next]
        if encoded[input] == nil { stack.append((input, try inputs(of: input), 0)) }
        continue
      }
      try write(top.vertex)
      stack.removeLast()
    }
  }

  func inputs(of vertex: Int) throws(LLBError) -> [Int] {
    var out: [Int] = []
    for output in vertices[vertex].inputs { if case .vertex(let id)? = try resolve(output)?.node { out.append(id) } }
    return out
  }

  mutating func write(_ id: Int) throws(LLBError) {
    let vertex = vertices[id]
    let bytes: [UInt8], metadata: Pb_OpMetadata
    if case .imported(let imported) = vertex.operation {
      (bytes, metadata) = (imported.bytes, imported.metadata)
    } else {
      (bytes, metadata) = (try op(vertex).canonicalBytes(), vertex.options.metadata)
    }
    let digest = Digest.sha256(of: bytes)
    encoded[id] = digest
    definition.metadata[digest.description, default: Pb_OpMetadata()].merge(metadata)
    addLocations(vertex.options.locations, of: digest)
    if written.insert(digest).inserted { definition.def.append(Data(bytes)) }
  }

  mutating func addLocations(_ locations: [SourceLocation], of digest: Digest) {
    var entry = source.locations[digest.description] ?? Pb_Locations()
    for location in locations {
      let index = maps.firstIndex { $0.describesSameFile(as: location.map) } ?? maps.count
      if index == maps.count { maps.append(location.map) }
      entry.locations.append(.with { $0.sourceIndex = Int32(index); $0.ranges = location.ranges.map(\.proto) })
    }
    source.locations[digest.description] = entry
  }

  func input(_ output: Output) throws(LLBError) -> Pb_Input {
    guard case .vertex(let id) = output.node, let digest = encoded[id] else { throw LLBError(.invalidOption, "a vertex was used before it was made") }
    return .with { $0.digest = digest.description; $0.index = output.index }
  }

  /// The number of an input in the op, added unless it is there; -1 for scratch.
  func number(_ output: Output?, in op: inout Pb_Op) throws(LLBError) -> Int64 {
    guard let output, let output = try resolve(output) else { return -1 }
    let input = try input(output)
    if let i = op.inputs.firstIndex(of: input) { return Int64(i) }
    op.inputs.append(input)
    return Int64(op.inputs.count - 1)
  }

  func op(_ vertex: Vertex) throws(LLBError) -> Pb_Op {
    var op = Pb_Op()
    op.constraints = .with { $0.filter = vertex.options.filters }
    let platform = (vertex.options.platform ?? options.platform).proto
    switch vertex.operation {
    case .source(let operation):
      var attributes = operation.attributes
      if operation.isLocal, attributes[SourceAttribute.localSessionID] == nil { attributes[SourceAttribute.localUniqueID] = options.localUniqueID }
      op.source = .with { $0.identifier = operation.identifier; $0.attrs = attributes }
      if operation.isPlatformSpecific { op.platform = platform }
    case .exec(let operation):
      op.platform = platform
      var exec = operation.proto
      for mount in operation.mounts {
        var proto = mount.proto
        proto.input = try number(mount.source, in: &op)
        exec.mounts.append(proto)
      }
      exec.mounts += operation.trailingMounts
      op.exec = exec
    case .file(let operation): op.file = try fileOp(operation, &op)
    case .merge(let inputs):
      op.merge = .with { merge in merge.inputs = inputs.indices.map { i in .with { $0.input = Int64(i) } } }
      for output in inputs {
        guard let output = try resolve(output) else { throw LLBError(.invalidOption, "a merge of a placeholder that is scratch") }
        op.inputs.append(try input(output))
      }
    case .diff(let lower, let upper):
      var sides: [Int64] = []
      for side in [lower, upper] {
        guard let side, let output = try resolve(side) else { sides.append(-1); continue }
        sides.append(Int64(op.inputs.count))
        op.inputs.append(try input(output))
      }
      op.diff = .with { diff in
        diff.lower = .with { $0.input = sides[0] }
        diff.upper = .with { $0.input = sides[1] }
      }
    case .imported: break
    }
    return op
  }

  func fileOp(_ operation: FileOperation, _ op: inout Pb_Op) throws(LLBError) -> Pb_FileOp {
    var base: Int64 = -1
    var sources: [Int64] = []
    for action in operation.actions {
      base = try number(operation.base, in: &op)
      sources.append(try number(action.source, in: &op))
    }
    let count = op.inputs.count
    return .with { file in
      file.actions = operation.actions.indices.map { i in
        .with {
          // The first action works on the base; the others on the one before, which is numbered after the inputs.
          $0.input = i == 0 ? base : Int64(count + i - 1)
          $0.secondaryInput = sources[i]
          $0.output = i == operation.actions.count - 1 ? 0 : -1
          $0.action = operation.actions[i].proto.lookingUpOwners(in: base)
        }
      }
    }
  }
}

extension Pb_OpMetadata {
  /// Two vertices of one digest are one vertex: what either asks for holds.
  mutating func merge(_ other: Pb_OpMetadata) {
    if other.ignoreCache { ignoreCache = true }
    description_p.merge(other.description_p) { _, new in new }
    if other.hasExportCache { exportCache = other.exportCache }
    for (capability, _) in other.caps { caps[capability] = true }
    if other.hasProgressGroup { progressGroup = other.progressGroup }
    if other.hasLinuxResources { linuxResources = other.linuxResources }
  }
}

extension Platform {
  /// The wire form.
  public var proto: Pb_Platform {
    .with {
      $0.os = os
      $0.architecture = architecture
      $0.variant = variant
      $0.osversion = osVersion
      $0.osfeatures = osFeatures
    }
  }
  public init(_ proto: Pb_Platform) {
    self.init(os: proto.os, architecture: proto.architecture, variant: proto.variant, osVersion: proto.osversion, osFeatures: proto.osfeatures)
  }
}
