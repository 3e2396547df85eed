internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel

extension Converter {
  /// The Dockerfile's stages with their bases' names and platforms expanded from the global arguments.
  mutating func addStages() throws {
    let words = StateWords(globals)
    for (i, stage) in request.dockerfile.stages.enumerated() {
      let checks = checks.merging(comments: stage.origin.comments)
      let expansion = try located(at: stage.origin) { try lexer.expand(stage.baseName, environment: words) }
      let baseName = expansion.text
      checks.checkFromArguments(expansion.unmatched, declared: declared, globals, at: stage.origin, escape: lexer.escape)
      guard !baseName.isEmpty else {
        throw failure("base name (\(stage.baseName)) should not be blank", at: stage.origin.range, word: stage.origin.range(of: stage.baseName),
          suggestion: argumentAdvice(for: stage.baseName, where: "FROM") ?? "give the ARG that it is made of a default, or pass --build-arg")
      }
      let new = StageState(
        name: stage.name, origin: stage.origin, baseName: baseName, displayName: stage.name ?? "stage-\(i)", isImplicit: false, graph: graph, platform: targetPlatform)
      new.writtenBase = stage.baseName
      new.documentation = stage.documentation
      new.outline.declared = declared
      expansion.matched.forEach { new.outline.use($0) }
      if let written = stage.platform { new.platform = try stagePlatform(written, of: stage, new, checks) }
      if let name = stage.name, let context = request.contexts?.find(name, platform: new.platform ?? request.target) {
        new.replacement = context
        table.add(new)
        new.base = nil
        continue
      }
      table.add(new)
      new.stepCount = (baseName != Converter.scratchName && new.base == nil ? 1 : 0) + stage.instructions.count { $0.isStep }
      new.ignoresCache = options.ignoresCache(stage: stage.name ?? "")
    }
  }

  private func stagePlatform(_ written: String, of stage: Stage, _ new: StageState, _ checks: CheckScope) throws -> Platform {
    let expansion = try located(at: stage.origin) { try lexer.expand(written, environment: StateWords(globals)) }
    let text = expansion.text
    checks.checkFromArguments(expansion.unmatched, declared: declared, globals, at: stage.origin, escape: lexer.escape)
    checks.checkStagePlatform(written, expansion, of: stage, globals)
    expansion.matched.forEach { new.outline.use($0) }
    guard !text.isEmpty else {
      throw failure(
        "empty platform value from expression \(written)", at: stage.origin.range, word: stage.origin.range(of: written),
        suggestion: argumentAdvice(for: written, where: "--platform") ?? "give the ARG that it is made of a default, or pass --build-arg")
    }
    do {
      let platform = try Platform(parsing: text)
      return platform
    } catch {
      throw failure(
        "failed to parse platform \(written): \(error)", at: stage.origin.range, word: stage.origin.range(of: written),
        suggestion: argumentAdvice(for: written, where: "--platform") ?? "a platform is written os/arch[/variant], as linux/arm64 or linux/arm/v7")
    }
  }

  /// Which stages each instruction reads, decided before any is run: `--from` and mounts' `from` cannot hold variables.
  mutating func findDependencies() throws {
    for (stage, written) in zip(table.stages, request.dockerfile.stages) {
      for instruction in written.instructions { stage.commands.append(try command(instruction, of: stage)) }
    }
    try refuseCycles()
    if table.stages.count == 1 { table.stages[0].displayName = "" }
  }

  /// The instruction with its sources; images named directly become stages of their own.
  private mutating func command(_ instruction: Instruction, of stage: StageState, isOnbuild: Bool = false) throws -> StageState.Command {
    var command = StageState.Command(instruction: instruction, isOnbuild: isOnbuild)
    switch instruction {
    case .copy(let copy):
      guard let from = copy.from, !from.isEmpty else { break }
      if try located(at: copy.origin, { try lexer.expand(from, environment: [String: String]()).text }) != from {
        throw failure(
          "variable expansion is not supported for --from", at: copy.origin.range, word: copy.origin.range(of: "--from=" + from, from), suggestion: "define a new stage with FROM using an ARG from the global scope, and copy from that")
      }
      if let number = Int(from) {
        guard let source = table.numbered(number) else { 
          throw failure(
            "invalid stage index \(number)", at: copy.origin.range, word: copy.origin.range(of: "--from=" + from, from), suggestion: "stages are counted from 0, and images that earlier instructions name count too: better give the stage a name")
        }
        command.sources = [source]
      } else {
        command.sources = [table.named(from) ?? implicitStage(from, at: copy.origin)]
      }
    case .run(let run):
      // A mount without a source stage stands on scratch, whatever its type turns out to be.
      command.sources = run.mounts.map { mount in
        let from = mount.from ?? ""
        let name = from.isEmpty ? Converter.scratchName : from
        if let stage = table.named(name) { return stage }
        let implicit = implicitStage(name, at: run.origin)
        implicit.isForMount = true
        return implicit
      }
    default: break
    }
    for source in command.sources {
      stage.addDependency(on: source, by: instruction.origin)
      if source.isImplicit { table.add(source) }
    }
    return command
  }

  private func implicitStage(_ name: String, at origin: InstructionOrigin) -> StageState {
    StageState(name: nil, origin: origin, baseName: name, displayName: "", isImplicit: true, graph: graph, platform: targetPlatform)
  }

  private func refuseCycles() throws {
    var visited: Set<ObjectIdentifier> = [], path: Set<ObjectIdentifier> = []
    // Depth is bounded by the number of stages, so that a long chain costs no stack: an explicit one is kept.
    for start in table.stages where !visited.contains(ObjectIdentifier(start)) {
      var stack: [(stage: StageState, next: Int)] = [(start, 0)]
      visited.insert(ObjectIdentifier(start))
      path.insert(ObjectIdentifier(start))
      while let (stage, next) = stack.last {
        guard next < stage.dependencies.count else {
          path.remove(ObjectIdentifier(stage))
          stack.removeLast()
          continue
        }
        stack[stack.count - 1].next += 1
        let (dependency, origin) = stage.dependencies[next]
        let id = ObjectIdentifier(dependency)
        if path.contains(id) {
          throw failure("circular dependency detected on stage: \(start.displayName)", at: origin.range, word: origin.range(of: dependency.name ?? ""), suggestion: "a stage cannot copy from itself or from a stage that needs it")
        }
        if visited.insert(id).inserted {
          path.insert(id)
          stack.append((dependency, 0))
        }
      }
    }
  }

  /// Puts the triggers that a stage's base holds before its own instructions. Returns whether they read other stages.
  mutating func addTriggers(_ triggers: [String], to stage: StageState) throws -> Bool {
    var commands: [StageState.Command] = [], readsStages = false
    for trigger in triggers {
      let instruction = try located(at: stage.origin) { try Instruction.trigger(trigger, at: stage.origin.range) }
      let new = try command(instruction, of: stage, isOnbuild: true)
      if !new.sources.isEmpty { readsStages = true }
      commands.append(new)
    }
    stage.commands = commands + stage.commands
    stage.stepCount += commands.count
    return readsStages
  }
}

extension Instruction {
  /// Whether it counts as a step in progress.
  var isStep: Bool {
    switch self {
    case .add, .copy, .run, .workdir: true
    default: false
    }
  }
}
