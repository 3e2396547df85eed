internal import BuildKitProto
internal import OCIModel

/// What holds of an op by itself, whatever its inputs are. Everything in it was written by strangers.
struct OperationCheck {
  let op: Pb_Op
  let limits: DefinitionLimits
  private var inputs: Int64 { Int64(op.inputs.count) }

  init(_ op: Pb_Op, limits: DefinitionLimits) { (self.op, self.limits) = (op, limits) }

  private func invalid(_ what: String) -> LLBError { LLBError(.invalidDefinition, what) }

  /// The count of the op's outputs.
  func run() throws(LLBError) -> Int64 {
    switch op.op {
    case .source(let source):
      guard !source.identifier.isEmpty else { throw invalid("a source op has no identifier") }
      try text(source.identifier, "a source's identifier", limit: limits.text)
      for (key, value) in source.attrs {
        try text(key, "an attribute of a source", limit: limits.text)
        guard !value.utf8.contains(0) else { throw invalid("the attribute \(shown(key)) of a source has a zero byte") }
      }
      return 1
    case .exec(let exec): return try check(exec)
    case .file(let file): return try check(file)
    case .merge(let merge):
      for one in merge.inputs { try input(one.input, "a merge op") }
      return 1
    case .diff(let diff):
      guard diff.hasLower, diff.hasUpper else { throw invalid("a diff op lacks a side") }
      try input(diff.lower.input, "a diff op")
      try input(diff.upper.input, "a diff op")
      return 1
    case .passthrough(let passthrough):
      guard !passthrough.id.isEmpty, !passthrough.outputs.isEmpty else { throw invalid("a passthrough op has no id or no outputs") }
      guard passthrough.outputs.count <= limits.inputs else { throw LLBError(.tooLarge, "a passthrough op has \(passthrough.outputs.count) outputs, more than the limit of \(limits.inputs)") }
      for input in passthrough.outputs where input < 0 || input >= inputs { throw invalid("a passthrough op names the input \(input) of \(inputs)") }
      return Int64(passthrough.outputs.count)
    case .build(let build):
      guard build.builder == -1 else { throw invalid("a build op has the builder \(build.builder): only LLB itself (-1) is one") }
      for (name, value) in build.inputs { try input(value.input, "the input \(shown(name)) of a build op", orNone: false) }
      for value in build.attrs.values { try text(value, "an attribute of a build op", limit: limits.text) }
      return 1
    case nil: throw invalid("an op that is not the last has no kind, or one that this version does not know")
    }
  }

  // MARK: Exec

  private func check(_ exec: Pb_ExecOp) throws(LLBError) -> Int64 {
    guard exec.hasMeta, !exec.meta.args.isEmpty else { throw invalid("an exec op has no arguments") }
    guard exec.mounts.count <= limits.inputs else { throw LLBError(.tooLarge, "an exec op has \(exec.mounts.count) mounts, more than the limit of \(limits.inputs)") }
    guard exec.mounts.contains(where: { $0.dest == "/" }) else { throw invalid("an exec op has no root filesystem") }
    if case .UNRECOGNIZED(let mode) = exec.security { throw invalid("an exec op has the security mode \(mode)") }
    if case .UNRECOGNIZED(let mode) = exec.network { throw invalid("an exec op has the network mode \(mode)") }
    let meta = exec.meta
    for argument in meta.args { try text(argument, "an argument") }
    for variable in meta.env { try text(variable, "a variable") }
    for (value, what) in [(meta.cwd, "the working directory"), (meta.user, "the user"), (meta.hostname, "the host name"), (meta.cgroupParent, "the control group")] { try text(value, what, limit: limits.text) }
    for host in meta.extraHosts { try text(host.host + host.ip, "an extra host", limit: limits.text) }
    for secret in exec.secretenv {
      guard !secret.id.isEmpty else { throw invalid("an exec op has a secret variable \(shown(secret.name)) without an id") }
      try text(secret.name, "a secret variable", limit: limits.text)
      guard !secret.name.isEmpty, !secret.name.contains("=") else { throw invalid("\(shown(secret.name)) is no name for a secret variable") }
    }
    var outputs: Int64 = 0
    for mount in exec.mounts {
      try check(mount)
      if mount.makesOutput { outputs += 1 }
    }
    return outputs
  }

