internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

/// Checks of our own: mistakes that only show when an image is built for several platforms.
///
/// They guess, so each is made to be silent rather than wrong: what they tell must hold for whoever reads it.
extension Converter {
  func checkPlatforms(_ target: StageState) {
    guard checks.log != nil else { return }
    checkShadowedArguments()
    checkSystemCommands()
    let reachable = target.reachable.filter { !$0.isImplicit && $0.replacement == nil }
    for stage in table.stages where reachable.contains(where: { $0 === stage }) {
      checkSharedCaches(stage)
      checkCrossCompiling(stage, target, reachable)
    }
  }

  // MARK: PlatformArgShadowed

  private static let platformArguments: Set<String> = [
    "BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT", "TARGETPLATFORM", "TARGETOS", "TARGETOSVERSION", "TARGETARCH", "TARGETVARIANT",
  ]

  private func checkShadowedArguments() {
    for arg in request.dockerfile.globalArguments { check(arg, checks) }
    for stage in request.dockerfile.stages {
      for instruction in stage.instructions {
        let scope = checks.merging(comments: instruction.origin.comments)
        switch instruction {
        case .arg(let arg): check(arg, scope)
        case .env(let env):
          for variable in env.variables where isShadow(variable.key, variable.value) {
            let only = env.variables.count == 1 && env.origin.range.lines.count == 1
            let patch = only ? LinePatch(request.sourceMap).replacing(env.origin.range.start.line, with: ["ARG " + variable.key]).text : nil
            report(shadow: variable.key, variable.value, "ENV", env.origin, scope, patch)
          }
        default: break
        }
      }
    }
  }

  private func check(_ arg: ArgInstruction, _ scope: CheckScope) {
    for argument in arg.arguments {
      guard let value = argument.value, buildArguments[argument.key] == nil, isShadow(argument.key, value) else { continue }
      report(shadow: argument.key, value, "ARG", arg.origin, scope, LinePatch(request.sourceMap).removingValue(of: argument.key, value, in: arg.origin.range)?.text)
    }
  }

  private func isShadow(_ name: String, _ value: String) -> Bool { Self.platformArguments.contains(name) && !value.contains("$") }

  private func report(shadow name: String, _ value: String, _ instruction: String, _ origin: InstructionOrigin, _ scope: CheckScope, _ patch: String?) {
    let whose = name.hasPrefix("BUILD") ? "of the machine that builds" : "that is built for"
    scope.report(
      .platformArgShadowed, "\(instruction) \(name)=\(value) takes the place of the platform \(whose), for every platform", at: origin.range, patch: patch)
  }

  // MARK: PlatformCacheShared

  /// Folders that hold what a compiler or an installer made for one CPU.
  private static let resultFolders: Set<String> = ["target", "node_modules", "build", "_build", ".build", ".venv", "venv", "obj", "bin"]

  private func checkSharedCaches(_ stage: StageState) {
    guard options.platforms.count > 1, !isPinned(stage) else { return }
    var declares = false
    for command in stage.commands where !command.isOnbuild {
      if case .arg(let arg) = command.instruction, arg.arguments.contains(where: { $0.key == "TARGETPLATFORM" }) { declares = true }
      guard case .run(let run) = command.instruction, let mounts = try? run.resolvedMounts(expanding: { $0 }) else { continue }
      for mount in mounts where mount.kind == .cache && !mount.id.contains("$") && !mount.target.contains("$") {
        let folder = SlashPath.base(SlashPath.clean(mount.target))
        guard Self.resultFolders.contains(folder) else { continue }
        let patch = LinePatch(request.sourceMap).withPlatform(mount.id, folder, in: run.origin.range, declares: declares)
        checks.merging(comments: run.origin.comments).report(
          .platformCacheShared,
          "The cache mount \(mount.target) is one for \(options.platforms.map(\.description).joined(separator: ", ")), and holds what is made for one platform",
          at: run.origin.range, patch: patch?.text)
      }
    }
  }

  /// Whether a stage runs on one platform whatever is built for.
  private func isPinned(_ stage: StageState) -> Bool {
    if let base = stage.base { return isPinned(base) }
    guard let i = table.stages.firstIndex(where: { $0 === stage }), i < request.dockerfile.stages.count, let written = request.dockerfile.stages[i].platform else { return false }
    return !written.contains("TARGET")
  }

  // MARK: EmulatedCrossCompile

