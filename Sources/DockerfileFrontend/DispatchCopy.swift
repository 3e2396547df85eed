internal import BuildInterface
internal import BuildKitProto
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

extension Converter {
  /// What COPY and ADD have in common.
  struct FileStep {
    var keyword: String
    var origin: InstructionOrigin
    var sources: FileSources
    var owner: String
    var mode: String
    var excludes: [String] = []
    /// The source's own directories are made again below the destination.
    var parents = false
    /// A layer of its own, laid over what was there: it stays when that changes.
    var link = false
    var checksum = ""
    var unpack: Bool?
    var keepsGitDirectory: Bool?
    var from: State
    /// What the context is without; nil for other sources.
    var ignored: PatternList?
    var checks: CheckScope
    var isAdd: Bool { keyword == "ADD" }
  }

  func dispatchAdd(_ stage: StageState, _ add: AddInstruction, _ command: StageState.Command, _ checks: CheckScope) throws {
    let step = FileStep(
      keyword: "ADD", origin: add.origin, sources: add.sources, owner: add.owner ?? "", mode: add.mode ?? "", excludes: add.excludes, link: add.link, checksum: add.checksum ?? "", unpack: add.unpack,
      keepsGitDirectory: add.keepGitDirectory,
      from: graph.placeholder(Converter.contextInput), ignored: request.ignored, checks: checks)
    try copyFiles(step, in: stage, command)
    for path in step.sources.paths where !Converter.isURL(path) { stage.readContext(path) }
  }

  func dispatchCopy(_ stage: StageState, _ copy: CopyInstruction, _ command: StageState.Command, _ checks: CheckScope) throws {
    var from = graph.placeholder(Converter.contextInput)
    if let source = command.sources.first {
      guard source.isDispatched else {
        throw failure(
          "cannot copy from stage \(GoText.quoted(copy.from ?? "")), it needs to be defined before current stage \(GoText.quoted(stage.displayName))", at: copy.origin.range, word: copy.origin.range(of: "--from=" + (copy.from ?? ""), copy.from ?? ""),
          suggestion: "move the stage that is copied from above this one")
      }
      from = source.state
    }
    let step = FileStep(
      keyword: "COPY", origin: copy.origin, sources: copy.sources, owner: copy.owner ?? "", mode: copy.mode ?? "", excludes: copy.excludes, parents: copy.parents, link: copy.link,
      from: from, ignored: command.sources.isEmpty ? request.ignored : nil, checks: checks)
    try copyFiles(step, in: stage, command)
    for path in step.sources.paths {
      if let source = command.sources.first { source.readPaths.paths.insert(SlashPath.join("/", path)) } else { stage.readContext(path) }
    }
  }

