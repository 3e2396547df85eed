@testable import HostOS
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct ProcessTests {
  @Test func runningPrograms() async throws {
    let echo = try await Processes.run("sh", ["-c", "cat; echo err >&2; exit 3"], input: Array("in".utf8))
    #expect(echo.status == .exited(3) && echo.outputText == "in" && echo.errorText == "err\n" && !echo.succeeded)
    let environment = try await Processes.run("/usr/bin/env", environment: ["A": "b"], workingDirectory: "/")
    #expect(environment.outputText == "A=b\n")
    #expect(try await Processes.run("sh", ["-c", "kill -9 $$"]).status == .signalled(9))
    // A program that does not read its input.
    for _ in 0..<20 { #expect(try await Processes.run("true", input: [UInt8](repeating: 1, count: 300_000)).succeeded) }
    await #expect(throws: HostError.self) { _ = try await Processes.run("no-such-program-anywhere") }
    await #expect(throws: HostError.self) { _ = try await Processes.run("yes", limit: 1000) }
  }

  @Test(.timeLimit(.minutes(10))) func cancellingKills() async throws {
    let task = Task { try await Processes.run("sleep", ["100000"]) }
    try await Task.sleep(for: .milliseconds(100))
    task.cancel()
    let ended = try? await task.value
    #expect(ended == nil || ended?.status == .signalled(SIGKILL))
  }

  @Test func findingExecutables() throws {
    try withScratch { path in
      try Files.writeAtomically([], to: path + "/tool", mode: 0o755)
      try Files.writeAtomically([], to: path + "/data", mode: 0o644)
      #expect(Processes.executablePath("tool", path: "/nowhere:" + path) == path + "/tool")
      #expect(Processes.executablePath("data", path: path) == nil)
      #expect(Processes.executablePath("sh") != nil)
      #expect(Processes.executablePath(path + "/tool") == path + "/tool")
      #expect(Processes.executablePath(path) == nil)
    }
  }

  @Test func identities() async throws {
    #expect(ProcessIdentity.current.mayBeAlive)
    #expect(ProcessIdentity.current.startTime > 0)
    var other = ProcessIdentity.current
    other.startTime += 1
    #expect(!other.mayBeAlive)
    other = .current
    other.bootID = "another"
    #expect(!other.mayBeAlive)
    other = .current
    (other.pidNamespace, other.pid) = (1, 1)
    #expect(other.mayBeAlive)
  }

  @Test func signalsAreValues() async throws {
    let first = try Signals.events([SIGUSR1]), second = try Signals.events([SIGUSR1, SIGUSR2])
    kill(getpid(), SIGUSR1)
    kill(getpid(), SIGUSR2)
    var a = first.makeAsyncIterator(), b = second.makeAsyncIterator()
    #expect(await a.next() == SIGUSR1)
    #expect(await Set([b.next(), b.next()]) == [SIGUSR1, SIGUSR2])
  }

  @Test func killingTrees() async throws {
    try await withScratch { path in
      let task = Task { try await Processes.run("sh", ["-c", "sleep 321 & echo $! > \(path)/child; echo $$ > \(path)/parent.tmp; mv \(path)/parent.tmp \(path)/parent; wait"]) }
      while !Files.exists(path + "/parent") { try await Task.sleep(for: .milliseconds(5)) }
      let parent = try #require(Files.text(path + "/parent").flatMap { Int32($0.filter { !$0.isWhitespace }) })
      let child = try #require(Files.text(path + "/child").flatMap { Int32($0.filter { !$0.isWhitespace }) })
      Processes.killTree(parent)
      #expect(try await task.value.status == .signalled(SIGKILL))
      for _ in 0..<200 where ProcessIdentity.startTime(of: child) != nil { try await Task.sleep(for: .milliseconds(5)) }
      #expect(ProcessIdentity.startTime(of: child) == nil)
    }
  }

  /// Eight bodies that each wait for the others to come.
  @Test func blockingWorkIsParallel() async throws {
    let (reader, writer) = try Descriptor.pipe()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<8 {
        group.addTask { () async throws -> Void in
          try await Blocking.run {
            if index < 7 {
              var byte: UInt8 = 0
              _ = try withUnsafeMutableBytes(of: &byte) { try reader.read(into: $0) }
            } else {
              try writer.write([UInt8](repeating: 0, count: 7))
            }
          }
        }
      }
      try await group.waitForAll()
    }
  }
}
