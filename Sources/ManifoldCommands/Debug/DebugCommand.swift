internal import ArgumentParser
internal import BuildInterface
internal import DockerfileSyntax
internal import HostOS
internal import LLB
internal import OCIModel

/// `manifold debug`: what a build is made of.
struct DebugCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "debug", abstract: "Look into builds: their graphs, and Dockerfiles as they are parsed.",
    discussion: """
      Examples:
        manifold debug dump-llb --platform linux/amd64,linux/arm64 .
        manifold debug dump-llb --dot . | dot -Tsvg -o graph.svg
        manifold debug dump-ast Dockerfile
      """,
    subcommands: [DumpLLBCommand.self, DumpASTCommand.self])
}

/// `manifold debug dump-llb`: a build's graph, or one from a file, as `buildctl debug dump-llb` prints it.
struct DumpLLBCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump-llb", abstract: "Print a build's graph (LLB): JSON with one op a line.",
    usage: "manifold debug dump-llb [--dot|--raw] [build options] <context>\n       manifold debug dump-llb [--dot] [<file>|-]",
    discussion: """
      With a directory: the graph that `manifold build` with the same options would execute; nothing is run, and nothing but the
      base images' configs is fetched. Of several platforms each op is printed once. With a file, with - or with nothing: a
      definition in its binary form, as frontends send it (`--raw` prints that).
      Lines are those of `buildctl debug dump-llb`, byte for byte: {"Op":{…},"Digest":"sha256:…","OpMetadata":{…}}.

      Options of its own: --dot (for Graphviz), --raw (the binary form, of one platform).
      Examples:
        manifold debug dump-llb --platform linux/arm64 --target build . | jq .
        manifold debug dump-llb --raw . | buildctl debug dump-llb
        buildctl … | manifold debug dump-llb --dot | dot -Tsvg -o graph.svg
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: .customLong("dot"), help: "Print it for Graphviz.") var dot = false
  @Flag(name: .customLong("raw"), help: "Print its binary form.") var raw = false
  @Argument(parsing: .allUnrecognized, help: ArgumentHelp("Options of a build and its context, or a file.", valueName: "context|file")) var words: [String] = []

  mutating func run() async throws {
    guard !dot || !raw else { throw BuildError.usage("--dot and --raw exclude one another") }
    let facts = try CommandFacts.current()
    if words.isEmpty || (words.count == 1 && isDefinition(words[0], facts)) {
      let bytes = try await definitionBytes(words.first ?? "-", facts)
      let output: [UInt8]
      do { output = try DumpLLBCommand.dumped(bytes, dot: dot) } catch {
        throw BuildError(.invalidArgument, .usage, "\(words.first ?? "standard input") is no definition: \(error)")
      }
      Terminal.output(raw ? bytes : output)
      return
    }
    let definitions = try await built(facts)
    guard raw else {
      Terminal.output(try DumpLLBCommand.dumped(definitions.map { Definition($0.definition) }, dot: dot))
      return
    }
    guard definitions.count == 1 else {
      throw BuildError.usage("--raw prints one graph, and there is one for each of \(definitions.map(\.id).joined(separator: ", "))", suggestion: "Choose one with --platform.")
    }
    Terminal.output(try Definition(definitions[0].definition).serialized())
  }

  static func dumped(_ bytes: [UInt8], dot: Bool) throws -> [UInt8] { try dumped([Definition(serialized: bytes)], dot: dot) }

  static func dumped(_ definitions: [Definition], dot: Bool) throws -> [UInt8] {
    var dump = DefinitionDump()
    for definition in definitions { try dump.add(definition) }
    return dot ? dump.dot : dump.lines
  }

  private func isDefinition(_ word: String, _ facts: CommandFacts) -> Bool {
    if word == "-" { return true }
    return (try? Files.status(facts.absolute(word)))?.kind == .regular
  }

  private func definitionBytes(_ word: String, _ facts: CommandFacts) async throws -> [UInt8] {
    try await Blocking.run {
      if word == "-" { return try StandardInput.bytes() }
      return try Files.read(facts.absolute(word), limit: StandardInput.largestDefinition)
    }
  }

  private func built(_ facts: CommandFacts) async throws -> [TargetDefinition] {
    let composition = try Composition.required()
    var command = try BuildCommand.parse(words)
    command.global = global
    command.outputs = []
    var plan = try command.plan(facts)
    plan.request.exports = []
    plan.request.cacheExports = []
    (plan.loads, plan.metadataFile, plan.imageIDFile) = ([], nil, nil)
    plan.request.inquiry = .definitions
    plan.warnings = []
    // Any call will do that is not the frontend's: the answer is taken from the response.
    plan.call = CallSpec(name: CallSpec.plan)
    let run = BuildRun(plan: plan, facts: facts)
    return try await Interruption.guarding { _ in try await run.response(composition).definitions }
  }
}

/// `manifold debug dump-ast`: a Dockerfile as it is parsed.
struct DumpASTCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump-ast", abstract: "Print a Dockerfile as it is parsed, in JSON with the place of every part.", usage: "manifold debug dump-ast [<file>|-]",
    discussion: """
      Members of the document: "file"; "escape"; "directives" ({name, value, range}); "instructions"; "warnings" ({code, message,
      range}). Of an instruction: "keyword" in upper case, "flags" and "arguments" as words (variables are not expanded), "json" when
      they were a JSON array, "heredocs" ({name, content, expand, chomp, fd}), "original" (lines joined), "comments" above it,
      "children" of ONBUILD, and "range", "keywordRange", "flagRanges". A range is [first line, column, last line, column]: lines count
      from 1, columns from 0 in Unicode scalars, and the end is the place behind the last one.
      Examples:
        manifold debug dump-ast | jq '.instructions[].keyword'
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The Dockerfile; - is standard input.", valueName: "file")) var file = "Dockerfile"

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let file = file
    let bytes = try await Blocking.run {
      do { return try file == "-" ? StandardInput.bytes() : Files.read(facts.absolute(file), limit: SyntaxLimits().sourceBytes + 1) } catch let error as HostError {
        throw BuildError.usage("cannot read \(file): \(error)")
      }
    }
    let tree: SyntaxTree
    do { tree = try SyntaxTree.parse(bytes: bytes) } catch {
      throw BuildError(
        .invalidArgument, .usage, error.range.map { "dockerfile parse error on line \($0.start.line): \(error.message)" } ?? "\(file): \(error.message)",
        suggestion: error.suggestion.map { "did you mean \($0)?" },
        sources: error.range.map { [SourcePlace(filename: file, data: bytes, lines: $0.lines)] } ?? [])
    }
    Terminal.output(SyntaxJSON.document(tree, file: file).encodedString(.indented("  "), escapeHTML: false) + "\n")
  }
}