  private func copyFiles(_ step: FileStep, in stage: StageState, _ command: StageState.Command) throws {
    let destination = try stage.paths.destination(step.sources.destination, in: stage.state.directory)
    var base = CopyOptions()
    base.createDestination = true
    base.excludePatterns = step.excludes
    base.mode = try fileMode(step)
    if !step.owner.isEmpty { base.owner = FileOwner(parsing: step.owner) }
    try checkChecksum(step)

    let environment = stage.state.environment
    let name = StepText.uppercasingInstruction(StepText.expanding(step.origin.code, lexer, StateWords(environment)))
    let numbered = { [isMultiPlatform = options.isMultiPlatform, platform = stage.platform ?? targetPlatform] (text: String) in
      stage.nextStepName(text, platform: platform, environment: environment, isOnbuild: command.isOnbuild, showsPlatform: isMultiPlatform)
    }
    let stepName = numbered(name)
    var actions: [FileAction] = []
    for path in step.sources.paths {
      if let address = try gitAddress(path, at: step.origin) {
        guard step.isAdd else { throw failure("source can't be a git ref for COPY", at: step.origin.range, word: step.origin.range(of: path), suggestion: "a file of that name is written ./\(path)") }
        actions.append(.copy(from: try repository(address, step, stepName), "/", to: destination, base))
        continue
      }
      if !Converter.isURL(path), let ignored = step.ignored { step.checks.checkIgnored(path, by: ignored, step.isAdd ? "Add" : "Copy", at: step.origin) }
      actions.append(Converter.isURL(path) ? try download(path, to: destination, step, base, stepName) : try local(path, to: destination, stage.paths, step, base))
    }
    for file in step.sources.contents { actions.append(try inline(file, to: destination, stage, base)) }
    // Nothing but sources that are only looked at.
    if actions.isEmpty { return }
    var options = VertexOptions(name: stepName, ignoreCache: stage.ignoresCache, location: location(of: step.origin))
    // As with BuildKit, a mode is set on what is there.
    if step.link, step.mode.isEmpty {
      stage.recountStep()
      let linkName = numbered("LINK " + name)
      let group = Converter.progressGroup(stepName)
      options.platform = stage.platform
      options.progressGroup = group(true)
      let linked = try graph.scratch.file(actions, options: options)
      options.platform = nil
      options.progressGroup = group(false)
      options.name = linkName
      stage.state = stage.state.with(files: graph.merge([stage.state, linked], options: options))
    } else {
      stage.state = try stage.state.file(actions, options: options)
    }
    stage.commit(Converter.historyLine(step), layer: true, isStep: true, epoch: epoch)
  }

  private static func historyLine(_ step: FileStep) -> String {
    var words = [step.keyword]
    if step.parents { words.append("--parents") }
    if !step.owner.isEmpty { words.append("--chown=" + step.owner) }
    if !step.mode.isEmpty { words.append("--chmod=" + step.mode) }
    words += step.sources.paths + step.sources.contents.map { "<<" + $0.path } + [step.sources.destination]
    return words.joined(separator: " ")
  }

  /// Several vertices that show as one; a weak one shows itself where it is alone.
  private static func progressGroup(_ name: String) -> (_ weak: Bool) -> Pb_ProgressGroup {
    let id = String(UInt64.random(in: .min ... .max), radix: 36)
    return { weak in
      var group = Pb_ProgressGroup()
      (group.id, group.name, group.weak) = (id, name, weak)
      return group
    }
  }

  private func local(_ path: String, to destination: String, _ paths: ImagePaths, _ step: FileStep, _ base: CopyOptions) throws -> FileAction {
    var copy = base, path = path
    if step.parents {
      // What is before a pivot point is where the directories to be made again begin.
      var pattern = path
      if let pivot = path.firstRange(of: "/./") {
        pattern = String(path[pivot.upperBound...])
        path = String(path[..<pivot.lowerBound])
      } else {
        path = "/"
      }
      pattern = try paths.source(pattern)
      copy.includePatterns = [String(pattern.dropFirst())]
      if !Converter.hasWildcard(path), !Converter.hasWildcard(pattern) { copy.requiredPaths = [try paths.source(SlashPath.join(path, pattern))] }
    }
    copy.followSymlinks = true
    copy.contentsOnly = true
    copy.attemptUnpack = step.unpack ?? step.isAdd
    copy.allowWildcard = true
    copy.allowEmptyWildcard = true
    return .copy(from: step.from, try paths.source(path), to: destination, copy)
  }

  /// A downloaded archive stays an archive unless `--unpack` says otherwise.
  private func download(_ url: String, to destination: String, _ step: FileStep, _ base: CopyOptions, _ name: String) throws -> FileAction {
    guard step.isAdd else { throw failure("source can't be a URL for COPY", at: step.origin.range, word: step.origin.range(of: url), suggestion: "use ADD to download a file") }
    var checksum: Digest?
    if !step.checksum.isEmpty {
      do { checksum = try Digest(parsing: step.checksum) } catch { throw failure("\(error)", at: step.origin.range, word: step.origin.range(of: "--checksum=" + step.checksum, step.checksum)) }
    }
    let filename = URLText.filename(url) ?? "__unnamed__"
    let source = graph.http(
      url, HTTPOptions(checksum: checksum, filename: filename), options: VertexOptions(name: name, description: ["com.docker.dockerfile.v1.command": ""]))
    var copy = base
    copy.attemptUnpack = step.unpack ?? false
    return .copy(from: source, filename, to: destination, copy)
  }

