internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import OCIModel
internal import Synchronization

/// Executes a file op: each action on a fresh layer over its input; a chain of actions is one layer.
struct FileOperation: Op {
  let op: Pb_FileOp
  let inputCount: Int
  let services: EngineServices

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    let key = try OpCacheKey.file(op, inputCount: inputCount)
    return CacheMapAnswer(services.cacheMap(key))
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    try await services.collector.beforeStep()
    let trees = try inputs.map { try TreeResult.of($0) }
    let run = FileRun(op: op, trees: trees, services: services, context: context)
    if let shared = try await SharedCopy(op, on: trees, owner: { try await run.owner($0) }), let output = try await execute(shared, run) { return [output] }
    return try await execute(run)
  }

  private func execute(_ run: FileRun) async throws -> [any SolverResult] {
    var run = run
    do {
      let outputs = try await run.outputs()
      await run.discardRest()
      return outputs
    } catch {
      let error = await FullDisk.told(error, writing: run.open, store: services.store)
      await run.discardRest()
      throw error
    }
  }

  /// As the same layer that another vertex of this build made, or makes now. nil where layers cannot be shared.
  private func execute(_ shared: SharedCopy, _ run: FileRun) async throws -> TreeResult? {
    let made = try await shared.source.layers.value(for: shared.key) {
      let outputs = try await execute(run)
      guard case .snapshot(let ref)? = (outputs.first as? TreeResult)?.tree else { throw InvalidDefinition("file op: a copy without an output") }
      shared.source.keep(ref)
      return ref
    }
    return try await services.refs.layer(like: made, on: shared.parent, description: run.context.vertex.name).map { TreeResult(.snapshot($0)) }
  }
}

/// One execution: what each action made, until it is an output or goes.
private struct FileRun: Sendable {
  private enum Made: Sendable {
    case open(MutableRef)
    case committed(ImmutableRef)
  }
  let op: Pb_FileOp
  let trees: [TreeResult]
  let services: EngineServices
  let context: OpContext
  private var made: [Int: Made] = [:]

  init(op: Pb_FileOp, trees: [TreeResult], services: EngineServices, context: OpContext) {
    self.op = op
    self.trees = trees
    self.services = services
    self.context = context
  }

  /// Layers that are being written.
  var open: [MutableRef] { made.values.compactMap { if case .open(let layer) = $0 { layer } else { nil } } }

  /// How often an action's tree is wanted: as an output or by later actions.
  private func uses(_ action: Int) -> Int {
    let index = Int64(trees.count + action)
    return op.actions.reduce(0) { $0 + ($1.input == index ? 1 : 0) + ($1.secondaryInput == index ? 1 : 0) } + (op.actions[action].output >= 0 ? 1 : 0)
  }

  mutating func outputs() async throws -> [any SolverResult] {
    for (i, action) in op.actions.enumerated() {
      try Task.checkCancellation()
      let mutable = try await base(action)
      made[i] = .open(mutable)
      try await apply(action, to: mutable)
      // Read by others or an output: it must not change any more.
      if uses(i) != 1 || action.output >= 0 || isSecondary(i) { made[i] = .committed(try await mutable.commit()) }
    }
    let count = op.actions.count { $0.output >= 0 }
    var results = [(any SolverResult)?](repeating: nil, count: count)
    for (i, action) in op.actions.enumerated() where action.output >= 0 {
      guard action.output < count, results[Int(action.output)] == nil, case .committed(let ref)? = made[i] else {
        throw InvalidDefinition("file op: action \(i) has the output \(action.output), with \(count) outputs in all")
      }
      results[Int(action.output)] = TreeResult(.snapshot(ref.clone()))
    }
    return results.compactMap { $0 }
  }

  private func isSecondary(_ action: Int) -> Bool { op.actions.contains { $0.secondaryInput == Int64(trees.count + action) } }

  /// The layer an action works on: the open one of the action before it, or a new one over its input.
  private mutating func base(_ action: Pb_FileAction) async throws -> MutableRef {
    if action.input >= trees.count {
      let previous = Int(action.input) - trees.count
      if case .open(let mutable)? = made[previous] {
        made[previous] = nil
        return mutable
      }
    }
    let parent = action.input == -1 ? nil : try await snapshot(action.input)
    return try await services.refs.newMutable(parent: parent, description: context.vertex.name, recordType: .regular)
  }

