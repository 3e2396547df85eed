extension Graph {
  /// The states' filesystems laid over one another, the last on top. Scratch states are left out, and a single one is
  /// given back as it is. The environment is the first's.
  public func merge(_ states: [State], options: VertexOptions = VertexOptions()) -> State {
    let used = states.filter { !$0.isScratch }
    guard let first = used.first else { return scratch }
    if used.count == 1 { return first }
    var options = options
    options.capabilities.insert(.merge)
    let id = add(Vertex(operation: .merge(used.compactMap(\.output)), options: options))
    return first.replacing(output: Output(node: .vertex(id), index: 0))
  }

  /// What `upper` has over `lower`, as a layer. From scratch it is `upper` itself.
  public func diff(from lower: State, to upper: State, options: VertexOptions = VertexOptions()) -> State {
    if lower.isScratch { return upper.isScratch ? scratch : upper }
    var options = options
    options.capabilities.insert(.diff)
    let id = add(Vertex(operation: .diff(lower: lower.output, upper: upper.output), options: options))
    return lower.replacing(output: Output(node: .vertex(id), index: 0))
  }
}