  private func inline(_ file: InlineFile, to destination: String, _ stage: StageState, _ base: CopyOptions) throws -> FileAction {
    let path = try stage.paths.withoutDrive(file.path)
    let source = try graph.scratch.file(
      [.makeFile(path, mode: 0o644, data: Array(file.data.utf8))], options: VertexOptions(name: "[internal] preparing inline document", platform: stage.platform))
    return .copy(from: source, path, to: destination, base)
  }

  private func fileMode(_ step: FileStep) throws -> FileMode? {
    if step.mode.isEmpty { return nil }
    if let bits = UInt32(step.mode, radix: 8), step.mode.first != "+" {
      if bits <= 0o7777 { return .bits(Int32(bits)) }
    } else if !step.mode.utf8.allSatisfy({ (0x30...0x39).contains($0) }), SymbolicMode.isValid(step.mode) {
      return .symbolic(step.mode)
    }
    throw failure(
      "invalid chmod parameter: '\(step.mode)'. it should be octal string and between 0 and 07777", at: step.origin.range, word: step.origin.range(of: "--chmod=" + step.mode, step.mode), suggestion: "as --chmod=755 or --chmod=u=rwX,go=rX")
  }

  private func checkChecksum(_ step: FileStep) throws {
    guard !step.checksum.isEmpty else { return }
    guard step.sources.paths.count == 1, let path = step.sources.paths.first else { throw failure("checksum can't be specified for multiple sources", at: step.origin.range, word: step.origin.range(of: "--checksum"), suggestion: "write one ADD for each download") }
    guard try Converter.isURL(path) || gitAddress(path, at: step.origin) != nil else { throw failure("checksum requires HTTP(S) or Git sources", at: step.origin.range, word: step.origin.range(of: "--checksum"), suggestion: "leave --checksum out: local files are always compared by content") }
  }

  /// Whether a path has a wildcard that is not escaped.
  private static func hasWildcard(_ path: String) -> Bool {
    var isEscaped = false
    for byte in path.utf8 {
      if !isEscaped, [UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "[")].contains(byte) { return true }
      isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
    }
    return false
  }

  static func isURL(_ path: String) -> Bool { path.hasPrefix("http://") || path.hasPrefix("https://") }

  private func gitAddress(_ path: String, at origin: InstructionOrigin) throws -> GitAddress? {
    do { return try GitAddress(parsing: path) } catch { throw failure("\(path): \(error)", at: origin.range, word: origin.range(of: path), suggestion: "as in https://host/repo.git#ref:folder or https://host/repo.git?branch=main&subdir=folder") }
  }

  private func repository(_ address: GitAddress, _ step: FileStep, _ name: String) throws -> State {
    var address = address
    if let wanted = step.keepsGitDirectory {
      if let own = address.keepsGitDirectory, own != wanted { throw failure("inconsistent keep-git-dir configuration", at: step.origin.range, word: step.origin.range(of: "--keep-git-dir"), suggestion: "say it once, by the flag or in the query") }
      address.keepsGitDirectory = wanted
    }
    if !step.checksum.isEmpty {
      if !address.checksum.isEmpty, address.checksum != step.checksum {
        throw failure("checksum mismatch \"\(step.checksum)\" != \"\(address.checksum)\"", at: step.origin.range, word: step.origin.range(of: "--checksum=" + step.checksum, step.checksum), suggestion: "say it once, by the flag or in the query")
      }
      address.checksum = step.checksum
    }
    return graph.git(address, options: VertexOptions(name: name))
  }
}
