package import OCIModel

/// The form in which layers of Windows images are archived: the files below `Files`, the registry's below `Hives`, a base layer's utility machine below
/// `UtilityVM`; attributes, security descriptors and creation times in pax records (Microsoft's hcsshim and go-winio; BuildKit's util/winlayers).
///
/// On this machine a Windows tree is its files alone: `Files` is the root, the rest is passed on in the blobs and never unpacked. Written here, all files belong to
/// the administrators, and users may read them, as BuildKit on Linux has it.
package enum WindowsLayer {
  static let root: ByteString = "Files"
  static let hives: ByteString = "Hives"
  static let utilityVM: ByteString = "UtilityVM"

  static let attributes = "MSWINDOWS.fileattr"
  static let security = "MSWINDOWS.rawsd"
  package static let creationTime = "LIBARCHIVE.creationtime"

  /// Self-relative security descriptors, in base64. Of directories (SDDL): O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)
  static let directorySecurity =
    "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgCoAAcAAAAAAxgA/wEfAAECAAAAAAAFIAAAACACAAAAAxQA/wEfAAEBAAAAAAAFEgAAAAAAGAD/AR8AAQIAAAAAAAUgAAAAIAIAAAALFAAAAAAQAQEAAAAAAAMAAAAAAAMYAKkAEgABAgAAAAAABSAAAAAhAgAAAAIYAAQAAAABAgAAAAAABSAAAAAhAgAAAAIYAAIAAAABAgAAAAAABSAAAAAhAgAA"
  /// Of files: O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)
  static let fileSecurity =
    "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgBMAAMAAAAAABgA/wEfAAECAAAAAAAFIAAAACACAAAAABQA/wEfAAEBAAAAAAAFEgAAAAAAGACpABIAAQIAAAAAAAUgAAAAIQIAAA=="

  // MARK: Writing

  /// The two directories that a layer begins with. BuildKit gives them the time at which it writes them; here they are of 1970, so that the same files give the same layer.
  static let beginning: [TarEntry] = [hives, root].map { path in
    var entry = TarEntry(path: path, kind: .directory, mode: 0)
    describe(&entry)
    return entry
  }

  /// An entry of a tree as the layer has it.
  static func wrap(_ entry: inout TarEntry) {
    entry.path = ByteString(root.bytes + [0x2f] + entry.path.bytes)
    // Symbolic links too, as with BuildKit.
    if !entry.linkTarget.isEmpty { entry.linkTarget = ByteString(root.bytes + [0x2f] + entry.linkTarget.bytes) }
    describe(&entry)
    switch entry.kind {
    case .directory: entry.records[security] = Array(directorySecurity.utf8)
    case .file: entry.records[security] = Array(fileSecurity.utf8)
    default: break
    }
  }

  private static func describe(_ entry: inout TarEntry) {
    switch entry.kind {
    case .directory:
      entry.mode |= ModeKind.directory.rawValue
      entry.records[attributes] = Array("16".utf8)
    case .file:
      entry.mode |= ModeKind.file.rawValue
      entry.records[attributes] = Array("32".utf8)
    default: break
    }
    // Nanoseconds as a number after the dot, without zeros before it: BuildKit's spelling.
    entry.records[creationTime] = Array("\(entry.modified.seconds).\(entry.modified.nanoseconds)".utf8)
  }

  // MARK: Reading

  /// Whether an archive that begins with `entry` is in this form: what it holds is beneath one of the known directories, or described as Windows does.
  static func begins(with entry: TarEntry, top: ByteString) -> Bool {
    [root, hives, utilityVM].contains(top) || entry.records.keys.contains { $0.hasPrefix("MSWINDOWS.") }
  }

  /// Whether a layer in any compression is in this form beyond doubt: of an archive that nothing else is known of. Reads its beginning. Blocks.
  package static func isWindows(_ source: any ByteSource) throws -> Bool {
    let reader = TarReader(try DetectingSource(source, limits: .default), globalHeaders: .ignore)
    while let entry = try reader.next() {
      // The root's own entry tells nothing.
      guard let top = ApplySession.cleaned(entry.path).first else { continue }
      return [root, hives, utilityVM].contains(top) && entry.records.keys.contains { $0.hasPrefix("MSWINDOWS.") }
    }
    return false
  }
}

/// Takes the files out of a layer of a Windows image while it is read.
package struct WindowsLayerReader {
  private var isWindows: Bool?
  package init() {}

  /// Makes `entry` one of the tree; false: it is none of its files. A layer that is plainly not in Windows' form (an image built from scratch for Windows) is left as it is.
  package mutating func unwrap(_ entry: inout TarEntry) -> Bool {
    if entry.kind == .globalHeader { return true }
    let components = ApplySession.cleaned(entry.path)
    guard let top = components.first else { return false }
    let isWindows = isWindows ?? WindowsLayer.begins(with: entry, top: top)
    self.isWindows = isWindows
    guard isWindows else { return true }
    guard top == WindowsLayer.root, components.count > 1 else { return false }
    entry.path = components.dropFirst().reduce(ByteString()) { $0.appending($1) }
    let prefix = ByteString(WindowsLayer.root.bytes + [0x2f])
    if entry.kind == .hardLink {
      let target = ApplySession.cleaned(entry.linkTarget)
      if target.first == WindowsLayer.root { entry.linkTarget = target.dropFirst().reduce(ByteString()) { $0.appending($1) } }
    } else if entry.linkTarget.hasPrefix(prefix) {
      entry.linkTarget = ByteString(Array(entry.linkTarget.bytes.dropFirst(prefix.count)))
    }
    return true
  }
}