  private func checkCrossCompiling(_ stage: StageState, _ target: StageState, _ reachable: [StageState]) {
    let build = options.buildPlatform
    let foreign = options.platforms.filter { platform in
      if platform.os == build.os, platform.architecture == build.architecture { return false }
      return !(platform.os == build.os && platform.architecture == "386" && build.architecture == "amd64")
    }
    // Only a stage whose result is copied can run elsewhere than its users.
    guard !foreign.isEmpty, stage !== target, stage.base == nil, stage.expandedBase != Converter.scratchName, !isPinned(stage),
      !reachable.contains(where: { $0.base === stage })
    else { return }
    let copied = reachable.flatMap(\.commands).flatMap { command -> [String] in
      guard command.sources.contains(where: { $0 === stage }) else { return [] }
      // What a mount's step takes from it, nobody knows.
      if case .copy(let copy) = command.instruction { return copy.sources.paths } else { return ["/"] }
    }
    let runs = stage.commands.compactMap { command -> RunInstruction? in if case .run(let run) = command.instruction, !command.isOnbuild { run } else { nil } }
    guard let found = CrossCompiling.find(in: runs, copied: copied) else { return }
    let scope = checks.merging(comments: stage.origin.comments).merging(comments: found.run.origin.comments)
    let patch = found.kind.patch(LinePatch(request.sourceMap), stage.origin, found.run, needsVariant: foreign.contains { $0.architecture == "arm" })
    scope.report(
      .emulatedCrossCompile,
      "\(found.command) would be emulated for \(foreign.map(\.description).joined(separator: ", ")), though \(found.kind.reason)", at: found.run.origin.range,
      patch: patch?.text)
  }
}

/// What a stage compiles that could be compiled on any machine.
struct CrossCompiling {
  enum Kind {
    case go, toolchain, javaScript, java
    var reason: String {
      switch self {
      case .go: "Go compiles for every platform from every other one"
      case .toolchain: "the stage sets up a cross compiler"
      case .javaScript: "what it makes is the same on every platform"
      case .java: "class files are the same on every platform"
      }
    }
  }
  var kind: Kind
  var command: String
  var run: RunInstruction

  private static let goCommands = ["go build", "go install"]
  /// With C in it, Go needs a C compiler for the target.
  private static let signsOfC = ["CGO_ENABLED=1", "gcc", "g++", "clang", "build-base", "build-essential", "musl-dev", "libc-dev", "libc6-dev"]
  private static let toolchains = [
    "rustup target add", "crossbuild-essential-", "-linux-gnu-gcc", "-linux-musl-gcc", "gcc-aarch64-linux-gnu", "gcc-x86-64-linux-gnu", "gcc-arm-linux-gnueabi",
    "xx-clang", "xx-cargo", "cargo zigbuild", "zig cc",
  ]
  private static let bundlers = ["npm run build", "yarn build", "yarn run build", "pnpm build", "pnpm run build", "vite build", "npx tsc", "npx webpack"]
  private static let webFolders: Set<String> = ["dist", "build", "out", "public", "static", "www", "html", "assets", "_site"]
  private static let javaCommands = ["mvn package", "mvn install", "mvn clean package", "mvn -B package", "mvnw package", "mvnw clean package", "gradle build", "gradlew build", "gradle assemble", "gradlew assemble", "gradle bootJar", "gradlew bootJar"]

  static func find(in runs: [RunInstruction], copied: [String]) -> CrossCompiling? {
    let texts = runs.map { ([$0.command.arguments.joined(separator: " ")] + $0.command.heredocs.map(\.content)).joined(separator: "\n") }
    let all = texts.joined(separator: "\n")
    func first(_ words: [String], _ kind: Kind) -> CrossCompiling? {
      for (run, text) in zip(runs, texts) { if let word = words.first(where: text.contains) { return CrossCompiling(kind: kind, command: word, run: run) } }
      return nil
    }
    if let found = first(toolchains, .toolchain) { return found }
    if !signsOfC.contains(where: all.contains), let found = first(goCommands, .go) { return found }
    guard !copied.isEmpty else { return nil }
    if copied.allSatisfy({ webFolders.contains(SlashPath.base(SlashPath.clean($0))) }), let found = first(bundlers, .javaScript) { return found }
    if !all.contains("native"), copied.allSatisfy({ $0.hasSuffix(".jar") || $0.hasSuffix(".war") }), let found = first(javaCommands, .java) { return found }
    return nil
  }
}

