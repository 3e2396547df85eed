internal import ArgumentParser
internal import BuildInterface
internal import HostOS
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `manifold prune`: buildx's.
struct PruneCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prune", abstract: "Remove build cache.", usage: "manifold prune [options]",
    discussion: """
      Examples:
        manifold prune -f
        manifold prune -a -f
        manifold prune -f --filter until=168h
        manifold prune -f --filter type=exec.cachemount
        manifold prune -f --max-used-space 10g

      Images, and what running builds need, stay. Without a size everything goes that may; with one, the least recently used goes until it is met.
      Filters: until, id, type, description, parents, inuse, mutable, immutable, shared, private; key=value, key!=value, key~=regular-expression.
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: .shortAndLong, help: "Also what is internal, and cache that images have too; the images stay.") var all = false
  @Option(name: .customLong("filter"), parsing: .unconditionalSingleValue, help: ArgumentHelp("Only these records. May be repeated; all must hold.", valueName: "filter"))
  var filters: [String] = []
  @Option(name: .customLong("reserved-space"), parsing: .unconditional, help: ArgumentHelp("Keep so much in any case.", valueName: "bytes")) var reservedSpace: String?
  @Option(name: .customLong("max-used-space"), parsing: .unconditional, help: ArgumentHelp("Let the store have no more than this.", valueName: "bytes")) var maxUsedSpace: String?
  @Option(name: .customLong("min-free-space"), parsing: .unconditional, help: ArgumentHelp("Have so much free on the disk.", valueName: "bytes")) var minFreeSpace: String?
  @Option(name: .customLong("keep-storage"), parsing: .unconditional, help: .hidden) var keepStorage: String?
  @Flag(name: .customLong("verbose"), help: "Everything about each record.") var verbose = false
  @Flag(name: .shortAndLong, help: "Do not ask.") var force = false

  func request() throws -> PruneRequest {
    let option = try UsageFilterOption(filters)
    func bytes(_ text: String?, _ name: String) throws -> Int64 { try text.map { try StepSettings.bytes($0, option: name) } ?? 0 }
    let reserved = reservedSpace != nil ? try bytes(reservedSpace, "--reserved-space") : try bytes(keepStorage, "--keep-storage")
    let limits = SpaceLimits(reserved: reserved, maxUsed: try bytes(maxUsedSpace, "--max-used-space"), minFree: try bytes(minFreeSpace, "--min-free-space"))
    return PruneRequest(all: all, filter: option.filter, keepDuration: option.keepDuration, limits: limits)
  }

  private var question: String {
    all
      ? "WARNING! This will remove all build cache. Are you sure you want to continue?"
      : "WARNING! This will remove all dangling build cache. Are you sure you want to continue?"
  }

  mutating func run() async throws {
    let composition = try Composition.required()
    let facts = try CommandFacts.current()
    let request = try request()
    if !force, !facts.standardInputIsTerminal {
      throw BuildError.usage("prune asks before it removes anything, and there is no terminal to ask on", suggestion: "Give --force (-f) to remove without being asked.")
    }
    let (settings, force, question, verbose) = (global.settings(facts), force, question, verbose)
    try await Interruption.guarding { _ in
      try await composition.withEngine(settings) { engine in
        if !force, try await !Self.agrees(question) { return }
        let text = UsageText(now: Int64(time(nil)))
        let isFirst = Mutex(true)
        let removed = try await engine.prune(request) { record in
          let header = isFirst.withLock { isFirst in
            defer { isFirst = false }
            return isFirst
          }
          Terminal.output(verbose ? text.prunedVerbose(record) : (header ? UsageText.pruneHeader : "") + text.pruned(record))
        }
        Terminal.output("Total:\t\(HumanFigures.size(removed.reduce(0) { $0 + $1.size }))\n")
      }
    }
  }

  private static func agrees(_ question: String) async throws -> Bool {
    Terminal.output(question + " [y/N] ")
    let answer = try await Blocking.run { readLine() ?? "" }
    return ["y", "yes"].contains(answer.lowercased())
  }
}
