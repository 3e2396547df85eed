import HostOS
import LayerArchive
import OCIModel
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Applies a layer to a directory that has links out of it in wait, and looks whether anything beside that directory has changed.
enum LayerFuzz {
  private static let ground = Mutex<Result<LayerGround, any Error>?>(nil)

  static func apply(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    let options = input.byte()
    var archive = input.bytes
    if options & 1 != 0 { TarFuzz.reseal(&archive) }
    try ground.withLock { slot in
      let ground = try (slot ?? Result { try LayerGround() }).get()
      slot = .success(ground)
      try ground.apply(archive, options)
    }
  }
}

private final class LayerGround {
  private let base: String
  private let scratch: Directory
  private let before: [String]

  /// Everything beside the directory that layers go into, with what tells that it was touched.
  private static func surroundings(_ scratch: Directory) throws -> [String] {
    var out: [String] = []
    for name in ["outside", "lower"] {
      let directory = try scratch.openDirectory(name)
      for entry in try directory.entries().map(\.name).sorted() + ["."] {
        let s = try directory.status(entry)
        out.append("\(name)/\(entry) \(s.inode) \(s.mode) \(s.links) \(s.uid):\(s.gid) \(s.size) \(s.mtime) \(s.ctime)")
      }
    }
    return out + (try scratch.entries().map(\.name).filter { $0 != "root" }.sorted())
  }

  init() throws {
    base = "/tmp/manifold-fuzz-\(getpid())"
    guard mkdir(base, 0o700) == 0 || errno == EEXIST else { throw HostError(errno: errno, operation: "mkdir", path: base) }
    scratch = try Directory.open(base)
    for name in try scratch.entries().map(\.name) { try scratch.removeTree(name) }
    for name in ["outside", "lower"] {
      let directory = try scratch.makeDirectories(name)
      _ = try directory.openFile("canary", flags: [.writeOnly, .create], mode: 0o600)
      _ = try directory.makeDirectories("d")
      try directory.symlink(target: base + "/outside", at: "absolute")
      try directory.symlink(target: "../outside", at: "relative")
      try directory.symlink(target: "loop", at: "loop")
    }
    before = try LayerGround.surroundings(scratch)
  }

  deinit { rmdir(base) }

  func apply(_ archive: [UInt8], _ options: UInt8) throws {
    try scratch.removeTree("root")
    let root = try scratch.makeDirectories("root")
    let form: LayerApplier.Form
    switch options >> 1 & 7 {
    case 0: form = .overlay(userXattr: true, lower: .none)
    case 1: form = .overlay(userXattr: true, lower: .view(try scratch.openDirectory("lower")))
    case 2: form = .overlay(userXattr: true, lower: .later)
    case 3, 4, 5: form = .plain
    default: form = .archive
    }
    switch form {
    case .plain, .archive:
      try root.symlink(target: base + "/outside", at: "absolute")
      try root.symlink(target: "../outside", at: "relative")
      try root.symlink(target: "../../../../../../..", at: "top")
      _ = try root.makeDirectories("d/e")
      _ = try root.openFile("d/f", flags: [.writeOnly, .create], mode: 0o600)
    case .overlay: break
    }
    var limits = DecompressionLimits()
    (limits.maximumSize, limits.windowLog) = (1 << 20, 20)
    let applier = LayerApplier(form: form, isWindows: options & 0x40 != 0, tarLimits: TarFuzz.limits, decompressionLimits: limits, maximumEntries: 500, readsAhead: false)
    do { _ = try applier.apply(BytesSource(archive), to: root) } catch is LayerArchiveError {}
    try FuzzFinding.check(LayerGround.surroundings(scratch) == before, "something outside of the root has changed")
  }
}
