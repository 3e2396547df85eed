internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import HostOS
internal import OCIModel

/// `manifold run`: docker's, for an image of the local store or a registry.
struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Run a command in an image, on this machine's platform or another.",
    usage: "manifold run [options] <image> [<command> …]",
    discussion: """
      Examples:
        manifold run hello
        manifold run --rm -it debian sh
        manifold run --platform linux/arm64 hello uname -m
        manifold run -v "$PWD:/work:ro" -w /work -e HOME=/tmp hello make test

      The exit status is the command's own; 125 when it could not be started. The container is always removed when it ends.
      """)

  @OptionGroup var global: GlobalOptions

  @Flag(name: .customLong("rm"), help: "Remove the container when it ends. It always is.") var remove = false
  @Flag(name: .shortAndLong, help: "Pass standard input to the command.") var interactive = false
  @Flag(name: .shortAndLong, help: "Give the command a terminal.") var tty = false
  @Option(
    name: .customLong("platform"), parsing: .unconditional,
    help: ArgumentHelp("Which platform of the image to run: os/arch[/variant]. Default: DOCKER_DEFAULT_PLATFORM, else this machine's.", valueName: "platform"))
  var platform: String?
  @Option(
    name: [.customLong("env"), .customShort("e", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp("An environment variable; without =value it is passed on. May be repeated.", valueName: "key[=value]"))
  var environment: [String] = []
  @Option(
    name: [.customLong("volume"), .customShort("v", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp("A file or directory of this machine to show in the container. May be repeated.", valueName: "source:destination[:ro]"))
  var volumes: [String] = []
  @Option(
    name: [.customLong("workdir"), .customShort("w", allowingJoined: true)], parsing: .unconditional,
    help: ArgumentHelp("The working directory.", valueName: "dir")) var workingDirectory: String?
  @Option(
    name: .customLong("entrypoint"), parsing: .unconditional,
    help: ArgumentHelp("What to run instead of the image's entrypoint; empty for none.", valueName: "program")) var entrypoint: String?
  @Option(
    name: [.customLong("user"), .customShort("u", allowingJoined: true)], parsing: .unconditional,
    help: ArgumentHelp("Who runs it: a name or number of the image's, with a group or without.", valueName: "user[:group]")) var user: String?
  @Option(name: .customLong("network"), parsing: .unconditional, help: ArgumentHelp("The network: host (as it is by default) or none.", valueName: "mode"))
  var network: String?

  @Argument(parsing: .captureForPassthrough, help: ArgumentHelp("The image, and the command instead of the image's own.", valueName: "image"))
  var imageAndCommand: [String] = []

  // Here, so that the parser's answer speaks of this verb.
  func validate() throws {
    guard let name = words.first else { throw ValidationError("the image's name is missing") }
    // The parser passes it on with the command's own words.
    if name == "--help" || name == "-h" { throw CleanExit.helpRequest(self) }
    if name.hasPrefix("-"), RunCommand.option(name).isUnknown { throw RunCommand.unknown(option: name) }
  }

  /// The image and its command.
  private var words: [String] { imageAndCommand.first == "--" ? Array(imageAndCommand.dropFirst()) : imageAndCommand }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let request = try request(facts)
    let composition = try Composition.required()
    let settings = global.settings(facts)
    let status: Int32
    do {
      status = try await Interruption.guarding { interruption in
        try await composition.withEngine(settings) { engine in
          let images = try await engine.images()
          if let warning = RunCommand.mismatchWarning(request, images, host: facts.host) { Terminal.error("WARNING: \(TerminalText.singleLine(warning))\n") }
          // The engine hands signals to the container; an image that must be fetched first is worth stopping at once.
          if images.contains(where: { RunCommand.matches($0, request.image) }) { interruption.leaveOneToTheContainer() }
          return try await engine.run(request)
        }
      }
    } catch { throw RunFailure(cause: error) }
    throw ExitCode(status)
  }

  /// The options as a request. Throws usage errors.
  func request(_ facts: CommandFacts) throws -> RunRequest {
    guard let name = words.first else { throw BuildError.usage("the image's name is missing") }
    if name.hasPrefix("-") { throw BuildError.notYet("run \(name.prefix { $0 != "=" })") }
    let image: Reference
    do { image = try Reference(parsing: name) } catch { throw BuildError.usage("\(name): \(error)") }
    if tty, interactive, !facts.standardInputIsTerminal {
      throw BuildError.usage("-t needs a terminal, and standard input is none", suggestion: "Leave -t away.")
    }
    let mode = network == "default" || network == "bridge" ? nil : network
    if let mode, mode != "host", mode != "none" { throw BuildError.usage("--network \(mode): a container's network is host or none") }
    return RunRequest(
      image: image,
      platform: try (platform ?? facts.environment["DOCKER_DEFAULT_PLATFORM"].flatMap { $0.isEmpty ? nil : $0 }).map {
        try BuildCommand.platforms([$0], host: facts.host)[0]
      }, arguments: Array(words.dropFirst()), environment: environment(facts),
      volumes: try volumes.map { try RunCommand.volume($0, facts) }, workingDirectory: workingDirectory, user: user,
      entrypoint: entrypoint.map { $0.isEmpty ? [] : [$0] }, interactive: interactive, tty: tty, network: mode)
  }

  private func environment(_ facts: CommandFacts) -> [String] {
    environment.compactMap { text in text.contains("=") ? text : facts.environment[text].map { "\(text)=\($0)" } }
  }

  static func volume(_ text: String, _ facts: CommandFacts) throws -> RunRequest.Volume {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count >= 2, parts.count <= 3, !parts[0].isEmpty else { throw BuildError.usage("--volume \(text): expected source:destination[:ro]") }
    guard parts[1].hasPrefix("/") else { throw BuildError.usage("--volume \(text): the destination \"\(parts[1])\" must be an absolute path") }
    guard parts[0].hasPrefix("/") || parts[0].hasPrefix(".") || parts[0].hasPrefix("~") else {
      throw BuildError.notYet("a named volume (\(parts[0]))", suggestion: "A directory of this machine is written with a slash: ./\(parts[0])")
    }
    var readOnly = false
    for option in (parts.count == 3 ? parts[2] : "").split(separator: ",") {
      switch option {
      case "ro", "readonly": readOnly = true
      case "rw", "z", "Z", "rprivate", "private", "rslave", "slave": break
      default: throw BuildError.usage("--volume \(text): there is no option \"\(option)\"; use ro or rw")
      }
    }
    return RunRequest.Volume(source: facts.absolute(parts[0]), destination: parts[1], readOnly: readOnly)
  }

  /// Docker's warning, when the image of that name has one platform and it is not this machine's.
  static func mismatchWarning(_ request: RunRequest, _ images: [LocalImage], host: Platform) -> String? {
    guard request.platform == nil, let image = images.first(where: { matches($0, request.image) }), image.platforms.count == 1, let only = image.platforms.first
    else { return nil }
    let (mine, its) = (host.normalized, only.normalized)
    guard its.os != mine.os || its.architecture != mine.architecture || (its.variant != mine.variant && !its.variant.isEmpty && !mine.variant.isEmpty) else {
      return nil
    }
    return "The requested image's platform (\(only)) does not match the detected host platform (\(host)) and no specific platform was requested"
  }
  private static func matches(_ image: LocalImage, _ reference: Reference) -> Bool {
    guard image.reference.name == reference.name else { return false }
    if let digest = reference.digest { return image.digest == digest }
    return image.reference.tag == reference.withDefaultTag.tag
  }

  /// Options of docker's run that people know, each refused by its name.
  private static let toCome: Set<String> = [
    "add-host", "annotation", "cap-add", "cap-drop", "cgroup-parent", "cgroupns", "cidfile", "cpu-period", "cpu-quota", "cpu-shares", "cpus", "cpuset-cpus",
    "cpuset-mems", "detach", "d",
    "device", "dns", "env-file", "expose", "gpus", "group-add", "health-cmd", "hostname", "init", "ipc", "label", "l", "link", "log-driver", "memory", "m",
    "mount", "name", "p", "pid",
    "privileged", "publish", "publish-all", "P", "pull", "read-only", "restart", "runtime", "security-opt", "shm-size", "stop-signal", "stop-timeout", "sysctl",
    "tmpfs", "ulimit", "userns",
    "volumes-from",
  ]

  private static func option(_ word: String) -> (name: String, isUnknown: Bool) {
    let name = String(word.drop { $0 == "-" }.prefix { $0 != "=" })
    return (name, !toCome.contains(name))
  }

  private static func unknown(option word: String) -> ValidationError {
    let known = [
      "rm", "interactive", "tty", "platform", "env", "volume", "workdir", "entrypoint", "user", "network", "root", "debug", "insecure-registry", "config", "help",
    ]
    return ValidationError("Unknown option '\(word)'." + (Spelling.nearest(to: option(word).name, among: known).map { " Did you mean '--\($0)'?" } ?? ""))
  }
}
