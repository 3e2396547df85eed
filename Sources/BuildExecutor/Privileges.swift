import HostOS
import OCIModel

/// What `RUN --security=insecure` gives beyond the ordinary.
enum Privileges {
  /// By their numbers (linux/capability.h).
  static let names = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN",
    "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON",
    "BPF", "CHECKPOINT_RESTORE",
  ]

  /// Those that a `/proc/PID/status` says its process has.
  static func capabilities(inStatus text: String) -> [String] {
    for line in text.split(separator: "\n") where line.hasPrefix("CapEff:") {
      guard let mask = UInt64(line.dropFirst(7).filter { !$0.isWhitespace }, radix: 16) else { return [] }
      return names.indices.filter { mask >> UInt64($0) & 1 == 1 }.map { "CAP_" + names[$0] }
    }
    return []
  }

  /// This program's own: no step can have more.
  static var capabilities: [String] { capabilities(inStatus: Files.text("/proc/self/status") ?? "") }

  /// Device files that the step finds, as BuildKit's does.
  static var devices: [JSONValue] {
    let all: [(path: String, type: String, major: Int, minor: Int)] =
      [
        ("/dev/kmsg", "c", 1, 11), ("/dev/cuse", "c", 10, 203), ("/dev/fuse", "c", 10, 229), ("/dev/kvm", "c", 10, 232), ("/dev/net/tun", "c", 10, 200),
        ("/dev/loop-control", "c", 10, 237),
      ] + (0..<8).map { ("/dev/loop\($0)", "b", 7, $0) }
    return all.map { ["path": .string($0.path), "type": .string($0.type), "major": .int($0.major), "minor": .int($0.minor)] }
  }
}
