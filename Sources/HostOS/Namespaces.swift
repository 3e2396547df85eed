#if os(Linux)
  import CHostOS

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// Namespaces in which this process is root over its ids and mounts. The work is done by CHostOS (stage.c) before Swift has a thread.
  package enum Namespaces {
    package struct State: Sendable, Equatable {
      package var idMap: IDMap
      package var groupIDMap: IDMap
      package var inUserNamespace: Bool
      /// What went less well than it could.
      package var notes: [String]
    }

    /// Whether this process has been through `enterIfNeeded`.
    package static var isInside: Bool {
      guard let mark = environment("MANIFOLD_NS") else { return false }
      let numbers = mark.split(separator: " ").compactMap { UInt64($0) }
      // The mark is inherited by programs that have left the namespaces since.
      return numbers.count == 2 && (try? Files.status("/proc/self/ns/user").inode) == numbers[0] && (try? Files.status("/proc/self/ns/mnt").inode) == numbers[1]
    }

    /// Makes this process root in a mount namespace of its own: as root by leaving the host's, as an ordinary user by a user namespace as well. To be
    /// called at the very start of main, for the program starts anew: the call comes back in the new start only. Throws when the host forbids it,
    /// with the way to allow it.
    @discardableResult
    package static func enterIfNeeded() throws -> State {
      if isInside { return current }
      if let failure = environment("MANIFOLD_NS_ERROR") {
        unsetenv("MANIFOLD_NS_ERROR")
        throw explain(failure)
      }
      setenv("MANIFOLD_STAGE", "namespaces", 1)
      let result = hostos_reexec(CommandLine.unsafeArgv)
      unsetenv("MANIFOLD_STAGE")
      throw HostError(errno: -result, operation: "start again in namespaces", path: "/proc/self/exe")
    }

    /// As `enterIfNeeded`, but where that is forbidden this process goes on without, and what stands in the way is the answer.
    package static func enterIfPossible() throws -> HostError? {
      do { try enterIfNeeded() } catch let error as HostError where error.code == .unavailable { return error }
      return nil
    }

    package static var current: State {
      State(
        idMap: HostFacts.idMap, groupIDMap: HostFacts.groupIDMap, inUserNamespace: HostFacts.inUserNamespace,
        notes: environment("MANIFOLD_NS_NOTE").map { $0.split(separator: ";").map { String($0.drop { $0 == " " }) } } ?? [])
    }

    private static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    /// Says which of the host's switches stands in the way.
    static func explain(_ failure: String, read: (String) -> String? = { Files.text($0) }) -> HostError {
      let words = failure.split(separator: " ")
      let step = words.first.map(String.init) ?? "", number = words.count > 1 ? Int32(words[1]) ?? 0 : 0
      func setting(_ path: String) -> Int? { read(path).flatMap { Int($0.filter { !$0.isWhitespace }) } }
      func error(_ message: String) -> HostError { HostError(.unavailable, errno: number, operation: "enter a user namespace", message: message) }
      // Ubuntu lets the namespace be made, and then nothing be done in it.
      func appArmor() -> HostError? {
        guard setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 else { return nil }
        return error("AppArmor forbids unprivileged user namespaces; allow them with: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give this program an AppArmor profile with \"userns,\"")
      }
      if step.hasPrefix("unshare") {
        if setting("/proc/sys/user/max_user_namespaces") == 0 {
          return error("this host allows no user namespaces; allow them with: sudo sysctl user.max_user_namespaces=15000")
        }
        if setting("/proc/sys/kernel/unprivileged_userns_clone") == 0 {
          return error("this host allows user namespaces to root only; allow them with: sudo sysctl kernel.unprivileged_userns_clone=1, or run as root")
        }
        if let error = appArmor() { return error }
        if number == ENOSPC { return error("too many user namespaces are open; see: sysctl user.max_user_namespaces") }
        if number == EINVAL { return error("the kernel was built without user namespaces; run as root") }
        return error("the container or host that this runs in forbids user namespaces (a seccomp profile or AppArmor); in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined, or --privileged")
      }
      return appArmor() ?? error("\(step) failed")
    }
  }
#endif
