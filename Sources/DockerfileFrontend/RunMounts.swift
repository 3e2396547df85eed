internal import BuildInterface
internal import BuildKitProto
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

extension Converter {
  /// Adds the mounts of a RUN to its command.
  func add(_ mounts: [RunMount], of run: RunInstruction, to exec: inout ExecOptions, _ stage: StageState, _ command: StageState.Command) throws {
    for (i, mount) in mounts.enumerated() {
      let source = i < command.sources.count ? command.sources[i] : nil
      switch mount.kind {
      case .secret:
        let secret = try secret(mount, of: run)
        stage.outline.needSecret(secret.id, required: mount.required, at: run.origin.range)
        exec.secrets.append(secret)
      case .ssh:
        stage.outline.needSSH(mount.id.isEmpty ? "default" : mount.id, required: mount.required, at: run.origin.range)
        exec.sshSockets.append(try socket(mount, of: run))
      case .bind, .cache, .tmpfs:
        exec.mounts.append(try execMount(mount, of: run, stage, source))
        let path = SlashPath.join("/", mount.source)
        if mount.from.isEmpty, mount.kind != .cache { stage.contextPaths.insert(path) } else { source?.readPaths.paths.insert(path) }
      }
    }
  }

  private func execMount(_ mount: RunMount, of run: RunInstruction, _ stage: StageState, _ stageSource: StageState?) throws -> ExecMount {
    var source = graph.placeholder(Converter.contextInput)
    if !mount.from.isEmpty || mount.kind == .cache, let stageSource {
      guard stageSource.isDispatched else {
        throw failure(
          "cannot mount from stage \(GoText.quoted(mount.from)) to \(GoText.quoted(mount.target)), stage needs to be defined before current command", at: run.origin.range, word: run.origin.range(of: "from=" + mount.from, mount.from),
          suggestion: "move the stage that is mounted above this one")
      }
      source = stageSource.state
    }
    var kind = ExecMount.Kind.bind
    switch mount.kind {
    case .tmpfs:
      source = graph.scratch
      kind = .tmpfs(size: mount.sizeLimit)
    case .cache:
      let id = options.cacheNamespace + "/" + (mount.id.isEmpty ? SlashPath.clean(mount.target) : mount.id)
      let sharing: Pb_CacheSharingOpt =
        switch mount.sharing {
        case .private: .private
        case .locked: .locked
        case .shared, nil: .shared
        }
      kind = .cache(id: id, sharing: sharing)
    default: break
    }
    let target = SlashPath.isAbsolute(SlashPath.clean(mount.target)) ? mount.target : SlashPath.join("/", stage.state.directory, mount.target)
    if mount.target.isEmpty, stage.state.directory == "/" {
      throw failure(
        "invalid mount target \"/\": the mount has no target", at: run.origin.range, word: run.origin.range(of: "--mount"),
        suggestion: "say where the step finds it, as with target=/src or target=/root/.cache")
    }
    guard target != "/" else { throw failure("invalid mount target \(GoText.quoted(target))", at: run.origin.range, word: run.origin.range(of: "=" + target, target), suggestion: "mount it below the root, as with target=/src") }

    var selector = SlashPath.join("/", mount.source)
    if selector == "/" {
      selector = ""
      if mount.uid != nil || mount.gid != nil || mount.mode != nil {
        source = try cacheRoot(mount, on: source)
        selector = "/cache"
      }
    }
    return ExecMount(target, source: source, kind: kind, selector: selector, readOnly: mount.readOnly, discardsChanges: !mount.readOnly && mount.kind == .bind)
  }

  /// A directory with the owner and mode that a new cache begins with.
  private func cacheRoot(_ mount: RunMount, on source: State) throws -> State {
    try source.file(
      [.makeDirectory("/cache", mode: Int32(truncatingIfNeeded: mount.mode ?? 0o755), owner: FileOwner(user: .id(mount.uid ?? 0), group: .id(mount.gid ?? 0)))],
      options: VertexOptions(name: "[internal] setting cache mount permissions"))
  }

  private func socket(_ mount: RunMount, of run: RunInstruction) throws -> ExecSSH {
    guard mount.source.isEmpty else { throw failure("ssh does not support source", at: run.origin.range, suggestion: "id names the agent that --ssh lends, target where its socket is") }
    var socket = ExecSSH(id: mount.id)
    (socket.target, socket.optional) = (mount.target, !mount.required)
    if mount.uid != nil || mount.gid != nil || mount.mode != nil { (socket.uid, socket.gid, socket.mode) = (mount.uid ?? 0, mount.gid ?? 0, mount.mode ?? 0o600) }
    return socket
  }

  private func secret(_ mount: RunMount, of run: RunInstruction) throws -> ExecSecret {
    var id = mount.source.isEmpty ? mount.id : mount.source
    if id.isEmpty {
      guard !mount.target.isEmpty else { throw failure("one of source, target required", at: run.origin.range) }
      id = SlashPath.base(mount.target)
    }
    var target: String? = mount.target.isEmpty ? nil : mount.target
    if target == nil, mount.environmentVariable == nil { target = "/run/secrets/" + SlashPath.base(id) }
    var secret = ExecSecret(id: id, target: target, variable: mount.environmentVariable)
    secret.optional = !mount.required
    if mount.uid != nil || mount.gid != nil || mount.mode != nil {
      (secret.uid, secret.gid, secret.mode) = (mount.uid ?? 0, mount.gid ?? 0, mount.mode ?? 0o400)
    }
    return secret
  }
}