  private func snapshot(_ input: Int64) async throws -> ImmutableRef? {
    if input < trees.count {
      guard input >= 0 else { throw InvalidDefinition("file op: invalid input \(input)") }
      return try await trees[Int(input)].snapshot(services.refs)
    }
    guard case .committed(let ref)? = made[Int(input) - trees.count] else { throw InvalidDefinition("file op: input \(input) is not made before it is used") }
    return ref
  }

  private func apply(_ action: Pb_FileAction, to mutable: MutableRef) async throws {
    switch action.action {
    case .mkdir(let a)?:
      let owner = try await owner(a.hasOwner ? a.owner : nil)
      try await mutable.withMounted { try FileActions($0).makeDirectory(a, owner: owner) }
    case .mkfile(let a)?:
      let owner = try await owner(a.hasOwner ? a.owner : nil)
      try await mutable.withMounted { try FileActions($0).makeFile(a, owner: owner) }
    case .symlink(let a)?:
      let owner = try await owner(a.hasOwner ? a.owner : nil)
      try await mutable.withMounted { try FileActions($0).makeSymlink(a, owner: owner) }
    case .rm(let a)?:
      try await mutable.withMounted { try FileActions($0).remove(a) }
    case .copy(let a)?:
      let owner = try await owner(a.hasOwner ? a.owner : nil)
      try await copy(a, from: action.secondaryInput, to: mutable, owner: owner)
    case nil: throw InvalidDefinition("file op has an empty action")
    }
  }

  private func copy(_ action: Pb_FileActionCopy, from input: Int64, to mutable: MutableRef, owner: FileOwner?) async throws {
    if input >= 0, input < trees.count, case .local(let source) = trees[Int(input)].tree {
      try await mutable.withMounted { target in
        try FileActions(target).copy(action, from: source.tree, owner: owner, expected: { source.hash.knownDigest($0) })
      }
      return
    }
    guard input != -1, let ref = try await snapshot(input) else {
      try await mutable.withMounted { try FileActions($0).copy(action, from: EmptyTree(), owner: owner, expected: nil) }
      return
    }
    // The directory stays mounted for as long as somebody holds it.
    let source = try await ref.withMounted { $0 }
    try await mutable.withMounted { try FileActions($0).copy(action, from: MountedTree(source), owner: owner, expected: nil) }
  }

  /// Resolves names in the tree they are said to be in. A name that is not there counts as root's, as for the peers, and is said.
  func owner(_ option: Pb_ChownOpt?) async throws -> FileOwner? {
    guard let option else { return nil }
    var owner = FileOwner(uid: 0, gid: 0)
    if option.hasUser {
      switch option.user.user {
      case .byID(let id)?: owner = FileOwner(uid: id, gid: id)
      case .byName(let named)?:
        if let entry = try await entry(named, file: "etc/passwd", fields: 4) { owner = FileOwner(uid: entry[0], gid: entry[1]) }
      case nil: break
      }
    }
    if option.hasGroup {
      switch option.group.user {
      case .byID(let id)?: owner.gid = id
      case .byName(let named)?:
        if let entry = try await entry(named, file: "etc/group", fields: 3) { owner.gid = entry[0] }
      case nil: break
      }
    }
    return owner
  }

  /// The numbers from the third field on of the line that begins with the name.
  private func entry(_ named: Pb_NamedUserOpt, file: String, fields: Int) async throws -> [UInt32]? {
    guard named.input >= 0 else { throw InvalidDefinition("file op: no tree to look up the owner \"\(named.name)\" in") }
    if let ref = try await snapshot(named.input) {
      let found: [UInt32]? = try await ref.withMounted { root in
        guard let status = try root.statusIfPresent(file, followLast: true), status.kind == .regular else { return nil }
        let text = String(decoding: try root.openFile(file).readToEnd(limit: 10 << 20), as: UTF8.self)
        for line in text.split(separator: "\n") {
          let parts = line.split(separator: ":", omittingEmptySubsequences: false)
          guard parts.count >= fields, parts[0].utf8.elementsEqual(named.name.utf8) else { continue }
          let numbers = parts[2..<fields].compactMap { UInt32($0) }
          if numbers.count == fields - 2 { return numbers }
        }
        return nil
      }
      if let found { return found }
    }
    context.progress.log("no entry \"\(named.name)\" in /\(file): its files will be root's\n")
    return nil
  }

  mutating func discardRest() async {
    for (_, item) in made {
      switch item {
      case .open(let mutable): await mutable.discard()
      case .committed(let ref): await ref.release()
      }
    }
    made = [:]
  }
}
