internal import BuildInterface
internal import BuildProgress
internal import HostOS
internal import LLB
internal import OCIModel

/// A build's command line, understood: what is asked of the engine, and what is done around it.
struct BuildPlan: Sendable {
  var request: SolveRequest
  /// Without what `BuildInputs` brings.
  var client: ClientDescription
  /// Exports of the request that go into a Docker engine.
  var loads: [DockerLoad]
  var settings: EngineSettings
  /// As asked for; empty for the host's.
  var platforms: [Platform]
  var progress: ProgressMode
  /// Whether the image's id is printed at the end.
  var printsImageID: Bool
  var metadataFile: String?
  var imageIDFile: String?
  /// What comes from elsewhere before the build can begin.
  var context: ContextInput
  /// Standard input and error are terminals.
  var hasTerminal = false
  var warnings: [String]
  /// A question that is asked instead of building.
  var call: CallSpec?
  /// How the person names the Dockerfile.
  var shownDockerfile = "Dockerfile"
  /// Key files for which an agent is to be started, by the ids that steps name.
  var sshKeys: [String: [String]] = [:]
}

extension BuildPlan {
  /// What git says of the context, where provenance or labels are to hold it. What was asked for by name wins.
  mutating func addGitFacts(_ facts: CommandFacts) async throws {
    guard let context = client.directories["context"] else { return }
    let dockerfile = client.directories["dockerfile"].map { $0 + "/" + (request.frontendAttributes["filename"] ?? "Dockerfile") }
    let git = try await GitFacts.of(context: context, directories: client.directories, dockerfile: dockerfile, environment: facts.environment)
    request.frontendAttributes.merge(git.attributes) { own, _ in own }
    if let warning = git.warning { warnings.append(warning) }
  }
}

