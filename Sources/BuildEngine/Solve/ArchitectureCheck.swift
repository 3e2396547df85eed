internal import Binaries
internal import BuildInterface
internal import BuildKitProto
internal import BuildOutputs
internal import BuildProgress
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import LLB
internal import OCIModel

/// Looks, before anything is exported, whether the layers that this build made hold programs for their image's CPU. Layers of base images are somebody else's, and stages
/// that are not exported may hold what they like. What a layer holds is remembered with it: a cached build reads no files.
struct ArchitectureCheck: Sendable {
  let mode: ArchitectureCheckMode
  let progress: any ProgressSink

  /// Files shown of each platform; of the rest the number is told.
  private static let shown = 5

  private struct Stranger {
    var path: String
    var message: String
    /// The step whose layer it is in, where that is known.
    var vertex: Vertex?
    var place: SourcePlace? { (vertex?.payload as? OpPayload)?.locations.lazy.compactMap(\.place).first }
  }

  func run(_ source: ExportSource, _ result: FrontendResult) async throws {
    if mode == .off { return }
    for (target, built) in zip(source.targets, result.targets) {
      guard let ref = target.ref, target.platform.os == "linux" else { continue }
      let base = try target.baseImageConfig.map { $0.isEmpty ? 0 : try ImageConfig(parsing: $0).diffIDs.count } ?? 0
      let notes = try await ref.layerNotes(above: base) { try LayerPrograms.found(in: $0).text }
      let steps = ArchitectureCheck.steps((built.reference as? EngineReference)?.edge)
      let (strangers, count) = strangers(notes, steps, target.platform)
      if count > 0 { try report(strangers, count, target) }
    }
  }

  private func strangers(_ notes: [String?], _ steps: [Vertex]?, _ platform: Platform) -> (shown: [Stranger], count: Int) {
    var out: [Stranger] = [], count = 0
    for (i, note) in notes.enumerated() {
      guard let note else { continue }
      for group in LayerPrograms(note).groups {
        guard let file = try? ExecutableFile(parsing: group.header), let misfit = file.misfit(on: platform), misfit.kind == .foreign else { continue }
        count += group.count
        // Each step makes one layer; where that does not come out even, nobody is blamed.
        let vertex = steps?.count == notes.count ? steps?[i] : nil
        out += group.paths.map { Stranger(path: "/" + $0, message: misfit.message, vertex: vertex) }
      }
    }
    return (Array(out.prefix(ArchitectureCheck.shown)), count)
  }

  private func report(_ strangers: [Stranger], _ count: Int, _ target: ExportSource.Target) throws {
    guard let first = strangers.first else { return }
    let rest = count - strangers.count
    func line(_ stranger: Stranger) -> String {
      let place = stranger.place.map { " (\($0.filename):\($0.lines.lowerBound))" } ?? ""
      return "\(stranger.path) \(stranger.message)\(place)"
    }
    if mode == .fail {
      let more = strangers.dropFirst().map { "\n  \(line($0))" }.joined() + (rest > 0 ? "\n  and \(rest) more" : "")
      throw BuildError(
        .failedPrecondition, .build, "the image for \(target.platform) holds \(count == 1 ? "a program" : "\(count) programs") for another platform: \(line(first))\(more)",
        suggestion: "Build or copy what is for \(target.platform); --arch-check=warn exports it all the same.",
        vertex: first.vertex.map { VertexPlace(digest: $0.digest, name: $0.name) }, sources: first.place.map { [$0] } ?? [])
    }
    for stranger in strangers {
      warn("\(target.platform): \(line(stranger))", stranger)
    }
    if rest > 0 { warn("\(target.platform): \(rest) more programs for other platforms", first) }
  }

  private static let advice = "The image's platform does not run it. --arch-check=fail fails such a build, --arch-check=off does not look."

  private func warn(_ text: String, _ stranger: Stranger) {
    var warning = VertexWarning(vertex: stranger.vertex?.digest ?? .sha256(of: "internal:arch-check"), short: text, detail: [ArchitectureCheck.advice])
    if let place = stranger.place {
      warning.sourceInfo = WarningSource(filename: place.filename, data: place.data, language: "Dockerfile")
      warning.ranges = [WarningRange(start: .init(line: place.lines.lowerBound), end: .init(line: place.lines.upperBound))]
    }
    progress.emit(ProgressEvent(warnings: [warning]))
  }

