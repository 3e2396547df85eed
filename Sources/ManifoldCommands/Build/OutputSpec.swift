internal import BuildInterface
internal import HostOS
internal import OCIModel

/// One `-o`, in buildx's syntax: `DIR`, `-`, or comma-separated `key=value` with `type` and perhaps `dest`.
struct OutputSpec: Sendable, Hashable {
  var type: String
  var attributes: [String: String]
  /// Empty when none is named; `-` is standard output.
  var destination: String

  static let types = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"]

  init(type: String, attributes: [String: String] = [:], destination: String = "") {
    self.type = type
    self.attributes = attributes
    self.destination = destination
  }

  init(parsing text: String) throws {
    let fields = try CommaFields.parse(text, option: "--output")
    if fields.count == 1, fields[0] == text, !text.hasPrefix("type=") {
      self.init(type: text == "-" ? "tar" : "local", destination: text)
      return
    }
    var type = ""
    var destination = ""
    var attributes: [String: String] = [:]
    for field in fields {
      guard let equals = field.firstIndex(of: "=") else { throw BuildError.usage("--output \(text): \"\(field)\" is not key=value") }
      let key = OutputSpec.trimmed(field[..<equals]).lowercased()
      let value = String(field[field.index(after: equals)...])
      switch key {
      case "type": type = value
      case "dest": destination = value
      default: attributes[key] = value
      }
    }
    guard !type.isEmpty else {
      throw BuildError.usage(
        "--output \(text): the type is missing", suggestion: "Types are \(OutputSpec.types.joined(separator: ", ")); for example: -o type=oci,dest=image.tar")
    }
    guard OutputSpec.types.contains(type) else {
      let meant = Spelling.nearest(to: type, among: OutputSpec.types).map { "Did you mean \($0)? " } ?? ""
      throw BuildError.usage(
        "--output \(text): there is no output of type \"\(type)\"", suggestion: "\(meant)Types are \(OutputSpec.types.joined(separator: ", ")).")
    }
    self.init(type: type, attributes: attributes, destination: destination)
  }

  private static func trimmed(_ text: Substring) -> String {
    var rest = text
    while rest.first == " " { rest.removeFirst() }
    while rest.last == " " { rest.removeLast() }
    return String(rest)
  }
}

/// The outputs of a build: what is asked of the exporters, and where on this machine their files go.
struct OutputPlan: Sendable {
  private(set) var exports: [ExportRequest] = []
  private(set) var targets: [String: ExportTarget] = [:]
  /// Those of `exports` that go into a Docker engine.
  private(set) var loads: [DockerLoad] = []
  /// Hosts of outputs with `registry.insecure`.
  private(set) var insecureRegistries: Set<String> = []
  /// Whether an output writes files and names no image.
  private(set) var hasPlainFiles = false
  private var usesStandardOutput = false

  /// `outputs` in the order given; `push` and `load` add to them what buildx does. `load` puts the image into the local store, which is this
  /// program's own engine's and needs no archive, and into a Docker engine when there is one.
  /// `annotations` are attributes of all that make images.
  init(
    _ outputs: [OutputSpec], push: Bool, load: Bool, tags: [String], annotations: [String: String] = [:], platformCount: Int, facts: CommandFacts
  ) throws {
    for output in outputs where output.type != "cacheonly" { try add(output, platformCount: platformCount, facts) }
    if push { addPush() }
    if load { addLoad() }
    if exports.isEmpty, outputs.isEmpty, !tags.isEmpty { append("image", [:]) }
    try name(tags)
    for i in exports.indices where Self.imageTypes.contains(exports[i].type) {
      exports[i].attributes.merge(annotations) { _, given in given }
      if let text = exports[i].attributes["registry.insecure"], text.isEmpty || TruthWord.parse(text) == true {
        exports[i].attributes["registry.insecure"] = nil
        insecureRegistries.formUnion((exports[i].attributes["name"] ?? "").split(separator: ",").compactMap { (try? Reference(parsing: String($0)))?.domain })
      }
    }
  }

  private static let imageTypes: Set = ["image", "oci", "docker"]

  private mutating func append(_ type: String, _ attributes: [String: String], _ target: ExportTarget? = nil) {
    let id = String(exports.count)
    exports.append(ExportRequest(type: type, attributes: attributes, id: id))
    targets[id] = target
  }