extension BuildCommand {
  /// Checks all that can be checked before an engine is there; changes nothing.
  func plan(_ facts: CommandFacts) throws -> BuildPlan {
    try toCome.refuse()
    let (mode, printsImageID) = try progressMode(facts.environment)
    let own = try PlatformOptions(files: files, targets: targets, arguments: buildArguments, contexts: buildContexts)
    let platforms = try platforms(own, facts)
    let contextName = context
    let context = try ContextInput(context: contextName, file: own.commonFile(platforms), facts: facts)
    let tags = try BuildCommand.checkedTags(tags)
    let specs = try outputs.filter { !$0.isEmpty }.map { try OutputSpec(parsing: $0) }
    let output = try OutputPlan(
      specs, push: push, load: load, tags: tags, annotations: try AnnotationSpec.attributes(annotations), platformCount: platforms.count, facts: facts)
    var settings = global.settings(facts, jobs: jobs)
    settings.insecureRegistries.formUnion(output.insecureRegistries)
    if imageIDFile != nil, output.hasPlainFiles { throw BuildError.usage("--iidfile needs an image, and an output of type local or tar is none") }
    settings.storeLimit = try StoreLimitText.parse(storeLimit, facts.environment)
    if let jobs, jobs < 1 { throw BuildError.usage("--jobs \(jobs): expected 1 or more") }

    var secrets: [String: ClientDescription.SecretSource] = [:]
    for text in self.secrets where !text.isEmpty {
      let secret = try SecretSpec(parsing: text, facts: facts)
      secrets[secret.id] = secret.source
    }
    let agents = try SSHSpec.all(ssh, contextIsOverSSH: try context.isOverSSH, facts: facts)
    var attributes = try stepAttributes(facts, own)
    let attested = try attestationAttributes(facts.environment)
    attributes.merge(attested.attributes) { _, new in new }
    var exports = output.exports
    try addAttestationPlace(to: &exports, facts.environment)
    attributes["filename"] = context.filename
    if context.forcesDockerfile { attributes["dockerfilekey"] = "dockerfile" }
    var client = ClientDescription(secrets: secrets, agents: agents.sockets)
    switch context.context {
    case .directory(let path): client.directories["context"] = path
    case .address(let address):
      attributes["context"] = address
      // As buildx: of any address with a query.
      if address.contains("?") { attributes["frontend.caps"] = "moby.buildkit.frontend.gitquerystring" }
    case .standardInput: break
    }
    if case .directory(let path) = context.dockerfile { client.directories["dockerfile"] = path }
    try own.contexts.specs(platforms, facts).offer(&attributes, &client)
    var call = try CallSpec(parsing: check ? "check" : printed ?? call)
    if format != nil, call == nil { throw BuildError.usage("--format is the form of an answer, and nothing is asked", suggestion: "Ask with --call, as in --call=plan --format=json.") }
    try call?.setFormat(format)
    if let call {
      attributes.merge(call.attributes) { _, new in new }
      exports = []
    }
    if strictChecks { attributes["manifold.strict-checks"] = "true" }
    if !platforms.isEmpty { attributes["platform"] = platforms.map(\.fullDescription).joined(separator: ",") }
    let apart = try own.attributes(platforms, directories: client.directories, environment: facts.environment) { file in
      let found = try ContextInput(context: contextName, file: file, facts: facts)
      switch found.dockerfile {
      case .directory(let directory): return (directory, found.filename)
      case .inContext: return (nil, found.filename)
      case .standardInput: throw BuildError.usage("-f: standard input is no platform's own Dockerfile", suggestion: "Give it as a file.")
      case .address: throw BuildError.usage("-f \(file): an address is no platform's own Dockerfile", suggestion: "Fetch it first, and name the file.")
      }
    }
    attributes.merge(apart.attributes) { $1 }
    client.directories.merge(apart.directories) { $1 }
    var caches = try CacheSpecs(from: cacheFrom, to: cacheTo)
    // As buildx: the old name of --cache-to type=inline.
    if TruthWord.parse(attributes["build-arg:BUILDKIT_INLINE_CACHE"] ?? "") == true { caches.addInline() }
    for (name, path) in caches.directories { client.directories[name] = facts.absolute(path) }
    client.exports = call == nil ? output.targets : [:]
    if debugOnError, context.readsStandardInput {
      let what = context.context == .standardInput ? "context" : "Dockerfile"
      throw BuildError.usage("--debug-on-error needs standard input for the shell, and the \(what) comes from there", suggestion: "Give the \(what) as a \(what == "context" ? "directory" : "file").")
    }
    var request = SolveRequest(
      ref: BuildCommand.newID(), frontend: "dockerfile.v0", frontendAttributes: attributes, exports: exports, cacheImports: caches.imports,
      cacheExports: caches.exports, entitlements: try allowed())
    try BuildCommand.addSourcePolicy(to: &request, facts)
    request.inquiry = call?.inquiry
    if call?.inquiry != nil { request.cacheExports = [] }
    request.keepsFailedStep = debugOnError
    request.architectureCheck = architectureCheck
    request.stepTimeout = try limits.checkedStepTimeout()
    _ = try limits.checkedTimeout()
    var plan = BuildPlan(
      request: request,
      client: client, loads: call == nil ? output.loads : [],
      settings: settings,
      platforms: platforms,
      progress: mode, printsImageID: printsImageID, metadataFile: metadataFile.map(facts.absolute), imageIDFile: imageIDFile.map(facts.absolute),
      context: context, hasTerminal: facts.standardInputIsTerminal && facts.standardErrorIsTerminal,
      warnings: warnings(hasOutput: call != nil || !specs.isEmpty || !output.exports.isEmpty, facts.environment, attributes) + attested.warnings
        + secrets.sorted { $0.key < $1.key }.compactMap { id, source in
          guard case .environment(let name) = source, facts.environment[name] == nil else { return nil }
          return "--secret \(id): the variable \(name) is not set, so steps do not get this secret"
        })
    plan.call = call
    plan.sshKeys = agents.keys
    plan.shownDockerfile = context.shownDockerfile
    return plan
  }

