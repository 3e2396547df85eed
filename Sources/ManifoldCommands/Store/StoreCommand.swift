internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import OCIModel

struct StoreCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store", abstract: "Look after the local store.",
    discussion: """
      Examples:
        manifold store verify
        manifold store verify --repair
      """,
    subcommands: [StoreVerifyCommand.self])
}

/// `manifold store verify`.
struct StoreVerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Read the whole store again, and say what is wrong with it.", usage: "manifold store verify [options]",
    discussion: """
      Examples:
        manifold store verify
        manifold store verify --repair && manifold build -t app .

      Reads the database, every blob (against its digest), every file of every snapshot (against what was recorded when it was made: names, sizes, times and modes), every
      image down to its layers, and looks for cached results without content. Builds may go on meanwhile. A line for each thing that is wrong; exit status 1 if there is any.
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: .customLong("repair"), help: "Remove what is broken: the next build makes or fetches it anew.") var repair = false

  mutating func run() async throws {
    let composition = try Composition.required()
    let settings = global.settings(try CommandFacts.current())
    let repair = repair
    let report = try await Interruption.guarding { _ in try await composition.withEngine(settings) { engine in try await engine.verifyStore(repair: repair) } }
    Terminal.output(StoreVerifyCommand.text(report))
    if !report.findings.isEmpty { throw ExitCode(ManifoldExit.build) }
  }

  static func text(_ report: StoreReport) -> String {
    let lines = report.findings.map { finding in
      TerminalText.singleLine("\(finding.kind) \(finding.item): \(finding.problem)" + (finding.repair.map { ": \($0)" } ?? "")) + "\n"
    }
    func count(_ n: Int, _ what: String) -> String { "\(n) \(what)\(n == 1 ? "" : "s")" }
    let what = "\(count(report.blobs, "blob")), \(count(report.snapshots, "snapshot")), \(count(report.refs, "cached tree")), \(count(report.images, "image")); \(HumanFigures.size(report.bytes)) read"
    let verdict = report.findings.isEmpty ? "nothing is wrong" : "\(count(report.findings.count, "thing")) wrong"
    return lines.joined() + "\(what): \(verdict)\n"
  }
}
