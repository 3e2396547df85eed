internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import GRPCCore
internal import SwiftProtobuf
internal import Synchronization

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// One ExecProcess stream: processes of the build's containers, what they read and write, how they end.
final class ProcessStream: Sendable {
  typealias Message = Moby_Buildkit_V1_Frontend_ExecMessage
  static let maximumProcesses = 128
  /// The code of a process that could not be run.
  static let unknownExit = UInt32.max

  private let build: BridgeBuild
  private let writer: RPCWriter<Message>
  private struct Running: Sendable {
    var process: any FrontendProcess
    var hasInput: Bool
  }
  private let processes = Mutex<[String: Running]>([:])

  init(build: BridgeBuild, writer: RPCWriter<Message>) {
    self.build = build
    self.writer = writer
  }

  /// Until all processes have ended and the client sends nothing more. A client that goes away takes its processes' streams with it.
  func run(_ messages: RPCAsyncSequence<Message, any Error>) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for try await message in messages {
        guard !message.processID.isEmpty else { throw BuildError(.invalidArgument, .usage, "ProcessID required") }
        guard let input = message.input else { continue }
        if case .init_p(let initial) = input {
          let id = message.processID
          let process = try await start(id, initial)
          group.addTask { try await self.follow(id, process, Set(initial.fds)) }
          continue
        }
        try await pass(input, to: message.processID)
      }
      // Nothing more comes for their input.
      for running in processes.withLock({ Array($0.values) }) where running.hasInput { await running.process.closeInput() }
      try await group.waitForAll()
    }
  }

  private func running(_ id: String) throws -> Running {
    guard let found = processes.withLock({ $0[id] }) else { throw BuildError(.notFound, .usage, "IO for process \"\(id)\" not found") }
    return found
  }

  private func pass(_ input: Message.OneOf_Input, to id: String) async throws {
    switch input {
    case .file(let file):
      let one = try running(id)
      guard file.fd == 0, one.hasInput else { throw BuildError(.invalidArgument, .usage, "fd \(file.fd) unavailable to write") }
      if !file.data.isEmpty { await one.process.write(Array(file.data)) }
      if file.eof { await one.process.closeInput() }
    case .resize(let size): try running(id).process.resize(rows: UInt16(clamping: size.rows), columns: UInt16(clamping: size.cols))
    case .signal(let signal):
      guard let number = SignalNames.number(signal.name) else { throw BuildError(.invalidArgument, .usage, "Unknown signal \(signal.name)") }
      try running(id).process.signal(number)
    case .init_p, .started, .exit, .done: break
    }
  }

  private func start(_ id: String, _ initial: Moby_Buildkit_V1_Frontend_InitMessage) async throws -> any FrontendProcess {
    try processes.withLock { processes in
      if processes[id] != nil { throw BuildError(.failedPrecondition, .usage, "Process \(id) already exists") }
      if processes.count >= Self.maximumProcesses { throw BuildError(.resourceExhausted, .usage, "more than \(Self.maximumProcesses) processes of one stream") }
    }
    let fds = Set(initial.fds)
    let request = ContainerProcessRequest(
      meta: initial.meta, secretEnvironment: initial.secretenv, security: initial.security, hasTerminal: initial.tty, hasInput: fds.contains(0))
    // What it writes comes after the word that it was started.
    let gate = Gate()
    let process = try await build.container(initial.containerID).start(request) { [writer] stream, bytes in
      guard fds.contains(stream) else { return }
      await gate.wait()
      try? await writer.write(.with {
        $0.processID = id
        $0.file = .with {
          $0.fd = stream
          $0.data = Data(bytes)
        }
      })
    }
    processes.withLock { $0[id] = Running(process: process, hasInput: fds.contains(0)) }
    defer { gate.open() }
    try await writer.write(.with {
      $0.processID = id
      $0.started = .init()
    })
    return process
  }

  /// To its end, as the client is told it: the ends of its outputs, its exit, and that there is nothing more.
  private func follow(_ id: String, _ process: any FrontendProcess, _ fds: Set<UInt32>) async throws {
    var exit = Moby_Buildkit_V1_Frontend_ExitMessage()
    do {
      let code = try await process.wait()
      if code != 0 {
        exit.code = UInt32(bitPattern: code)
        exit.error = .with { ($0.code, $0.message) = (2, "exit code: \(code)") }
      }
    } catch {
      exit.code = Self.unknownExit
      exit.error = WireErrors.status(error)
    }
    processes.withLock { $0[id] = nil }
    for fd in fds.sorted() where fd != 0 {
      try await writer.write(.with {
        $0.processID = id
        $0.file = .with { ($0.fd, $0.eof) = (fd, true) }
      })
    }
    try await writer.write(.with {
      $0.processID = id
      $0.exit = exit
    })
    try await writer.write(.with {
      $0.processID = id
      $0.done = .init()
    })
  }
}

/// Opens once, for any number who wait.
private final class Gate: Sendable {
  private let state = Mutex<(isOpen: Bool, waiting: [CheckedContinuation<Void, Never>])>((false, []))
  func open() {
    let waiting = state.withLock { state in
      defer { state = (true, []) }
      return state.waiting
    }
    for one in waiting { one.resume() }
  }
  func wait() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        if !state.isOpen { state.waiting.append(continuation) }
        return state.isOpen
      }
      if isOpen { continuation.resume() }
    }
  }
}

/// Signals by the names that clients use, with or without SIG: Linux's numbers.
enum SignalNames {
  private static let numbers: [String: Int32] = [
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
    "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29,
    "POLL": 29, "PWR": 30, "SYS": 31,
  ]
  static func number(_ name: String) -> Int32? { numbers[name.uppercased().hasPrefix("SIG") ? String(name.uppercased().dropFirst(3)) : name.uppercased()] }
}