  private mutating func add(_ output: OutputSpec, platformCount: Int, _ facts: CommandFacts) throws {
    var attributes = output.attributes
    switch output.type {
    case "registry":
      attributes["push"] = "true"
      if attributes["unpack"] == nil { attributes["unpack"] = "false" }
      append("image", attributes)
    case "local":
      hasPlainFiles = true
      append("local", attributes, try directory(output, facts))
    case "tar":
      hasPlainFiles = true
      append("tar", attributes, try file(output, facts))
    case "oci", "docker":
      let isArchive = TruthWord.parse(attributes["tar"] ?? "") ?? true
      if output.type == "docker", output.destination.isEmpty, isArchive {
        attributes["tar"] = nil
        let context = attributes.removeValue(forKey: "context")
        return addDocker(attributes, context: context, isRequired: true)
      }
      if output.type == "docker", platformCount > 1 {
        throw BuildError.usage(
          "a docker archive holds one platform, and \(platformCount) are asked for",
          suggestion: "Write an OCI archive: -o type=oci,dest=image.tar; or keep the image here: --load.")
      }
      append(output.type, attributes, isArchive ? try file(output, facts) : try directory(output, facts))
    default: append(output.type, attributes)
    }
  }

  private mutating func addDocker(_ attributes: [String: String], context: String?, isRequired: Bool) {
    append("docker", attributes)
    loads.append(DockerLoad(id: exports[exports.count - 1].id, context: context.flatMap { $0.isEmpty ? nil : $0 }, isRequired: isRequired))
  }

  private func directory(_ output: OutputSpec, _ facts: CommandFacts) throws -> ExportTarget {
    guard !output.destination.isEmpty else { throw BuildError.usage("an output of type \(output.type) needs a directory: -o type=\(output.type),dest=DIR") }
    guard output.destination != "-" else {
      throw BuildError.usage(
        "an output of type \(output.type) is a directory and cannot go to standard output", suggestion: "For a tar archive: -o type=tar,dest=-")
    }
    let path = facts.absolute(output.destination)
    if let status = try? Files.status(path), status.kind != .directory { throw BuildError.usage("the output directory \(output.destination) is a file") }
    return .directory(path: path)
  }

  private mutating func file(_ output: OutputSpec, _ facts: CommandFacts) throws -> ExportTarget {
    if output.destination.isEmpty || output.destination == "-" {
      guard !usesStandardOutput else { throw BuildError.usage("two outputs are to go to standard output") }
      guard !facts.standardOutputIsTerminal else {
        throw BuildError.usage(
          "an archive of type \(output.type) would be written to the terminal", suggestion: "Name a file (dest=FILE), or send standard output to one.")
      }
      usesStandardOutput = true
      return .descriptor(1)
    }
    let path = facts.absolute(output.destination)
    if let status = try? Files.status(path), status.kind == .directory { throw BuildError.usage("the output file \(output.destination) is a directory") }
    return .file(path: path)
  }

  private mutating func addPush() {
    var pushes = false
    for i in exports.indices where exports[i].type == "image" {
      exports[i].attributes["push"] = "true"
      if exports[i].attributes["unpack"] == nil { exports[i].attributes["unpack"] = "false" }
      pushes = true
    }
    if !pushes { append("image", ["push": "true", "unpack": "false"]) }
  }

  private mutating func addLoad() {
    if let i = exports.firstIndex(where: { $0.type == "image" }) { exports[i].attributes["store"] = "true" } else { append("image", [:]) }
    if loads.isEmpty { addDocker([:], context: nil, isRequired: false) }
  }

  /// Tags are the names of every image that is written; they win over an output's own `name`.
  private mutating func name(_ tags: [String]) throws {
    for i in exports.indices where Self.imageTypes.contains(exports[i].type) {
      if !tags.isEmpty { exports[i].attributes["name"] = tags.joined(separator: ",") }
      let isPush = TruthWord.parse(exports[i].attributes["push"] ?? "") ?? false
      if isPush, (exports[i].attributes["name"] ?? "").isEmpty {
        throw BuildError.usage("a name is needed to push to a registry", suggestion: "Give one with -t, such as: -t registry.example.com/me/app:1 --push")
      }
    }
  }
}

/// Finds the word that was meant.
enum Spelling {
  static func nearest(to word: String, among options: [String]) -> String? {
    options.map { (distance(Array(word.unicodeScalars), Array($0.unicodeScalars)), $0) }.filter { $0.0 < 3 && $0.0 < $0.1.count }.min { $0.0 < $1.0 }?.1
  }
  private static func distance(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar]) -> Int {
    var row = Array(0...b.count)
    for i in a.indices {
      var next = [i + 1]
      for j in b.indices { next.append(min(row[j + 1] + 1, next[j] + 1, row[j] + (a[i] == b[j] ? 0 : 1))) }
      row = next
    }
    return row[b.count]
  }
}