/// A syntax tree in JSON.
enum SyntaxJSON {
  static func document(_ tree: SyntaxTree, file: String) -> JSONValue {
    [
      "file": .string(file), "escape": .string(String(tree.escape)),
      "directives": .array(tree.directives.map { ["name": .string($0.name), "value": .string($0.value), "range": range($0.range)] }),
      "instructions": .array(tree.nodes.map(instruction)),
      "warnings": .array(tree.warnings.map { ["code": .string($0.code.rawValue), "message": .string($0.message), "range": range($0.range)] }),
    ]
  }

  private static func range(_ range: SourceRange) -> JSONValue {
    [.int(range.start.line), .int(range.start.column), .int(range.end.line), .int(range.end.column)]
  }

  private static func instruction(_ node: InstructionNode) -> JSONValue {
    func texts(_ list: [String]) -> JSONValue { .array(list.map { .string($0) }) }
    var out = JSONObject([("keyword", .string(node.keyword.uppercased())), ("flags", texts(node.flags)), ("arguments", texts(node.arguments))])
    if node.isJSON { out["json"] = true }
    if !node.heredocs.isEmpty {
      out["heredocs"] = .array(
        node.heredocs.map { heredoc in
          [
            "name": .string(heredoc.name), "content": .string(heredoc.content), "expand": .bool(heredoc.expands), "chomp": .bool(heredoc.chomps),
            "fd": .int(heredoc.fileDescriptor),
          ]
        })
    }
    out["original"] = .string(node.original)
    if !node.comments.isEmpty { out["comments"] = texts(node.comments) }
    if !node.children.isEmpty { out["children"] = .array(node.children.map(instruction)) }
    (out["range"], out["keywordRange"]) = (range(node.range), range(node.keywordRange))
    if !node.flagRanges.isEmpty { out["flagRanges"] = .array(node.flagRanges.map(range)) }
    return .object(out)
  }
}
