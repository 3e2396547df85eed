import CHostOS
import Subprocess
import SystemPackage

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

package struct ProcessOutput: Sendable {
  package enum Status: Sendable, Equatable, CustomStringConvertible {
    case exited(Int32)
    case signalled(Int32)
    package var description: String {
      switch self {
      case .exited(let code): "exit code \(code)"
      case .signalled(let number): "killed by signal \(number)"
      }
    }
  }

  package var status: Status
  package var output: [UInt8]
  package var errors: [UInt8]
  package var succeeded: Bool { status == .exited(0) }
  package var outputText: String { String(decoding: output, as: UTF8.self) }
  package var errorText: String { String(decoding: errors, as: UTF8.self) }
}

package enum Processes {
  /// Where a program is: `name` itself when it has a slash, else the first executable file of that name in PATH (that of `path` when given), then in the
  /// places that a user's PATH often lacks. Blocks a little.
  package static func executablePath(_ name: String, path: String? = nil) -> String? {
    if name.contains("/") { return isExecutable(name) ? name : nil }
    let list = path ?? getenv("PATH").map { String(cString: $0) } ?? ""
    let directories = list.split(separator: ":").map(String.init) + ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"]
    for directory in directories where directory.hasPrefix("/") {
      let candidate = directory + "/" + name
      if isExecutable(candidate) { return candidate }
    }
    return nil
  }

  private static func isExecutable(_ path: String) -> Bool {
    (try? Files.status(path))?.kind == .regular && (try? withPath(path, "access") { access($0, X_OK) }) == 0
  }

  /// Runs a program to its end and collects what it says. Cancelling the task kills it. A program that cannot be started is an error, one that
  /// fails is not. `environment` nil: this process's own. More than `limit` bytes on either stream is an error.
  package static func run(
    _ program: String, _ arguments: [String] = [], environment: [String: String]? = nil, workingDirectory: String? = nil, input: [UInt8] = [],
    limit: Int = 1 << 20
  ) async throws -> ProcessOutput {
    guard let path = executablePath(program) else {
      throw HostError(.notFound, errno: ENOENT, operation: "run", path: program, message: "the program is not installed")
    }
    var custom: [Subprocess.Environment.Key: String] = [:]
    for (key, value) in environment ?? [:] { if let key = Subprocess.Environment.Key(rawValue: key) { custom[key] = value } }
    // A file, not a pipe: a program may end without reading its input, and Subprocess 1.0 ends our process when writing to it then fails.
    let file = Descriptor(owning: try checked(hostos_memory_file(), "memfd_create", path))
    try input.withUnsafeBytes { if !$0.isEmpty { try file.write($0, at: 0) } }
    defer { withExtendedLifetime(file) {} }
    do {
      let result = try await Subprocess.run(
        .path(FilePath(path)), arguments: Arguments(arguments), environment: environment == nil ? .inherit : .custom(custom),
        workingDirectory: workingDirectory.map { FilePath($0) }, input: .fileDescriptor(FileDescriptor(rawValue: file.raw), closeAfterSpawningProcess: false),
        output: .bytes(limit: limit), error: .bytes(limit: limit))
      let status: ProcessOutput.Status =
        switch result.terminationStatus {
        case .exited(let code): .exited(code)
        case .signaled(let number): .signalled(number)
        }
      return ProcessOutput(status: status, output: result.standardOutput, errors: result.standardError)
    } catch let error as CancellationError {
      throw error
    } catch {
      try Task.checkCancellation()
      throw HostError(.system, operation: "run", path: path, cause: error)
    }
  }

  package static func kill(_ pid: Int32, signal: Int32) throws { try checked(hostos_kill(pid, signal), "kill", "\(pid)") }

  /// Processes beneath `pid`, found in /proc, killed from the top so that none can start another unseen.
  package static func killTree(_ pid: Int32) {
    _ = hostos_kill(pid, SIGSTOP)
    for child in children(of: pid) { killTree(child) }
    _ = hostos_kill(pid, SIGKILL)
  }

  package static func children(of pid: Int32) -> [Int32] {
    guard let tasks = try? Directory.open("/proc/\(pid)/task").entries() else { return [] }
    return tasks.flatMap { task in
      (Files.text("/proc/\(pid)/task/\(task.name)/children") ?? "").split(separator: " ").compactMap { Int32($0) }
    }
  }
}

/// A process among all that ever were: its number is used again, its start time with it is not.
package struct ProcessIdentity: Sendable, Hashable, Codable {
  package var pid: Int32
  /// Clock ticks since boot.
  package var startTime: UInt64
  package var bootID: String
  /// The namespace that `pid` is counted in.
  package var pidNamespace: UInt64

  package static let current = ProcessIdentity(
    pid: getpid(), startTime: startTime(of: getpid()) ?? 0, bootID: HostFacts.bootID, pidNamespace: (try? Files.status("/proc/self/ns/pid").inode) ?? 0)

  package init(pid: Int32, startTime: UInt64, bootID: String, pidNamespace: UInt64) {
    (self.pid, self.startTime, self.bootID, self.pidNamespace) = (pid, startTime, bootID, pidNamespace)
  }

  /// Whether the process may live. One of another PID namespace (another container on the same root) cannot be asked and counts as alive.
  package var mayBeAlive: Bool {
    let here = ProcessIdentity.current
    if self == here { return true }
    if bootID != here.bootID { return false }
    if pidNamespace != here.pidNamespace { return true }
    #if os(Linux)
      return ProcessIdentity.startTime(of: pid) == startTime
    #else
      return hostos_kill(pid, 0) != -ESRCH
    #endif
  }

  package static func startTime(of pid: Int32) -> UInt64? {
    // The second field is the program's name in brackets, which may hold brackets and spaces itself.
    guard let text = Files.text("/proc/\(pid)/stat"), let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    // A process that is dead and only not yet collected holds nothing any more.
    if fields.first == "Z" || fields.first == "X" { return nil }
    return fields.count > 19 ? UInt64(fields[19]) : nil
  }
}
