import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

package enum CgroupMode: String, Sendable, Codable {
  case v2
  /// v1 controllers, with a v2 tree beside them.
  case hybrid
  case v1
  case none
}

/// What this process may know of its host.
package enum HostFacts {
  /// Effective root, be it of a user namespace.
  package static var isRoot: Bool { geteuid() == 0 }
  package static var userID: UInt32 { geteuid() }
  package static var groupID: UInt32 { getegid() }

  package static var idMap: IDMap { IDMap.ofProcess("uid_map") }
  package static var groupIDMap: IDMap { IDMap.ofProcess("gid_map") }
  /// Whether ids here are not the machine's own.
  package static var inUserNamespace: Bool { !idMap.isInitial }

  /// Linux's version, (0, 0) where there is none.
  package static let kernel: KernelVersion = {
    #if os(Linux)
      KernelVersion(text: names.release) ?? KernelVersion(major: 0, minor: 0)
    #else
      KernelVersion(major: 0, minor: 0)
    #endif
  }()
  package static var kernelRelease: String { names.release }
  /// uname's machine, as "x86_64".
  package static var machine: String { names.machine }

  private static let names: (release: String, machine: String) = {
    var release = [CChar](repeating: 0, count: 256), machine = release
    hostos_uname(&release, release.count, &machine, machine.count)
    func text(_ c: [CChar]) -> String { String(decoding: c.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) }
    return (text(release), text(machine))
  }()

  /// Changes with every start of the machine; "" where unknown.
  package static let bootID: String = {
    Files.text("/proc/sys/kernel/random/boot_id").map { String($0.filter { !$0.isWhitespace }) } ?? ""
  }()

  /// Processors that this process may use: those it is bound to, and no more than its cgroup's quota.
  package static let cores: Int = {
    let bound = max(1, Int(hostos_cores()))
    guard let quota = Cgroup.cpuQuota() else { return bound }
    return max(1, min(bound, Int(quota.rounded(.up))))
  }()

  /// Bytes of memory that this process may use: the machine's, and no more than its cgroup's.
  package static let memory: UInt64 = {
    let machine = meminfo("MemTotal") ?? 1 << 30
    return min(machine, Cgroup.memoryLimit() ?? machine)
  }()

  /// Bytes that the machine, and this process's cgroup, can give without swapping.
  package static var availableMemory: UInt64 {
    let machine = meminfo("MemAvailable") ?? memory
    return min(machine, Cgroup.memoryLeft() ?? machine)
  }

  private static func meminfo(_ key: String) -> UInt64? {
    guard let text = Files.text("/proc/meminfo") else { return nil }
    for line in text.split(separator: "\n") where line.hasPrefix(key + ":") {
      return line.dropFirst(key.count + 1).split(separator: " ").first.flatMap { UInt64($0) }.map { $0 * 1024 }
    }
    return nil
  }

  package static var cgroupMode: CgroupMode { Cgroup.mode() }
}

package struct KernelVersion: Sendable, Comparable, CustomStringConvertible {
  package var major: Int
  package var minor: Int
  package init(major: Int, minor: Int) { (self.major, self.minor) = (major, minor) }

  init?(text: String) {
    let parts = text.split(separator: ".", maxSplits: 2).map { $0.prefix { $0.isNumber } }
    guard parts.count >= 2, let major = Int(parts[0]), let minor = Int(parts[1]) else { return nil }
    self.init(major: major, minor: minor)
  }

  package static func < (a: Self, b: Self) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
  package static func >= (a: Self, b: (Int, Int)) -> Bool { (a.major, a.minor) >= b }
  package var description: String { "\(major).\(minor)" }
}

enum Cgroup {
  static let root = "/sys/fs/cgroup"

  static func mode() -> CgroupMode {
    guard let magic = (try? FileSystemFacts.of(root))?.magic else { return .none }
    let v2: UInt64 = 0x6367_7270
    if magic == v2 { return .v2 }
    if (try? FileSystemFacts.of(root + "/unified"))?.magic == v2 { return .hybrid }
    guard let lines = Files.text("/proc/self/cgroup") else { return .none }
    return lines.split(separator: "\n").contains { !$0.hasPrefix("0::") } && Files.exists(root + "/memory") ? .v1 : .none
  }

  /// The values of a file in this process's group and in each group above it, up to the root. In a container only the mounted part shows.
  private static func chain(v2 file: String, v1 controller: String, _ v1File: String) -> [String] {
    chain(v2: file, v1: controller, v1File, also: []).compactMap { $0[file] ?? $0[v1File] }
  }

  /// The same with more files of each group, by their names.
  private static func chain(v2 file: String, v1 controller: String, _ v1File: String, also more: [String]) -> [[String: String]] {
    guard let text = Files.text("/proc/self/cgroup") else { return [] }
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let isV2 = fields[0] == "0"
      let isV1 = fields[1].split(separator: ",").contains(Substring(controller))
      guard isV2 && Files.exists(root + "/cgroup.controllers") || isV1 else { continue }
      let base = isV2 ? root : root + "/" + controller
      var parts = fields[2].split(separator: "/").filter { $0 != ".." }
      var groups: [[String: String]] = []
      while true {
        let group = ([Substring(base)] + parts).joined(separator: "/"), name = isV2 ? file : v1File
        if let value = Files.text(group + "/" + name) {
          var values = [name: value]
          for other in more { values[other] = Files.text(group + "/" + other) }
          groups.append(values)
        }
        if parts.popLast() == nil { return groups }
      }
    }
    return []
  }

  static func memoryLimit() -> UInt64? {
    // "max" is no number; v1's "no limit" is a huge one.
    chain(v2: "memory.max", v1: "memory", "memory.limit_in_bytes").compactMap { UInt64($0.filter { !$0.isWhitespace }) }.filter { $0 > 0 }.min()
  }

  /// The least that a group above has left; what it keeps of files that nobody uses can be had.
  static func memoryLeft() -> UInt64? {
    chain(v2: "memory.max", v1: "memory", "memory.limit_in_bytes", also: ["memory.current", "memory.usage_in_bytes", "memory.stat"]).compactMap { values -> UInt64? in
      func number(_ name: String) -> UInt64? { values[name].flatMap { UInt64($0.filter { !$0.isWhitespace }) } }
      guard let limit = number("memory.max") ?? number("memory.limit_in_bytes"), let used = number("memory.current") ?? number("memory.usage_in_bytes") else { return nil }
      let idle = values["memory.stat"]?.split(separator: "\n").first { $0.hasPrefix("inactive_file ") || $0.hasPrefix("total_inactive_file ") }
        .flatMap { $0.split(separator: " ").last }.flatMap { UInt64($0) } ?? 0
      let busy = used > idle ? used - idle : 0
      return limit > busy ? limit - busy : 0
    }.min()
  }

  static func cpuQuota() -> Double? {
    let v2 = chain(v2: "cpu.max", v1: "cpu", "cpu.cfs_quota_us")
    let periods = chain(v2: "cpu.max", v1: "cpu", "cpu.cfs_period_us")
    return zip(v2, periods).compactMap { quota, period -> Double? in
      let words = quota.split(whereSeparator: \.isWhitespace)
      guard let amount = words.first.flatMap({ Double($0) }), amount > 0 else { return nil }
      let length = words.count > 1 ? Double(words[1]) : Double(period.filter { !$0.isWhitespace })
      guard let length, length > 0 else { return nil }
      return amount / length
    }.min()
  }
}
