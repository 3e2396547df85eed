import HostOS
import OCIModel
import Testing

@testable import LayerArchive

#if canImport(Glibc)
  import Glibc
#endif

/// Every hostile layer, in every form it can be applied in: the outcome is the one that the table says, nothing beside the root is touched, and neither
/// time nor memory grows.
struct HostileTableTests {
  enum Form: String, CaseIterable { case plain, overlay, later, archive }

  @Test func thereAreEnough() { #expect(HostileLayers.table.count >= 80) }

  @Test(arguments: HostileLayers.table) func isRefusedOrContained(_ layer: HostileLayer) throws {
    for form in Form.allCases { try apply(layer, form) }
  }

  private func apply(_ layer: HostileLayer, _ form: Form) throws {
    try withScratch { scratch in
      let outside = try makeDirectory(scratch + "/outside")
      _ = try outside.openFile("canary", flags: [.writeOnly, .create], mode: 0o600)
      func placed(_ items: [Item]) -> [Item] {
        items.map { item in
          var item = item
          item.entry.linkTarget = ByteString(text: item.entry.linkTarget.text.replacing("OUTSIDE", with: scratch + "/outside"))
          return item
        }
      }
      let below = try makeDirectory(scratch + "/below"), root = try makeDirectory(scratch + "/root")
      let lower = try tar(placed(HostileLayers.below + layer.lower))
      _ = try LayerApplier(form: .plain, ownership: .ignore).apply(BytesSource(lower), to: form == .overlay || form == .later ? below : root)
      let before = try surroundings(scratch)

      var applier = LayerApplier(form: .plain, ownership: isRoot ? .preserve : .ignore, decompressionLimits: HostileLayers.limits, maximumEntries: 5000)
      switch form {
      case .plain: break
      case .overlay: applier.form = .overlay(userXattr: !isRoot, lower: .view(below))
      case .later: applier.form = .overlay(userXattr: !isRoot, lower: .later)
      case .archive: applier.form = .archive
      }
      var archive = try layer.archive()
      archive = place(scratch + "/outside", in: archive)
      applier.decompressionLimits.packedSize = Int64(archive.count)
      let start = ContinuousClock.now
      let memory = peakMemory()
      let failure = code { _ = try applier.apply(BytesSource(archive), to: root) }
      #expect(ContinuousClock.now - start < .seconds(30), "\(layer) took long in \(form.rawValue)")
      #expect(peakMemory() - memory < 200 << 20, "\(layer) took memory in \(form.rawValue)")
      #expect(try surroundings(scratch) == before, "\(layer) reached out of the root in \(form.rawValue)")
      try judge(layer, form, failure, root)
    }
  }

  private func judge(_ layer: HostileLayer, _ form: Form, _ failure: LayerArchiveError.Code?, _ root: Directory) throws {
    switch layer.outcome {
    case .refused(let code):
      // A view of the layers below may be asked for first; and what `.wh.` means to a layer it does not mean to somebody's tar.
      if form == .later, failure == .needsLowerView { return }
      if form == .later, code == .invalidEntry || code == .missingLinkTarget, failure == nil { return }
      if form == .archive, layer.description.contains("whiteout") || layer.description.contains("deleted") { return }
      #expect(failure == code, "\(layer) in \(form.rawValue)")
    case .contained(let paths):
      if form == .later, failure == .needsLowerView { return }
      #expect(failure == nil, "\(layer) in \(form.rawValue)")
      guard form == .plain else { return }
      for path in paths {
        let isGone = path.hasPrefix("-")
        let there = try root.statusIfPresent(isGone ? String(path.dropFirst()) : path) != nil
        #expect(there != isGone, "\(layer): \(path)")
      }
    }
  }

  /// The table's OUTSIDE inside an archive, where the link's field has room for the real path.
  private func place(_ outside: String, in archive: [UInt8]) -> [UInt8] {
    guard let items = try? read(archive), items.contains(where: { $0.entry.linkTarget.text.contains("OUTSIDE") }) else { return archive }
    let placed = items.map { item in
      var item = item
      item.entry.linkTarget = ByteString(text: item.entry.linkTarget.text.replacing("OUTSIDE", with: outside))
      return item
    }
    return (try? tar(placed)) ?? archive
  }

  /// All that is beside the root: what it is, and when it last changed.
  private func surroundings(_ scratch: String) throws -> [String] {
    let directory = try Directory.open(scratch)
    var out = try directory.entries().map(\.name).sorted()
    for name in ["outside", "below"] {
      let inner = try directory.openDirectory(name)
      for entry in try inner.entries().map(\.name).sorted() + ["."] {
        let s = try inner.status(entry)
        out.append("\(name)/\(entry) \(s.inode) \(s.mode) \(s.links) \(s.uid):\(s.gid) \(s.size) \(s.mtime) \(s.ctime)")
      }
    }
    return out
  }

  /// The most this process has ever held, in bytes.
  private func peakMemory() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss << 10
  }

  /// The defaults: what real layers are passes, a bomb does not, and the user can say otherwise.
  @Test func limits() throws {
    let limits = DecompressionLimits()
    try limits.check(16 << 30, from: 1)
    try limits.packed(1 << 30).check(90 << 30, from: 1)
    #expect(code { try limits.check(17 << 30, from: 100 << 20) } == .limit)
    #expect(code { try limits.packed(1 << 40).check(2 << 40, from: 1) } == .limit)
    #expect(try DecompressionLimits.parse("64GiB").maximumSize == 64 << 30)
    #expect(try DecompressionLimits.parse("500mb").maximumSize == 500 << 20)
    #expect(try DecompressionLimits.parse("1000").maximumSize == 1000)
    try DecompressionLimits.parse("unlimited").check(.max, from: 1)
    for text in ["0", "-1", "x", "5X", "1.5G", "9999999999T", "GiB"] { #expect(code { _ = try DecompressionLimits.parse(text) } == .invalidOption, "\(text)") }
    do { try limits.check(1 << 50, from: 1) } catch let error as LayerArchiveError {
      #expect(error.description.contains("1 TiB") && error.description.contains("MANIFOLD_MAX_LAYER_SIZE"))
    }
  }
}
