import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A program that reads a file and whose output is read here: a decompressor that no library of ours is. Blocks; call through Blocking.run.
/// Who does not read to the end ends it by letting go of it.
package final class FilterProcess {
  package let output: Descriptor
  private let program: String
  private var pid: Int32

  /// Reads `input` from its position on, which moves. Throws `HostError`, `.notFound` when the program is not installed.
  package init(_ program: String, _ arguments: [String], input: Descriptor) throws {
    guard let path = Processes.executablePath(program) else {
      throw HostError(.notFound, errno: ENOENT, operation: "run", path: program, message: "the program is not installed")
    }
    let words = ([program] + arguments).map { strdup($0) }
    defer { for word in words { free(word) } }
    var reading: Int32 = -1
    pid = try checked(hostos_spawn_filter(path, words + [nil], input.raw, &reading), "run", path)
    output = Descriptor(owning: reading)
    self.program = program
  }

  /// Once all of its output is read: throws when the program did not end well.
  package func finish() throws {
    if pid == 0 { return }
    let code = hostos_wait_filter(pid)
    pid = 0
    if code != 0 { throw HostError(.system, operation: "run", path: program, message: code < 0 ? "cannot wait for it" : "it ended with exit code \(code)") }
  }

  deinit {
    guard pid != 0 else { return }
    _ = hostos_kill(pid, 9)
    _ = hostos_wait_filter(pid)
  }
}