  /// What decides which sources may be read, as buildx and buildctl find it.
  private static func addSourcePolicy(to request: inout SolveRequest, _ facts: CommandFacts) throws {
    let variable = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
    guard let file = facts.environment[variable], !file.isEmpty else { return }
    let path = facts.absolute(file)
    do { request.sourcePolicies.append(try SourcePolicyDocument.parse(try Files.read(path, limit: 16 << 20))) } catch {
      throw BuildError.usage("\(variable)=\(file): \(error)", suggestion: "It names a file with a source policy, in JSON.")
    }
  }

  // MARK: - Attributes of the frontend

  private func stepAttributes(_ facts: CommandFacts, _ own: PlatformOptions) throws -> [String: String] {
    var out: [String: String] = [:]
    var arguments = try StepSettings.pairs(own.arguments.common, option: "--build-arg", environment: facts.environment)
    if arguments["SOURCE_DATE_EPOCH"] == nil, let epoch = facts.environment["SOURCE_DATE_EPOCH"], !epoch.isEmpty { arguments["SOURCE_DATE_EPOCH"] = epoch }
    if let syntax = arguments["BUILDKIT_SYNTAX"] { try BuildCommand.checkSyntax(syntax) }
    if TruthWord.parse(arguments["BUILDKIT_MULTI_PLATFORM"] ?? "") == true { out["multi-platform"] = "true" }
    let given = Set(arguments.keys.map { $0.lowercased() })
    for (key, value) in ProxySettings.buildArguments(facts.environment) where !given.contains(key.lowercased()) { arguments[key] = value }
    for (key, value) in arguments { out["build-arg:" + key] = value }
    for (key, value) in try StepSettings.pairs(labels, option: "--label") { out["label:" + key] = value }
    guard !noCache || noCacheFilters.isEmpty else { throw BuildError.usage("--no-cache and --no-cache-filter exclude one another") }
    if !noCacheFilters.isEmpty { out["no-cache"] = noCacheFilters.joined(separator: ",") }
    if noCache { out["no-cache"] = "" }
    if pull { out["image-resolve-mode"] = "pull" }
    if let target = own.targets.common.last, !target.isEmpty { out["target"] = target }
    if let cgroupParent, !cgroupParent.isEmpty { out["cgroup-parent"] = cgroupParent }
    let hosts = try StepSettings.hosts(extraHosts)
    if !hosts.isEmpty { out["add-hosts"] = hosts }
    if let shmSize {
      let bytes = try StepSettings.bytes(shmSize, option: "--shm-size")
      if bytes > 0 { out["shm-size"] = String(bytes) }
    }
    let processLimits = try StepSettings.ulimits(ulimits)
    if !processLimits.isEmpty { out["ulimit"] = processLimits }
    out.merge(try limits.resourceAttributes()) { $1 }
    switch network {
    case "", "default": break
    case "host", "none": out["force-network-mode"] = network
    default: throw BuildError.usage("--network \(network): a build's network is default, host or none")
    }
    return out
  }

  /// BUILDKIT_SYNTAX stands for the Dockerfile's syntax line.
  private static func checkSyntax(_ syntax: String) throws {
    guard let image = syntax.split(separator: " ").first.map(String.init), !image.isEmpty else {
      throw BuildError.usage("--build-arg BUILDKIT_SYNTAX= is empty; leave the = away to take it from the environment if it is there")
    }
    guard (try? Reference(parsing: image)) != nil else { throw BuildError.usage("--build-arg BUILDKIT_SYNTAX=\(image): this is not the name of an image") }
  }

  private func platforms(_ own: PlatformOptions, _ facts: CommandFacts) throws -> [Platform] {
    let standard = try BuildCommand.platforms([facts.environment["DOCKER_DEFAULT_PLATFORM"] ?? ""].filter { !$0.isEmpty }, host: facts.host)
    let given = try BuildCommand.platforms(platforms, host: facts.host)
    let found = try own.platforms(given: given, host: standard.first ?? facts.host)
    return found.isEmpty ? standard : found
  }

