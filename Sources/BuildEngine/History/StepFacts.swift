internal import BuildKitProto
internal import BuildSolver
internal import OCIModel

/// What a step is made of, in words, so that two builds' steps can be compared and the difference be named.
struct StepFacts: Sendable, Equatable {
  struct Fact: Sendable, Equatable {
    /// `command`, `variable VERSION`, `base image`…
    var name: String
    var value: String
  }
  /// In a fixed order; names may repeat (several copies of one step).
  var facts: [Fact]

  init(facts: [Fact]) { self.facts = facts }

  init(_ payload: OpPayload) {
    facts = []
    switch payload.op.op {
    case .exec(let exec): add(exec)
    case .file(let file): for action in file.actions { add(action) }
    case .source(let source): add(source)
    default: break
    }
    add("platform", payload.platform.description)
  }

  private mutating func add(_ name: String, _ value: String, _ redaction: Redaction = Redaction()) { facts.append(Fact(name: name, value: redaction.text(value))) }

  /// A value that can be compared, and for what is secret by its name not be read.
  static func shown(_ value: String, of name: String, _ redaction: Redaction = Redaction()) -> String {
    guard Redaction.isSecretName(name) else { return redaction.text(value) }
    return "(not shown: \(Digest.sha256(of: "manifold explain\0\(name)\0\(value)").hex.prefix(12)))"
  }

  private mutating func add(_ exec: Pb_ExecOp) {
    let meta = exec.meta
    let redaction = Redaction()
    for item in meta.env {
      let name = String(item.prefix { $0 != "=" })
      redaction.learn(name, String(item.dropFirst(name.count + 1)))
    }
    add("command", meta.args.count == 3 && meta.args[1] == "-c" ? meta.args[2] : meta.args.joined(separator: " "), redaction)
    if meta.args.count == 3, meta.args[1] == "-c" { add("shell", meta.args[0]) }
    for item in meta.env {
      let name = String(item.prefix { $0 != "=" })
      facts.append(Fact(name: "variable \(name)", value: Self.shown(String(item.dropFirst(name.count + 1)), of: name, redaction)))
    }
    add("working directory", meta.cwd.isEmpty ? "/" : meta.cwd)
    add("user", meta.user.isEmpty ? "root" : meta.user)
    if exec.network != .unset { add("network", "\(exec.network)") }
    for host in meta.extraHosts { add("host \(host.host)", host.ip) }
    for limit in meta.ulimit { add("limit \(limit.name)", "\(limit.soft):\(limit.hard)") }
    for mount in exec.mounts where mount.dest != "/" {
      var text = "\(mount.mountType)"
      if !mount.selector.isEmpty, mount.selector != "/" { text += " of \(mount.selector)" }
      if mount.readonly { text += ", read-only" }
      if mount.hasCacheOpt { text += ", id \(mount.cacheOpt.id), \(mount.cacheOpt.sharing)" }
      if mount.hasSecretOpt { text += ", id \(mount.secretOpt.id)" }
      add("mount at \(mount.dest)", text)
    }
  }

  private mutating func add(_ action: Pb_FileAction) {
    func owner(_ given: Bool, _ owner: Pb_ChownOpt) -> String {
      guard given else { return "" }
      func one(_ option: Pb_UserOpt) -> String {
        switch option.user {
        case .byName(let name): name.name
        case .byID(let id): String(id)
        case nil: "0"
        }
      }
      return ", owner \(one(owner.user)):\(one(owner.group))"
    }
    switch action.action {
    case .copy(let copy):
      var text = "\(copy.src) to \(copy.dest)" + owner(copy.hasOwner, copy.owner)
      if copy.mode >= 0 { text += ", mode " + String(copy.mode, radix: 8) }
      if !copy.modeStr.isEmpty { text += ", mode \(copy.modeStr)" }
      if copy.attemptUnpackDockerCompatibility { text += ", unpacked" }
      if !copy.includePatterns.isEmpty { text += ", only \(copy.includePatterns.joined(separator: " "))" }
      if !copy.excludePatterns.isEmpty { text += ", without \(copy.excludePatterns.joined(separator: " "))" }
      add("copy", text)
    case .mkfile(let file):
      add("file \(file.path)", "\(Digest.sha256(of: Array(file.data)).description.prefix(19)), mode \(String(file.mode, radix: 8))" + owner(file.hasOwner, file.owner))
    case .mkdir(let folder): add("folder \(folder.path)", "mode \(String(folder.mode, radix: 8))" + owner(folder.hasOwner, folder.owner))
    case .rm(let removal): add("removal", removal.path)
    case .symlink(let link): add("link \(link.newpath)", link.oldpath + owner(link.hasOwner, link.owner))
    case nil: break
    }
  }

  private mutating func add(_ source: Pb_SourceOp) {
    let identifier = source.identifier
    if identifier.hasPrefix("docker-image://") {
      let name = identifier.dropFirst("docker-image://".count)
      if let at = name.firstIndex(of: "@") {
        add("base image", String(name[..<at]))
        add("base image's digest", String(name[name.index(after: at)...]))
      } else {
        add("base image", String(name))
      }
    } else {
      add("source", identifier)
      // A client's directory is read anew by each build, under a name that says so.
      if identifier.hasPrefix("local://") { return }
    }
    for (key, value) in source.attrs.sorted(by: { $0.key < $1.key }) { add("attribute \(key)", value) }
  }

  /// What differs from an earlier step: one line each. A fact that is there several times is compared in its order.
  func differences(from old: StepFacts) -> [StepDifference] {
    func grouped(_ facts: [Fact]) -> (names: [String], values: [String: [String]]) {
      var names: [String] = [], values: [String: [String]] = [:]
      for fact in facts {
        if values[fact.name] == nil { names.append(fact.name) }
        values[fact.name, default: []].append(fact.value)
      }
      return (names, values)
    }
    let before = grouped(old.facts), now = grouped(facts)
    var out: [StepDifference] = []
    for name in now.names + before.names.filter({ now.values[$0] == nil }) {
      let was = before.values[name] ?? [], become = now.values[name] ?? []
      for i in 0..<max(was.count, become.count) {
        let a = i < was.count ? was[i] : nil, b = i < become.count ? become[i] : nil
        if a != b { out.append(StepDifference(name: name, old: a, new: b)) }
      }
    }
    return out
  }
}

/// One fact that is not what it was; nil is absent.
struct StepDifference: Sendable, Equatable {
  var name: String
  var old: String?
  var new: String?
}
