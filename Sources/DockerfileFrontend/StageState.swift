internal import BuildKitProto
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

/// One stage while it becomes a graph: what it is built on, what it has done so far, and how it is shown.
///
/// Besides the Dockerfile's stages there is one for every image that a COPY or a mount names directly (`isImplicit`).
final class StageState {
  /// One instruction, with the stages it reads.
  struct Command {
    var instruction: Instruction
    /// COPY: its source. RUN: one for every mount. Otherwise empty.
    var sources: [StageState] = []
    var isOnbuild = false
  }

  /// The name after `AS`.
  let name: String?
  /// The FROM, or the instruction that names an image directly.
  let origin: InstructionOrigin
  /// The base's name with its variables expanded; after resolving, the full reference with its digest.
  var baseName: String
  /// The same before it was looked up.
  let expandedBase: String
  /// The base's name as the Dockerfile has it.
  var writtenBase: String
  /// The stage that this one continues; nil for an image or scratch.
  var base: StageState?
  let isImplicit: Bool
  /// A named context stands in its place.
  var replacement: NamedContexts.Found?
  /// It is, or stands on, a directory of the client with a name.
  var contextDirectory: (input: String, directory: NamedContexts.Directory)?
  /// What is read of its files: shared with the stages that continue it, which read them too.
  var readPaths = ReadPaths()
  /// What the comment above FROM says of it.
  var documentation: String?
  /// Made for a mount's `from`; such an image is not traced to a line.
  var isForMount = false
  /// As shown in progress; empty for the only stage of a file.
  var displayName: String
  var ignoresCache = false

  var state: State
  var image: ImageConfig
  /// The base image's config as received; never changed.
  var baseImage: ImageConfig?
  var platform: Platform?

  var commands: [Command] = []
  /// The stages that this one reads besides its base, with the instruction that does.
  private(set) var dependencies: [(stage: StageState, origin: InstructionOrigin)] = []
  private var dependencyPlaces: [ObjectIdentifier: Int] = [:]

  /// Its instructions have become part of the graph.
  var isDispatched = false
  /// Its base image is known.
  var isResolved = false
  var readsOnbuildOfBase = false

  /// ARGs in effect, oldest first; a name may come twice.
  private(set) var arguments: [ArgInstruction.Argument] = []
  private(set) var argumentNames: Set<String> = []
  /// Paths of the build context that it reads.
  var contextPaths: Set<String> = []
  var hasCommand = false
  /// Where CMD, ENTRYPOINT and HEALTHCHECK stood last in this stage, by name in upper case.
  var lastPlaces: [String: InstructionOrigin] = [:]
  /// A WORKDIR of this Dockerfile has set the directory.
  var hasWorkdir = false
  /// What it declares and needs, for `--call=outline`.
  var outline = StageOutline()
  /// Where each variable stands in the image's list; made when the stage's first ENV needs it.
  private var variablePlaces: [String: Int] = [:]
  /// Steps shown: done and in all.
  var stepIndex = 0
  var stepCount = 0

  init(name: String?, origin: InstructionOrigin, baseName: String, displayName: String, isImplicit: Bool, graph: Graph, platform: Platform) {
    (self.name, self.origin, self.baseName, self.displayName, self.isImplicit) = (name, origin, baseName, displayName, isImplicit)
    writtenBase = baseName
    expandedBase = baseName
    state = graph.scratch
    image = ImageConfig(platform: platform)
  }

  /// Takes over what the base stage has come to.
  func inherit() {
    guard let base else { return }
    state = base.state
    platform = base.platform
    image = base.image
    // Triggers do not carry over from stage to stage: they fired here.
    image.config.onBuild = []
    baseImage = base.baseImage
    (arguments, argumentNames) = (base.arguments, base.argumentNames)
    hasWorkdir = base.hasWorkdir
    readPaths = base.readPaths
  }

  /// A path of the build context that an instruction names.
  func readContext(_ path: String) {
    guard paths.isWindows, let source = try? paths.source(path) else {
      contextPaths.insert(SlashPath.join("/", path))
      return
    }
    contextPaths.insert(source)
  }

  func declare(_ argument: ArgInstruction.Argument) {
    arguments.append(argument)
    argumentNames.insert(argument.key)
  }

  func addDependency(on other: StageState, by origin: InstructionOrigin) {
    if let i = dependencyPlaces[ObjectIdentifier(other)] {
      dependencies[i].origin = origin
    } else {
      dependencyPlaces[ObjectIdentifier(other)] = dependencies.count
      dependencies.append((other, origin))
    }
  }

  /// The next name is of the same step again.
  func recountStep() { if stepCount > 0 { stepIndex -= 1 } }

  /// Sets a variable of the image, in its old place if it has one.
  func setImageVariable(_ name: String, _ value: String) {
    if variablePlaces.isEmpty {
      for (i, entry) in image.config.env.enumerated().reversed() { variablePlaces[Converter.splitVariable(entry).name] = i }
    }
    if let i = variablePlaces[name] {
      image.config.env[i] = name + "=" + value
    } else {
      variablePlaces[name] = image.config.env.count
      image.config.env.append(name + "=" + value)
    }
  }

  /// Adds a line to the image's history.
  func commit(_ line: String, layer: Bool, isStep: Bool = false, epoch: Timestamp?) {
    image.history.append(.init(created: epoch, createdBy: line + (isStep ? " # buildkit" : ""), comment: "buildkit.dockerfile.v0", emptyLayer: !layer))
  }
}

/// Absolute paths.
final class ReadPaths {
  var paths: Set<String> = []
}

/// The stages by number and by name.
struct StageTable {
  private(set) var stages: [StageState] = []
  private var byName: [String: StageState] = [:]

  /// Adds a stage and finds out whether it continues an earlier one.
  mutating func add(_ stage: StageState) {
    stages.append(stage)
    stage.base = byName[stage.baseName]
    if let name = stage.name { byName[name.lowercased()] = stage }
  }
  func named(_ name: String) -> StageState? { byName[name.lowercased()] }
  func numbered(_ index: Int) -> StageState? { stages.indices.contains(index) ? stages[index] : nil }
  var names: [String] { stages.map(\.displayName).filter { !$0.isEmpty } }
}

extension StageState {
  /// This stage and all that it is made from, each once.
  var reachable: [StageState] {
    var seen: Set<ObjectIdentifier> = [], order: [StageState] = [], queue = [self]
    while let next = queue.popLast() {
      guard seen.insert(ObjectIdentifier(next)).inserted else { continue }
      order.append(next)
      // What a stage would have read that another context stands for is not needed.
      if next.replacement == nil { queue += (next.base.map { [$0] } ?? []) + next.dependencies.map(\.stage) }
    }
    return order
  }
}
