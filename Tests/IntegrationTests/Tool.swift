import Foundation
import HostOS
import OCIModel

/// The built program, with a store of its own.
struct Tool: Sendable {
  let binary: String
  let root: String

  /// MANIFOLD_BINARY, else the debug build of this package.
  static let binary: String? = {
    if let named = ProcessInfo.processInfo.environment["MANIFOLD_BINARY"], !named.isEmpty { return named }
    let path = packageDirectory + "/.build/debug/manifold"
    return Files.exists(path) ? path : nil
  }()

  /// What the program sees of the environment: no settings of whoever runs the tests, no credentials.
  func environment(_ more: [String: String] = [:]) -> [String: String] {
    ["PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": root + "-home", "MANIFOLD_ROOT": root].merging(more) { $1 }
  }

  /// Runs it to its end.
  func run(_ arguments: [String], environment more: [String: String] = [:], in directory: String? = nil, input: [UInt8] = [], limit: Int = 64 << 20) async throws -> ProcessOutput {
    try Files.makeDirectories(root + "-home")
    return try await Processes.run(binary, arguments, environment: environment(more), workingDirectory: directory, input: input, limit: limit)
  }
  func run(_ arguments: String...) async throws -> ProcessOutput { try await run(arguments) }

  /// Starts it, to be killed; its output and its errors go to one file.
  func start(_ arguments: [String], environment more: [String: String] = [:], output: String) throws -> Child {
    try Files.makeDirectories(root + "-home")
    return try Child(binary, arguments, environment: environment(more), outputPath: output)
  }
}

extension ProcessOutput {
  /// Everything it said, for a failing test's message.
  var everything: String { "\(status)\n\(outputText)\n\(errorText)" }
}

extension Tool {
  /// Whether the program can build at all yet: a checkout in which the parts are not joined says so and fails.
  static let builds: Bool = {
    guard let binary else { return false }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: binary)
    process.arguments = ["build", "--help"]
    (process.standardOutput, process.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
    guard (try? process.run()) != nil else { return false }
    process.waitUntilExit()
    if process.terminationStatus != 0 { print("SKIPPED: \(binary) cannot build images") }
    return process.terminationStatus == 0
  }()
}
