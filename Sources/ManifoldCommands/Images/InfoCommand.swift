internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import ContentStore
internal import HostOS
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `manifold info`: what of docker's there is to say about this machine, the store and the platforms that run here.
struct InfoCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Show what this machine can build and run, and where images are kept.",
    discussion: """
      Examples:
        manifold info
        manifold info -f '{{.OSType}}/{{.Architecture}}'
        manifold info -f '{{json .Platforms}}'
      """)

  @OptionGroup var global: GlobalOptions
  @Option(
    name: [.customLong("format"), .customShort("f", allowingJoined: true)], parsing: .unconditional, help: ArgumentHelp("json, or a Go template over docker's document.", valueName: "format")) var format: String?

  /// Those that our users build for.
  private static let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x"]

  mutating func run() async throws {
    let document = try await StoreAccess.withStore(global) { engine in
      let support = await engine.platformSupport(for: try Self.platforms.map { try Platform(parsing: $0) })
      let images = try await LocalImages(engine.store).list()
      let root = engine.store.root
      let filesystem = try await Blocking.run { try FileSystemFacts.of(root).kind.rawValue }
      return Self.document(images: Set(images.map(\.descriptor.digest)).count, root: root, filesystem: filesystem, support, engine.notes)
    }
    Terminal.output(try FormattedDocument.text(document, format) ?? Self.text(document))
  }

  private static func document(images: Int, root: String, filesystem: String, _ support: [PlatformSupport], _ notes: [String]) -> JSONObject {
    func list(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
    let platforms: [JSONValue] = support.map { one in
      let how: String =
        switch one.kind {
        case .native: "native"
        case .emulated(let by): "emulated by \(by)"
        case .impossible(let reason): "steps cannot run here: \(reason)"
        }
      return .object(JSONObject([("Platform", .string(one.platform.description)), ("Support", .string(how))]))
    }
    return JSONObject([
      ("Containers", 0), ("ContainersRunning", 0), ("ContainersPaused", 0), ("ContainersStopped", 0), ("Images", .int(images)),
      ("KernelVersion", .string(HostFacts.kernelRelease)), ("OperatingSystem", .string(operatingSystem)), ("OSType", .string(Platform.current.os)),
      ("Architecture", .string(HostFacts.machine)), ("NCPU", .int(HostFacts.cores)), ("MemTotal", .int(Int64(clamping: HostFacts.memory))), ("DockerRootDir", .string(root)),
      ("BackingFilesystem", .string(filesystem)), ("Name", .string(hostName)), ("ServerVersion", .string(Manifold.version)),
      ("SecurityOptions", list(HostFacts.isRoot && !HostFacts.inUserNamespace ? [] : ["name=rootless"])), ("Warnings", notes.isEmpty ? .null : list(notes)),
      ("ClientInfo", .object(JSONObject([("Version", .string(Manifold.version)), ("Context", "default")]))), ("Platforms", .array(platforms)),
    ])
  }

  private static func text(_ document: JSONObject) -> String {
    func line(_ title: String, _ key: String) -> String { " \(title): \(TerminalText.singleLine(document[key]?.stringValue ?? document[key]?.intValue.map(String.init) ?? ""))\n" }
    var out = line("Images", "Images") + line("Version", "ServerVersion") + line("Root Dir", "DockerRootDir") + line("Backing Filesystem", "BackingFilesystem")
    out += line("Kernel Version", "KernelVersion") + line("Operating System", "OperatingSystem") + line("OSType", "OSType") + line("Architecture", "Architecture")
    out += line("CPUs", "NCPU") + " Total Memory: \(HumanFigures.size(document["MemTotal"]?.intValue ?? 0))\n" + line("Name", "Name") + " Platforms:\n"
    for one in document["Platforms"]?.arrayValue ?? [] { out += "  \(one["Platform"]?.stringValue ?? ""): \(TerminalText.singleLine(one["Support"]?.stringValue ?? ""))\n" }
    for note in document["Warnings"]?.arrayValue ?? [] { out += "WARNING: \(TerminalText.singleLine(note.stringValue ?? ""))\n" }
    return out
  }

  /// As the system calls itself (os-release(5)).
  private static var operatingSystem: String {
    for line in (Files.text("/etc/os-release") ?? "").split(separator: "\n") where line.hasPrefix("PRETTY_NAME=") { return line.dropFirst(12).filter { $0 != "\"" } }
    return Platform.current.os
  }
  private static var hostName: String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