  static func platforms(_ texts: [String], host: Platform) throws -> [Platform] {
    var out: [Platform] = []
    for text in texts.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }) {
      do {
        let platform = text.lowercased() == "local" ? host.normalized : try Platform(parsing: text, default: host).normalized
        if !out.contains(platform) { out.append(platform) }
      } catch {
        throw BuildError.usage("--platform \(text): \(error)", suggestion: "Platforms are os/arch[/variant], such as linux/amd64, linux/arm64 or linux/arm/v7.")
      }
    }
    return out
  }

  private static func checkedTags(_ tags: [String]) throws -> [String] {
    try tags.map { tag in
      do {
        _ = try Reference(parsing: tag)
        return tag
      } catch { throw BuildError.usage("--tag \(tag): \(error)") }
    }
  }

  /// As the peers' ids: 25 characters of base 36.
  static func newID() -> String {
    let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz")
    return String((0..<25).map { $0 == 0 ? letters[Int.random(in: 10..<36)] : letters[Int.random(in: 0..<36)] })
  }

  // MARK: - The rest

  /// What `--allow` grants. Filesystem entitlements are those of `bake`, as with buildx.
  private func allowed() throws -> Set<String> {
    var out: Set<String> = network == "host" ? ["network.host"] : []
    let known = ["network.host", "security.insecure", "device", "buildx.local.delete"]
    for text in entitlements where !text.isEmpty {
      let name = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).first.map(String.init) ?? text
      if name == "device" { _ = try CommaFields.parse(text, option: "--allow") }
      guard known.contains(name), name == "device" || name == text else {
        let meant = known.contains(name) ? "\(name) takes no value" : name.hasPrefix("fs") ? "fs entitlements are for manifold bake; a build reads what the command names" : nil
        throw BuildError.usage(
          "--allow \(text): there is no such entitlement",
          suggestion: meant ?? Spelling.nearest(to: name, among: known).map { "Did you mean \($0)?" } ?? "What can be allowed is \(known.joined(separator: ", ")).")
      }
      out.insert(text)
    }
    return out
  }

  private func progressMode(_ environment: [String: String]) throws -> (ProgressMode, printsImageID: Bool) {
    let names = ProgressMode.allCases.map(\.rawValue)
    guard var mode = ProgressMode(rawValue: progress) else {
      throw BuildError.usage("--progress \(progress): there is no such view", suggestion: "Views are \(names.joined(separator: ", ")).")
    }
    let isQuiet = quiet || mode == .quiet
    if isQuiet {
      guard mode == .auto || mode == .quiet else { throw BuildError.usage("--progress \(progress) and --quiet exclude one another") }
      return (.quiet, true)
    }
    if mode == .auto, let wanted = environment["BUILDKIT_PROGRESS"], !wanted.isEmpty {
      guard let known = ProgressMode(rawValue: wanted) else {
        throw BuildError.usage("BUILDKIT_PROGRESS=\(wanted): there is no such view", suggestion: "Views are \(names.joined(separator: ", ")).")
      }
      mode = known
    }
    return (mode, false)
  }

  private func warnings(hasOutput: Bool, _ environment: [String: String], _ attributes: [String: String]) -> [String] {
    var out = toCome.warnings
    if let builder = environment["BUILDX_BUILDER"], !builder.isEmpty, builder != "default" { out.append("BUILDX_BUILDER=\(builder) has no effect: builds run in this program") }
    if !hasOutput, TruthWord.parse(environment["BUILDX_NO_DEFAULT_LOAD"] ?? "") != true {
      out.append(
        "No output specified. Build result will only remain in the build cache. To keep the image here give it a name with -t, to push it use --push, to write its files use -o"
      )
    }
    return out
  }
}
