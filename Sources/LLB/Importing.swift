internal import BuildKitProto
internal import OCIModel

struct ImportedOperation: Sendable {
  var bytes: [UInt8]
  var metadata: Pb_OpMetadata
  var inputs: [Output]
}

extension Graph {
  /// The state that a definition describes, its vertices kept byte for byte, so that a graph can be built on what another
  /// program made. Throws `LLBError` as `Definition.load`.
  public func state(of definition: Definition, limits: DefinitionLimits = .default) throws(LLBError) -> State {
    let loaded = try definition.load(limits: limits)
    guard let root = loaded.root else { return scratch }
    var numbers: [Digest: Int] = [:]
    for digest in loaded.order {
      guard let vertex = loaded.vertices[digest] else { continue }
      let inputs = vertex.inputs.compactMap { input in numbers[input.digest].map { Output(node: .vertex($0), index: input.index) } }
      var options = VertexOptions()
      options.locations = vertex.locations
      numbers[digest] = add(Vertex(operation: .imported(ImportedOperation(bytes: vertex.bytes, metadata: vertex.metadata, inputs: inputs)), options: options))
    }
    guard let id = numbers[root.digest] else { return scratch }
    return State(
      graph: self, output: Output(node: .vertex(id), index: root.index),
      platform: loaded.vertices[root.digest].flatMap { $0.op.hasPlatform ? Platform($0.op.platform) : nil })
  }
}
