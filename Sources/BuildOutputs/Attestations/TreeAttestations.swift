internal import BuildInterface
internal import HostOS
internal import LayerArchive
internal import OCIModel

/// The attestations of one target's files, as files beside them.
struct TreeAttestations: Sendable {
  /// Each with its name and predicate.
  private let items: [(name: String, attestation: Attestation, predicate: JSONValue)]

  /// - Parameter platform: said in the file's name, where targets share a folder.
  static func make(_ target: ExportSource.Target, prefix: String, platform: String?) async throws -> TreeAttestations {
    var items: [(String, Attestation, JSONValue)] = []
    for attestation in target.attestations where !attestation.inlineOnly {
      let name = prefix + name(attestation.filename, platform)
      guard !name.contains("/"), name != ".", name != ".." else {
        throw BuildError(.invalidArgument, .usage, "an attestation cannot be written to a file named \"\(name)\": expected a name without slashes")
      }
      items.append((name, attestation, try await attestation.predicate(nil)))
    }
    return TreeAttestations(items: items)
  }

  private init(items: [(String, Attestation, JSONValue)]) { self.items = items.map { (name: $0.0, attestation: $0.1, predicate: $0.2) } }

  /// `provenance.json`, or `provenance.linux_arm64.json`.
  private static func name(_ filename: String, _ platform: String?) -> String {
    let last = filename.split(separator: "/").last.map(String.init) ?? filename
    guard let platform else { return last }
    guard let dot = last.lastIndex(of: "."), dot != last.startIndex else { return last + "." + platform }
    return last[..<dot] + "." + platform + last[dot...]
  }

  var isEmpty: Bool { items.isEmpty }

  /// The files, about all regular files of the tree. Blocks; call through Blocking.run.
  func files(of tree: Directory?, isCancelled: () -> Bool) throws -> [(name: String, bytes: [UInt8])] {
    if items.isEmpty { return [] }
    let subjects = try tree.map { try Self.subjects($0, isCancelled) } ?? []
    return try items.map { item in
      if try tree?.statusIfPresent(item.name) != nil {
        throw BuildError(
          .invalidArgument, .usage, "the result has a file \(item.name) of its own, which its attestation would overwrite",
          suggestion: "give the attestations' files another name with the output's attribute attestation-prefix=…")
      }
      return (item.name, item.attestation.statement(about: subjects, predicate: item.predicate).encoded(.indented("  ")))
    }
  }

  /// Writes them into a folder. Blocks; call through Blocking.run.
  func write(_ tree: Directory?, into folder: Directory, modified: Int64?, isCancelled: () -> Bool) throws {
    for (name, bytes) in try files(of: tree, isCancelled: isCancelled) {
      let temporary = ".tmp.\(String(UInt64.random(in: .min ... .max), radix: 36))"
      do {
        let file = try folder.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o600, follow: .none)
        try file.write(bytes)
        if let modified { try file.setTimes(accessed: modified, modified: modified) }
        try file.close()
        if try folder.statusIfPresent(name)?.kind == .directory { try folder.removeTree(name) }
        try folder.rename(temporary, to: name)
      } catch {
        try? folder.unlink(temporary)
        throw error
      }
    }
  }

  /// In the order of a walk that takes each folder's names in their order.
  private static func subjects(_ root: Directory, _ isCancelled: () -> Bool) throws -> [AttestationSubject] {
    var out: [AttestationSubject] = []
    let buffer = IOBuffer(1 << 20)
    func walk(_ directory: Directory, _ path: String, _ depth: Int) throws {
      guard depth < 2048 else { throw HostError(.nameTooLong, operation: "hash", path: path, message: "directories are nested deeper than 2048") }
      for entry in try directory.entries().sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
        if isCancelled() { throw CancellationError() }
        let here = path.isEmpty ? entry.name : path + "/" + entry.name
        switch try directory.status(entry.name).kind {
        case .directory: try walk(directory.openDirectory(entry.name, follow: .none), here, depth + 1)
        case .regular:
          let file = try directory.openFile(entry.name, flags: [.readOnly, .noFollow], follow: .none)
          var hasher = DigestHasher(.sha256)
          while case let count = try file.readFully(into: buffer.all, at: hasher.count), count > 0 { hasher.update(buffer.head(count)) }
          out.append(AttestationSubject(name: here, digest: hasher.finish()))
        default: break
        }
      }
    }
    try walk(root, "", 0)
    return out
  }
}
