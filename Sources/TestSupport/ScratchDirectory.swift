import Foundation

/// A directory of a test's own, removed with all it holds when the last reference goes.
package final class ScratchDirectory: Sendable {
  package let path: String

  /// Under `TMPDIR` or /tmp; `label` is for whoever finds one left by a killed test.
  package init(_ label: String = "test") throws {
    let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
    path = base + "/manifold-\(label)-\(UUID().uuidString.prefix(13))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { ScratchDirectory.remove(path) }

  /// Removes a tree even when directories in it forbid it.
  private static func remove(_ path: String) {
    if (try? FileManager.default.removeItem(atPath: path)) != nil { return }
    for case let name as String in FileManager.default.enumerator(atPath: path) ?? .init() {
      try? FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: path + "/" + name)
    }
    try? FileManager.default.removeItem(atPath: path)
  }

  package func file(_ name: String) -> String { path + "/" + name }

  /// Writes a file, making the directories above it. Returns its path.
  @discardableResult
  package func write(_ name: String, _ bytes: [UInt8], mode: Int = 0o644) throws -> String {
    let full = file(name)
    if let slash = full.lastIndex(of: "/") { try FileManager.default.createDirectory(atPath: String(full[..<slash]), withIntermediateDirectories: true) }
    try Data(bytes).write(to: URL(fileURLWithPath: full))
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: full)
    return full
  }
  @discardableResult
  package func write(_ name: String, _ text: String, mode: Int = 0o644) throws -> String { try write(name, Array(text.utf8), mode: mode) }

  package func read(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: file(name)))) }
}