extension CrossCompiling.Kind {
  func patch(_ patch: LinePatch, _ from: InstructionOrigin, _ run: RunInstruction, needsVariant: Bool) -> LinePatch? {
    guard from.range.lines.count == 1, var patch = patch.pinning(from) else { return nil }
    guard case .go = self else { return patch }
    let declared = "ARG TARGETOS TARGETARCH" + (needsVariant ? " TARGETVARIANT" : "")
    let settings = "CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH" + (needsVariant ? " GOARM=${TARGETVARIANT#v}" : "")
    guard run.command.prependsShell, !run.origin.code.contains("GOARCH"),
      let line = run.origin.range.lines.first(where: { patch.line($0)?.contains("go build") == true || patch.line($0)?.contains("go install") == true }),
      let text = patch.line(line)
    else { return patch }
    let command = text.contains("go build") ? "go build" : "go install"
    let changed = text.replacing(command, with: settings + " " + command, maxReplacements: 1)
    let first = run.origin.range.start.line
    if first == line {
      patch = patch.replacing(line, with: [declared, changed])
    } else if let start = patch.line(first) {
      patch = patch.replacing(first, with: [declared, start]).replacing(line, with: [changed])
    }
    return patch
  }
}

/// Changes of single lines of a file, as a unified diff that `patch -p1` and `git apply --unidiff-zero` take.
struct LinePatch {
  private let fileName: String
  private let lines: [String]
  private var changes: [Int: [String]] = [:]

  init(_ map: SourceMap) {
    fileName = map.filename
    lines = map.data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
  }

  func line(_ number: Int) -> String? { number >= 1 && number <= lines.count ? lines[number - 1] : nil }

  func replacing(_ number: Int, with new: [String]) -> LinePatch {
    var copy = self
    copy.changes[number] = new
    return copy
  }

  var text: String {
    var out = "--- a/\(fileName)\n+++ b/\(fileName)\n", shift = 0
    for (number, new) in changes.sorted(by: { $0.key < $1.key }) {
      guard let old = line(number) else { continue }
      // A line that stays is not told again.
      if new.last == old {
        out += "@@ -\(number - 1),0 +\(number + shift)\(new.count == 2 ? "" : ",\(new.count - 1)") @@\n" + new.dropLast().map { "+\($0)\n" }.joined()
      } else {
        out += "@@ -\(number) +\(number + shift)\(new.count == 1 ? "" : ",\(new.count)") @@\n-\(old)\n" + new.map { "+\($0)\n" }.joined()
      }
      shift += new.count - 1
    }
    return out
  }

  /// FROM on the machine that builds.
  func pinning(_ from: InstructionOrigin) -> LinePatch? {
    let number = from.range.start.line
    guard let text = line(number) else { return nil }
    var words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    guard let keyword = words.firstIndex(where: { !$0.isEmpty }), words[keyword].lowercased() == "from" else { return nil }
    words.removeAll { $0.hasPrefix("--platform=") }
    words.insert("--platform=$BUILDPLATFORM", at: keyword + 1)
    return replacing(number, with: [words.joined(separator: " ")])
  }

  func removingValue(of name: String, _ value: String, in range: DockerfileSyntax.SourceRange) -> LinePatch? {
    for number in range.lines {
      guard let text = line(number) else { continue }
      for written in ["\(name)=\(value)", "\(name)=\"\(value)\"", "\(name)='\(value)'"] where !value.isEmpty && text.contains(written) {
        return replacing(number, with: [text.replacing(written, with: name, maxReplacements: 1)])
      }
    }
    return nil
  }

  /// The platform in the id of a cache mount.
  func withPlatform(_ id: String, _ folder: String, in range: DockerfileSyntax.SourceRange, declares: Bool) -> LinePatch? {
    for number in range.lines {
      guard let text = line(number), text.contains("type=cache"), text.contains(folder) else { continue }
      let changed =
        id.isEmpty
        ? text.replacing("type=cache", with: "type=cache,id=\(folder)-$TARGETPLATFORM", maxReplacements: 1)
        : text.replacing("id=\(id)", with: "id=\(id)-$TARGETPLATFORM", maxReplacements: 1)
      guard changed != text else { return nil }
      if declares { return replacing(number, with: [changed]) }
      let first = range.start.line
      if first == number { return replacing(number, with: ["ARG TARGETPLATFORM", changed]) }
      guard let start = line(first) else { return nil }
      return replacing(first, with: ["ARG TARGETPLATFORM", start]).replacing(number, with: [changed])
    }
    return nil
  }
}
