import ImageChecks
import LayerArchive
import OCIModel

/// Layers of a stranger, merged in memory.
enum FileTableFuzz {
  /// The archive is read by large and by small pieces, with the same result; what it makes can be asked for everything that it names, and does not differ from itself.
  static func run(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    let options = input.byte()
    var archive = input.bytes
    if options & 1 != 0 { TarFuzz.reseal(&archive) }
    let middle = options & 2 != 0 ? archive.count / 1024 * 512 : 0
    let layers = [Array(archive[..<middle]), Array(archive[middle...])].filter { !$0.isEmpty }
    let whole = scan(layers, step: .max), pieces = scan(layers, step: 1 + Int(options >> 2) * 37)
    try FuzzFinding.check(whole.map(\.summary) == pieces.map(\.summary), "the layers read differently by pieces")
    guard let table = merged(whole), let other = merged(pieces) else { return }
    try FuzzFinding.check(table.changes(to: other).isEmpty, "a table differs from itself")
    for entry in whole.flatMap(\.entries) {
      if case .found(let found) = table.lookup(entry.path) {
        try FuzzFinding.check(found.node.facts.kind != .symbolicLink && !found.path.components.contains(".."), "\(entry.path) leads to \(found.path)")
      }
      if case .hardLink(let target) = entry.change { _ = table.lookup(target, in: entry.path) }
    }
  }

  private static func scan(_ layers: [[UInt8]], step: Int) -> [LayerScan] {
    layers.map { layer in
      let descriptor = Descriptor(mediaType: .ociLayer, digest: .sha256(of: layer), size: Int64(layer.count))
      return LayerScan.read(BytesSource(layer, step: step), descriptor, hashesFiles: layer.count % 2 == 0, limits: ScanLimits(entries: 2000, nameBytes: 1 << 16))
    }
  }

  private static func merged(_ scans: [LayerScan]) -> FileTable? {
    let table = FileTable(limits: ScanLimits(entries: 4000))
    for (i, scan) in scans.enumerated() { do { try table.apply(scan.entries, layer: i) } catch { return nil } }
    return table
  }
}

extension LayerScan {
  fileprivate var summary: [String] {
    ["\(digest) \(size) \(failure?.code.rawValue ?? "")"]
      + entries.map { entry in
        guard case .add(let facts) = entry.change else { return "\(entry)" }
        return "\(entry.path) \(facts.kind) \(facts.mode) \(facts.size) \(facts.content.map { "\($0)" } ?? "") \(facts.program.map { "\($0.form)" } ?? "")"
      }
  }
}
