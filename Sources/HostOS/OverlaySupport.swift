#if os(Linux)
  /// Whether overlay mounts can be made with their layers in a directory, found out by making one.
  package enum OverlaySupport: Sendable, Equatable {
    /// `userXattr`: the marks must be in user.overlay.*.
    case works(userXattr: Bool)
    case impossible(reason: String)

    /// Blocks; call through Blocking.run.
    package static func probe(in directory: String) -> OverlaySupport {
      let scratch: String
      do { scratch = try Files.makeTemporaryDirectory(in: directory, prefix: "probe-") } catch { return .impossible(reason: "\(error)") }
      defer { try? Files.removeTree(scratch) }
      let userXattr = HostFacts.inUserNamespace
      do {
        try check(scratch, userXattr: userXattr)
        return .works(userXattr: userXattr)
      } catch {
        return .impossible(reason: reason(error, directory))
      }
    }

    private static func check(_ scratch: String, userXattr: Bool) throws {
      for name in ["lower", "lower2", "upper", "work"] { try Files.makeDirectories("\(scratch)/\(name)") }
      let base = try Directory.open(scratch)
      try base.makeDirectory("lower/d")
      try base.openFile("lower/d/f", flags: [.writeOnly, .create]).close()
      try base.openFile("lower/g", flags: [.writeOnly, .create]).close()
      let merged = try Mounts.open(
        .overlay(lowers: ["\(scratch)/lower", "\(scratch)/lower2"], upper: "\(scratch)/upper", work: "\(scratch)/work", userXattr: userXattr))
      // A whiteout and an opaque directory: these need a filesystem with attributes, entry types and devices 0:0.
      try merged.unlink("g")
      try merged.removeTree("d")
      try merged.makeDirectory("d")
      guard try base.status("upper/g").isWhiteout, try base.xattr("upper/d", userXattr ? "user.overlay.opaque" : "trusted.overlay.opaque") != nil else {
        throw HostError(.notSupported, operation: "overlay", message: "deletions are not marked as expected")
      }
    }

    private static func reason(_ error: any Error, _ directory: String) -> String {
      let kind = (try? FileSystemFacts.of(directory))?.kind
      if kind == .overlay { return "\(directory) is itself on an overlay filesystem; a root on another filesystem (--root) is faster" }
      return "\(error)"
    }
  }
#endif
