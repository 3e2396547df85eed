import Foundation
import HostOS
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Somebody who is not root, to run the program as: made for a test and removed with it when root runs the tests, else whoever does.
struct OrdinaryUser: Sendable {
  enum IDs: Sendable {
    /// Ranges in /etc/subuid and /etc/subgid.
    case many
    /// His own alone.
    case one
  }
  /// What stands between him and the program.
  enum Circumstance: Sendable {
    case none
    /// No binfmt_misc is to be seen, as on a host where nobody mounted it.
    case noBinfmtTable
    /// User namespaces are forbidden.
    case noNamespaces
    /// What is setuid is not (a container's no_new_privs): newuidmap cannot map ranges.
    case noNewPrivileges
  }
  let name: String
  let uid: UInt32
  let gid: UInt32
  private let isMade: Bool

  static let canBeMade = HostFacts.isRoot && ["useradd", "usermod", "userdel", "setpriv", "unshare", "newuidmap"].allSatisfy { Processes.executablePath($0) != nil }

  /// Runs `body` with a user, and removes him. Says aloud that it skips when there can be none.
  static func with(_ ids: IDs, _ body: (OrdinaryUser) async throws -> Void) async throws {
    if !HostFacts.isRoot {
      let ranges = Files.text("/etc/subuid") ?? "", me = NSUserName()
      let hasRanges = ranges.split(separator: "\n").contains { $0.hasPrefix(me + ":") || $0.hasPrefix("\(HostFacts.userID):") }
      guard hasRanges == (ids == .many) else { return print("SKIPPED: this user has \(hasRanges ? "" : "no ")subordinate ids, and only root can make another user") }
      return try await body(OrdinaryUser(name: me, uid: HostFacts.userID, gid: HostFacts.groupID, isMade: false))
    }
    guard canBeMade else { return print("SKIPPED: no useradd, setpriv or newuidmap to make an ordinary user with") }
    let name = "manifold-i\(getpid() % 10000)-\(UInt16.random(in: 0...999))"
    try await checked("useradd", ["-M", "-d", "/tmp", name])
    do {
      // useradd may have given him ranges.
      _ = try await Processes.run("usermod", ["--del-subuids", "1-4294967294", "--del-subgids", "1-4294967294", name])
      if ids == .many { try await checked("usermod", ["--add-subuids", "1300000-1365535", "--add-subgids", "1400000-1465535", name]) }
      let uid = try #require(UInt32(try await checked("id", ["-u", name]).outputText.trimmingCharacters(in: .whitespacesAndNewlines)))
      let gid = try #require(UInt32(try await checked("id", ["-g", name]).outputText.trimmingCharacters(in: .whitespacesAndNewlines)))
      try await body(OrdinaryUser(name: name, uid: uid, gid: gid, isMade: true))
    } catch {
      _ = try? await Processes.run("userdel", [name])
      throw error
    }
    try await checked("userdel", [name])
  }

  /// A directory of his own in the environment's, which he can reach.
  func directory(_ name: String, in environment: Environment) throws -> String {
    let path = "\(environment.scratch)/\(name)"
    try Files.makeDirectories(path)
    try Directory.open(environment.scratch).setMode(".", 0o755)
    if isMade { try Directory.open(path).setOwner(".", uid: uid, gid: gid) }
    return path
  }

  /// The words that run a command as him.
  func words(_ command: [String], _ circumstance: Circumstance) -> [String] {
    var words = command
    switch circumstance {
    case .none, .noBinfmtTable: break
    case .noNamespaces:
      // In a namespace in which he is himself and none deeper may be made, without privileges.
      let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all \"$@\""
      words = ["unshare", "--user", "--map-user=\(uid)", "--map-group=\(gid)", "--keep-caps", "sh", "-c", script, "sh"] + words
    case .noNewPrivileges: words = ["setpriv", "--no-new-privs"] + words
    }
    if isMade { words = ["setpriv", "--reuid", "\(uid)", "--regid", "\(gid)", "--init-groups"] + words }
    if circumstance == .noBinfmtTable, isMade {
      words = ["unshare", "--mount", "sh", "-c", "umount -l /proc/sys/fs/binfmt_misc 2>/dev/null; exec \"$@\"", "sh"] + words
    }
    return words
  }

  /// Runs the program as him, with the store `root`.
  func run(
    _ tool: Tool, root: String, _ arguments: [String], _ circumstance: Circumstance = .none, environment more: [String: String] = [:]
  ) async throws -> ProcessOutput {
    let all = words([tool.binary] + arguments, circumstance)
    return try await Processes.run(
      all[0], Array(all.dropFirst()), environment: tool.environment(["MANIFOLD_ROOT": root, "HOME": root + "-home"].merging(more) { $1 }), workingDirectory: "/", limit: 64 << 20)
  }
}
