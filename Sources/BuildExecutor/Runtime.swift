import HostOS

/// The OCI runtime of the system that starts containers.
package struct Runtime: Sendable, Equatable {
  package enum Kind: Sendable { case crun, runc }
  package let kind: Kind
  package let path: String

  /// crun, else runc: crun starts a container several times faster. `named`: a program to use instead, by name or path.
  /// Blocks a little. Throws `ExecutorError.runtimeMissing`.
  package static func find(named: String? = nil, path: String? = nil) throws -> Runtime {
    if let named {
      guard let found = Processes.executablePath(named, path: path) else {
        throw ExecutorError(.runtimeMissing, "the OCI runtime \(named) is not installed or not executable")
      }
      let name = found.split(separator: "/").last.map(String.init) ?? found
      return Runtime(kind: name.contains("crun") ? .crun : .runc, path: found)
    }
    for (name, kind) in [("crun", Kind.crun), ("runc", .runc)] {
      if let found = Processes.executablePath(name, path: path) { return Runtime(kind: kind, path: found) }
    }
    throw ExecutorError(
      .runtimeMissing, "no OCI runtime is installed, which RUN needs: install crun or runc (Debian, Ubuntu: sudo apt-get install crun; Fedora: sudo dnf install crun)")
  }

  /// The command that runs the bundle in `scratch`, with its state there too.
  func arguments(scratch: String, id: String) -> [String] {
    let common = [path, "--root", scratch + "/state", "--log", scratch + "/log"]
    switch kind {
    case .crun: return common + ["--cgroup-manager=disabled", "run", "--bundle", scratch, id]
    case .runc: return common + ["--log-format", "text", "run", "--bundle", scratch, id]
    }
  }

  /// What the runtime's log says went wrong, in one line.
  static func message(inLog log: String) -> String? {
    let errors = log.split(separator: "\n").filter { line in !["level=warning", "level=info", "level=debug"].contains { line.contains($0) } }
    let lines: [String] = errors.map { (line: Substring) -> String in
      // crun: "2024-01-01T00:00:00.000Z: message"; runc: time="…" level=error msg="message"
      if let start = line.firstRange(of: "msg=\"") {
        var message = line[start.upperBound...]
        if message.last == "\"" { message.removeLast() }
        return String(message).replacing("\\\"", with: "\"")
      }
      if let colon = line.firstRange(of: "Z: ") { return String(line[colon.upperBound...]) }
      return String(line)
    }
    return lines.last { !$0.isEmpty }
  }
}
