internal import HostOS

/// What of this machine makes a build less than it would be elsewhere, one line each, with the mend.
enum EnvironmentNotes {
  /// Blocks.
  static func all(root: String, obstacle: String?, overlayProblem: String?) -> [String] {
    var notes: [String] = []
    if let obstacle { notes.append("steps (RUN) cannot run here, all else can: \(obstacle)") }
    if OwnerRecords.need == .few {
      let why = reasons().first ?? "this user namespace has one id only"
      notes.append("\(why): images keep the owners of their files, but steps can neither give files to other users nor run as one; mend it with: \(mend(why)), and a new --root")
    }
    if let overlayProblem { notes.append("each step copies its whole tree, since overlays cannot be mounted: \(overlayProblem)") }
    if OwnerRecords.need != .none, !OwnerRecords.work(in: root) {
      notes.append("the filesystem of \(root) has no user attributes, in which owners are remembered: files can be root's only; use a --root on ext4, xfs, btrfs or (from Linux 6.6) tmpfs")
    }
    return notes
  }

  private static func mend(_ why: String) -> String {
    if why.contains("is not installed") { return "sudo apt-get install uidmap (Fedora: shadow-utils)" }
    if why.contains(" failed (") { return "sudo chmod u+s $(command -v newuidmap newgidmap), unless a container around this forbids it (no_new_privs)" }
    return "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
  }

  private static func reasons() -> [String] {
    #if os(Linux)
      return Namespaces.current.notes
    #else
      return []
    #endif
  }
}