  /// The steps that made a tree's layers, the bottommost first, without what brought the base image. nil: nobody can say.
  private static func steps(_ edge: Edge?) -> [Vertex]? {
    var out: [Vertex] = []
    var next = edge
    while let edge = next, let payload = edge.vertex.payload as? OpPayload {
      switch payload.op.op {
      case .exec(let exec):
        guard let root = exec.mounts.first(where: { $0.dest == "/" }), Int(root.output) == edge.index else { return nil }
        next = root.input < 0 ? nil : input(edge.vertex, Int(root.input))
      case .file(let file):
        guard let below = base(of: file, output: edge.index, inputs: edge.vertex.inputs.count) else { return nil }
        next = below < 0 ? nil : input(edge.vertex, below)
      case .merge:
        // Trees one upon another: their steps likewise.
        var all: [Vertex] = []
        for input in edge.vertex.inputs {
          guard let steps = steps(input) else { return nil }
          all += steps
        }
        return all + out.reversed()
      case .source: return out.reversed()
      default: return nil
      }
      out.append(edge.vertex)
    }
    return out.reversed()
  }

  /// The input whose tree a file op's output lies on: of the last of its actions the first's. -1: none; nil: it does not come out.
  private static func base(of file: Pb_FileOp, output: Int, inputs: Int) -> Int? {
    guard var action = file.actions.firstIndex(where: { Int($0.output) == output }) else { return nil }
    while Int(file.actions[action].input) >= inputs {
      let before = Int(file.actions[action].input) - inputs
      guard before < action else { return nil }
      action = before
    }
    return Int(file.actions[action].input)
  }

  private static func input(_ vertex: Vertex, _ i: Int) -> Edge? { vertex.inputs.indices.contains(i) ? vertex.inputs[i] : nil }
}

/// The programs of one layer, those alike counted together: what is kept of it.
struct LayerPrograms: Sendable {
  struct Group: Sendable {
    /// Of an ELF file: what says for which machine it is.
    var header: [UInt8]
    var count: Int
    /// The first few.
    var paths: [String]
  }
  private(set) var groups: [Group] = []
  private static let mostGroups = 64
  private static let mostPaths = 5

  /// All that lie where nobody expects them to be for the image's own platform (cross compilers, packages for several platforms) are left out. Blocks.
  static func found(in directory: Directory) throws -> LayerPrograms {
    var out = LayerPrograms()
    var places: [[UInt8]: Int] = [:]
    try directory.programs { file in
      let header = essence(file.head)
      guard let program = try? ExecutableFile(parsing: header), !program.isAtHome(in: file.path.split(separator: "/").dropLast().map(String.init)) else { return true }
      guard let i = places[header] else {
        guard out.groups.count < mostGroups else { return true }
        places[header] = out.groups.count
        out.groups.append(Group(header: header, count: 1, paths: [file.path]))
        return true
      }
      out.groups[i].count += 1
      if out.groups[i].paths.count < mostPaths { out.groups[i].paths.append(file.path) }
      return true
    }
    for i in out.groups.indices { out.groups[i].paths.sort() }
    return out
  }

  /// Class, byte order, type, machine and flags; the rest zeros, so that files alike are equal and no program headers are looked for.
  private static func essence(_ head: [UInt8]) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: 64)
    let flags = head[4] == 2 ? 48..<52 : 36..<40
    for i in Array(0..<7) + Array(18..<24) + Array(flags) { out[i] = head[i] }
    out[head[5] == 2 ? 17 : 16] = 2
    return out
  }

  // MARK: as it is kept

  private init() {}

  var text: String {
    JSONValue.array(
      groups.map { group in
        .object(JSONObject([("header", .string(hex(group.header))), ("count", .int(group.count)), ("paths", .array(group.paths.map { .string($0) }))]))
      }
    ).encodedString()
  }

  /// What cannot be read is nothing.
  init(_ text: String) {
    guard let array = try? JSONValue(parsing: text).arrayValue else { return }
    groups = array.compactMap { json in
      guard let digits = json["header"]?.stringValue, let count = json["count"]?.intValue, let header = LayerPrograms.bytes(digits) else { return nil }
      return Group(header: header, count: Int(count), paths: json["paths"]?.arrayValue?.compactMap(\.stringValue) ?? [])
    }
  }

  private func hex(_ bytes: [UInt8]) -> String { bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() }
  private static func bytes(_ hex: String) -> [UInt8]? {
    let digits = hex.compactMap(\.hexDigitValue)
    guard digits.count == hex.count, digits.count % 2 == 0 else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }
}
