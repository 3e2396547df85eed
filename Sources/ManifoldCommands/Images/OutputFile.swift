internal import BuildInterface
internal import HostOS

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// A file that a command writes: it appears whole or not at all, beside the old one until then. What is no regular file (a pipe, a device) is written to as it is.
enum OutputFile {
  /// nil is standard output. Blocks; call through Blocking.run. Throws `HostError` or `BuildError`.
  static func write(to path: String?, _ body: (HostOS.Descriptor) throws -> Void) throws {
    guard let given = path else { return try body(HostOS.Descriptor.duplicate(of: STDOUT_FILENO)) }
    // The file behind a symbolic link is replaced, not the link.
    let path = (try? Files.status(given, followLast: false))?.kind == .symbolicLink ? resolved(given) ?? given : given
    let present = try? Files.status(path)
    switch present?.kind {
    case .directory: throw BuildError.usage("\(given) is a directory")
    case nil, .regular: break
    default: return try body(HostOS.Descriptor.open(path, flags: .writeOnly))
    }
    let slash = path.utf8.lastIndex(of: 0x2f)
    let folder = slash.map { String(path[..<$0]) } ?? "."
    let name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
    let directory: Directory
    do { directory = try Directory.open(folder.isEmpty ? "/" : folder) } catch let error as HostError where error.code == .notFound {
      throw BuildError.usage("cannot write \(given): there is no directory \(folder)")
    }
    let temporary = ".\(name.prefix(200)).\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
    let file = try directory.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o600, follow: .none)
    do {
      try body(file)
      if let present { try file.setMode(present.permissions) }
      try file.syncData()
      try file.close()
      try directory.rename(temporary, to: name)
    } catch {
      try? directory.unlink(temporary)
      throw error
    }
  }

  private static func resolved(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
