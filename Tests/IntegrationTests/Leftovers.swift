import Foundation
import HostOS

#if canImport(Glibc)
  import Glibc
#endif

/// What a build that ended leaves behind, and should not.
enum Leftovers {
  /// Processes that have one of the words in their environment or their command, and mounts beneath a path of that name in anybody's sight.
  static func of(_ words: [String]) -> [String] {
    var found: [String] = []
    for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
      guard let pid = Int32(name), pid != getpid(), let state = Files.text("/proc/\(pid)/stat")?.split(separator: ")").last?.first(where: { $0 != " " }), state != "Z" else { continue }
      for file in ["environ", "mountinfo", "cmdline"] {
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/\(file)") else { continue }
        for word in words where data.range(of: Data(word.utf8)) != nil { found.append("\(pid) \(Files.text("/proc/\(pid)/comm") ?? ""): \(word) in \(file)") }
      }
    }
    return found
  }

  /// Waits, `seconds` at most, until nothing is left; answers what is.
  static func of(_ words: [String], within seconds: Double) async throws -> [String] {
    let end = ContinuousClock.now + .seconds(seconds)
    while true {
      let left = of(words)
      if left.isEmpty || ContinuousClock.now >= end { return left }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  /// Files in the store that are of use only while something runs. To be looked at when a build ended well.
  static func files(inStore root: String) -> [String] {
    func names(_ directory: String) -> [String] { ((try? FileManager.default.contentsOfDirectory(atPath: root + "/" + directory)) ?? []).map { directory + "/" + $0 } }
    return (names("ingest") + names("run").filter { $0 != "run/emulation.json" }).sorted()
  }

  /// Control groups of steps, in any hierarchy.
  static func controlGroups(of pid: pid_t) -> [String] {
    guard let walk = FileManager.default.enumerator(atPath: "/sys/fs/cgroup") else { return [] }
    return walk.compactMap { $0 as? String }.filter { $0.contains("manifold-step-\(pid)-") }
  }
}