  private func check(_ mount: Pb_Mount) throws(LLBError) {
    let place = "the mount at \(shown(mount.dest))"
    try input(mount.input, place)
    try text(mount.dest, "a mount's place", limit: limits.text)
    try text(mount.selector, "a mount's selector", limit: limits.text)
    guard !mount.dest.isEmpty else { throw invalid("a mount says no place") }
    guard mount.output >= -1 else { throw invalid("\(place) has the output \(mount.output)") }
    if mount.dest == "/", mount.mountType != .bind { throw invalid("the root filesystem is a mount of the type \(mount.mountType)") }
    if case .UNRECOGNIZED(let option) = mount.contentCache { throw invalid("\(place) has the content cache option \(option)") }
    switch mount.mountType {
    case .bind: break
    case .cache:
      guard mount.hasCacheOpt else { throw invalid("\(place) is a cache, and has none of its options") }
      if case .UNRECOGNIZED(let sharing) = mount.cacheOpt.sharing { throw invalid("\(place) has the sharing mode \(sharing)") }
      try text(mount.cacheOpt.id, "a cache's id", limit: limits.text)
    case .tmpfs: guard mount.tmpfsOpt.size >= 0 else { throw invalid("\(place) has the size \(mount.tmpfsOpt.size)") }
    case .secret: guard mount.hasSecretOpt, !mount.secretOpt.id.isEmpty else { throw invalid("\(place) is a secret, and does not say which") }
    case .ssh: guard mount.hasSshopt else { throw invalid("\(place) is an SSH socket, and has none of its options") }
    case .UNRECOGNIZED(let type): throw invalid("\(place) is of the unknown type \(type)")
    }
  }

  // MARK: Files

  private func check(_ file: Pb_FileOp) throws(LLBError) -> Int64 {
    guard !file.actions.isEmpty else { throw invalid("a file op has no actions") }
    guard file.actions.count <= limits.inputs else { throw LLBError(.tooLarge, "a file op has \(file.actions.count) actions, more than the limit of \(limits.inputs)") }
    var outputs = Set<Int64>()
    for (i, action) in file.actions.enumerated() {
      for input in [action.input, action.secondaryInput] where input < -1 || input >= inputs + Int64(i) {
        throw invalid("action \(i) of a file op names the input \(input), which is not made before it")
      }
      guard action.output >= -1 else { throw invalid("action \(i) of a file op has the output \(action.output)") }
      if action.output >= 0, !outputs.insert(action.output).inserted { throw invalid("a file op has the output \(action.output) twice") }
      try check(action, i)
    }
    guard !outputs.isEmpty else { throw invalid("a file op has no output") }
    guard outputs.allSatisfy({ $0 < outputs.count }) else { throw invalid("a file op numbers its \(outputs.count) outputs up to \(outputs.max() ?? 0)") }
    return Int64(outputs.count)
  }

  private func check(_ action: Pb_FileAction, _ number: Int) throws(LLBError) {
    var paths: [String], owner: Pb_ChownOpt?
    switch action.action {
    case .mkdir(let a): (paths, owner) = ([a.path], a.hasOwner ? a.owner : nil)
    case .mkfile(let a): (paths, owner) = ([a.path], a.hasOwner ? a.owner : nil)
    case .symlink(let a): (paths, owner) = ([a.oldpath, a.newpath], a.hasOwner ? a.owner : nil)
    case .rm(let a): paths = [a.path]
    case .copy(let a): (paths, owner) = ([a.src, a.dest, a.modeStr] + a.includePatterns + a.excludePatterns + a.requiredPaths, a.hasOwner ? a.owner : nil)
    case nil: throw invalid("action \(number) of a file op is of no known kind")
    }
    for path in paths { try text(path, "a path in action \(number) of a file op", limit: limits.text) }
    guard let owner else { return }
    for option in [owner.user, owner.group] {
      guard case .byName(let named)? = option.user else { continue }
      // An input below 0 is for the execution to refuse, as with the peers, since there it makes no difference for the key.
      guard named.input < inputs + Int64(number) else { throw invalid("action \(number) of a file op looks its owner up in the input \(named.input), which is not made before it") }
    }
  }

  // MARK: Parts

  private func input(_ input: Int64, _ what: String, orNone: Bool = true) throws(LLBError) {
    guard input >= (orNone ? -1 : 0), input < inputs else { throw invalid("\(what) names the input \(input) of \(inputs)") }
  }

  /// What the system would take for shorter than it is must not come in.
  private func text(_ text: String, _ what: String, limit: Int = .max) throws(LLBError) {
    guard text.utf8.count <= limit else { throw LLBError(.tooLarge, "\(what) has \(text.utf8.count) bytes, more than the limit of \(limit)") }
    guard !text.utf8.contains(0) else { throw invalid("\(what) has a zero byte: \(shown(text))") }
  }

  private func shown(_ text: String) -> String { String(text.prefix(200)).debugDescription }
}

extension Pb_Mount {
  /// Outputs are numbered by the order of the mounts that make one, whatever number they say, as BuildKit does it.
  package var makesOutput: Bool { output != -1 && (mountType == .bind || mountType == .cache && input != -1) }
}
