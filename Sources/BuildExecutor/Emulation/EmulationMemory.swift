#if os(Linux)
  import HostOS
  import OCIModel
  import Synchronization

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// What was found out about platforms, kept in a file until the machine starts anew: trying emulators takes a few processes, which a build that
  /// has everything cached would otherwise spend most of its time on.
  ///
  /// Only what worked is kept, and only for the same kernel, namespace kind, user, search path and table of the host; and for an
  /// interpreter that is the same file.
  final class EmulationMemory: Sendable {
    private let path: String
    private let circumstances: String
    private let known: Mutex<[String: Emulation.Support]?>

    /// `entries` are the host's table.
    init(path: String, qemuDirectory: String?, entries: [BinfmtEntry]) {
      self.path = path
      let search = getenv("PATH").map { String(cString: $0) } ?? ""
      let table = entries.map { "\($0.name) \($0.interpreter) \($0.flags) \($0.offset) \($0.magic) \($0.mask)" }.sorted()
      let facts =
        [HostFacts.bootID, HostFacts.kernelRelease, HostFacts.machine, "\(HostFacts.userID)", "\(HostFacts.inUserNamespace)", search, qemuDirectory ?? ""] + table
      circumstances = Digest.sha256(of: facts.joined(separator: "\0")).hex
      known = Mutex(nil)
    }

    func recall(_ platform: Platform) -> Emulation.Support? {
      let support = known.withLock { known in
        let all = known ?? read()
        known = all
        return all[platform.description]
      }
      guard let support, let interpreter = support.interpreter else { return support }
      return Files.exists(interpreter.path) ? support : nil
    }

    func record(_ platform: Platform, _ support: Emulation.Support) {
      if case .impossible = support { return }
      let all = known.withLock { known in
        var all = known ?? read()
        all[platform.description] = support
        known = all
        return all
      }
      let platforms = JSONObject(all.sorted { $0.key < $1.key }.map { ($0.key, EmulationMemory.json($0.value)) })
      let document = JSONValue.object(JSONObject([("circumstances", .string(circumstances)), ("platforms", .object(platforms))]))
      // Best effort: without it the next build asks again.
      try? Files.writeAtomically(document.encoded(), to: path, mode: 0o600, durable: false)
    }

    private func read() -> [String: Emulation.Support] {
      guard let bytes = try? Files.read(path, limit: 1 << 20), let document = try? JSONValue(parsing: bytes),
        document["circumstances"]?.stringValue == circumstances, let platforms = document["platforms"]?.objectValue
      else { return [:] }
      var found: [String: Emulation.Support] = [:]
      for (name, value) in platforms.members { found[name] = EmulationMemory.support(value) }
      return found
    }

    /// A file of the same place, size and times is the same program.
    private static func identity(_ path: String) -> String? {
      (try? Files.status(path)).map { "\($0.device) \($0.inode) \($0.size) \($0.mtime) \($0.ctime)" }
    }

    private static func json(_ support: Emulation.Support) -> JSONValue {
      var object = JSONObject()
      switch support {
      case .native, .impossible: object["kind"] = "native"
      case .hostRegistered(_, let mounted): (object["kind"], object["mounted"]) = ("host", .bool(mounted))
      case .privateRegistration(_, let line): (object["kind"], object["line"]) = ("private", .string(line))
      }
      if let interpreter = support.interpreter {
        object["path"] = .string(interpreter.path)
        object["version"] = interpreter.version.map { .string($0) }
        object["identity"] = identity(interpreter.path).map { .string($0) }
      }
      return .object(object)
    }

    private static func support(_ value: JSONValue) -> Emulation.Support? {
      guard value["kind"]?.stringValue != "native" else { return .native }
      guard let path = value["path"]?.stringValue, let kept = value["identity"]?.stringValue, identity(path) == kept else { return nil }
      let interpreter = Emulation.Interpreter(path: path, version: value["version"]?.stringValue)
      switch value["kind"]?.stringValue {
      case "host": return .hostRegistered(interpreter, mounted: value["mounted"]?.boolValue ?? false)
      case "private": return value["line"]?.stringValue.map { .privateRegistration(interpreter, line: $0) }
      default: return nil
      }
    }
  }

  extension Emulation.Support {
    fileprivate var interpreter: Emulation.Interpreter? {
      switch self {
      case .hostRegistered(let interpreter, _), .privateRegistration(let interpreter, _): interpreter
      case .native, .impossible: nil
      }
    }
  }
#endif
