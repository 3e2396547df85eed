internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `manifold explain`: why each step of a build was, or was not, taken from the cache.
struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Say why each step of a build was taken from the cache, or was not.", usage: "manifold explain [options] [<build>]",
    discussion: """
      Examples:
        manifold explain                 # the last build, compared with the one before it of the same Dockerfile, context and target
        manifold explain --list
        manifold explain x3k9
        manifold explain --format json | jq -r '.Steps[] | select(.Outcome == "executed") | .Name'

      The last 100 builds of a store are remembered. Values of variables that are secret by their names are compared, and not shown.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The build's id, or its beginning. Default: the last build.", valueName: "build")) var build: String?
  @Flag(name: .customLong("list"), help: "List the builds that are remembered.") var lists = false
  @Flag(name: .shortAndLong, help: "Only steps that were not cached.") var missed = false
  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("text or json.", valueName: "format")) var format = "text"

  func validate() throws {
    guard ["text", "json"].contains(format) else { throw ValidationError("--format \(format): formats are text and json") }
    if lists, build != nil { throw ValidationError("--list takes no build") }
  }

  mutating func run() async throws {
    let composition = try Composition.required()
    let settings = global.settings(try CommandFacts.current())
    let (lists, build) = (lists, build)
    let output = try await Interruption.guarding { [self] _ in
      try await composition.withEngine(settings) { engine in
        if lists { return list(try await engine.builds(), now: Int64(time(nil))) }
        return text(try await engine.explain(build))
      }
    }
    Terminal.output(output)
  }

  // MARK: - Text

  private func list(_ builds: [BuildSummary], now: Int64) -> String {
    if format == "json" { return builds.map { Self.json($0).encodedString() + "\n" }.joined() }
    var table = AlignedText(padding: 3)
    table.add("BUILD", "STARTED", "DURATION", "OUTCOME", "DOCKERFILE", "CONTEXT")
    for build in builds {
      table.add(
        build.ref, HumanFigures.duration(seconds: max(0, now - build.started.seconds)) + " ago", Self.seconds(build.duration), build.outcome.rawValue,
        TerminalText.singleLine(build.dockerfile + (build.target.isEmpty ? "" : " (\(build.target))")), TerminalText.singleLine(build.context))
    }
    return table.flush()
  }

  func text(_ explanation: BuildExplanation) -> String {
    let steps = explanation.steps.filter { !missed || $0.outcome != .cached }
    if format == "json" { return Self.json(explanation, steps).encodedString(.indented("  ")) + "\n" }
    let build = explanation.build
    var out = "build \(build.ref) \(build.outcome.rawValue) in \(Self.seconds(build.duration)): \(TerminalText.singleLine(build.dockerfile)) of \(TerminalText.singleLine(build.context))\n"
    if let previous = explanation.previous { out += "compared with build \(previous.ref)\n" } else {
      out += "there is no earlier build of this Dockerfile, context and target to compare it with\n"
    }
    let cached = explanation.steps.filter { $0.outcome == .cached }.count
    out += "\(cached) of \(explanation.steps.count) steps cached\n\n"
    for step in steps {
      let mark =
        switch step.outcome {
        case .cached: "CACHED   "
        case .executed: "RAN      "
        case .failed: "FAILED   "
        case .cancelled: "CANCELLED"
        case .waiting: "NOT RUN  "
        }
      let took = step.outcome == .executed || step.outcome == .failed ? " (\(Self.seconds(step.duration)))" : ""
      out += "\(mark) \(TerminalText.singleLine(step.name))\(took)\n"
      if step.outcome == .cached { continue }
      for reason in step.reasons where reason.kind != .first { out += "          \(TerminalText.singleLine(reason.text))\n" }
    }
    return out
  }

  private static func seconds(_ nanoseconds: Int64) -> String {
    let tenths = (max(0, nanoseconds) + 50_000_000) / 100_000_000
    return "\(tenths / 10).\(tenths % 10)s"
  }

  private static func json(_ build: BuildSummary) -> JSONValue {
    .object(
      JSONObject([
        ("Ref", .string(build.ref)), ("Context", .string(build.context)), ("Dockerfile", .string(build.dockerfile)), ("Target", .string(build.target)),
        ("Started", .string(build.started.description)), ("DurationNanoseconds", .int(build.duration)), ("Outcome", .string(build.outcome.rawValue)),
        ("Error", .string(build.error)),
      ]))
  }

  private static func json(_ explanation: BuildExplanation, _ steps: [BuildExplanation.Step]) -> JSONValue {
    .object(
      JSONObject([
        ("Build", json(explanation.build)), ("Previous", explanation.previous.map(json) ?? .null),
        (
          "Steps",
          .array(
            steps.map { step in
              .object(
                JSONObject([
                  ("Name", .string(step.name)), ("Platform", .string(step.platform)), ("Outcome", .string(step.outcome.rawValue)),
                  ("DurationNanoseconds", .int(step.duration)),
                  ("Reasons", .array(step.reasons.map { .object(JSONObject([("Kind", .string($0.kind.rawValue)), ("Text", .string($0.text))])) })),
                ]))
            })
        ),
      ]))
  }
}
