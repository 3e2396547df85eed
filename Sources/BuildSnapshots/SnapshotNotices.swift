import LayerArchive
import OCIModel
import Synchronization

/// What a layer holds that could not be made when it was unpacked: said to all who build at the time. The image keeps it, for the layer's blob is used as it is.
package struct SnapshotNotice: Sendable, Equatable {
  package var text: String
  package var detail: [String]
}

/// Those who want to hear of it.
package final class SnapshotNotices: Sendable {
  private let listeners = Mutex<[UInt64: @Sendable (SnapshotNotice) -> Void]>([:])
  private let next = Atomic<UInt64>(0)

  /// Until `leave` with the number that is answered.
  package func listen(_ body: @escaping @Sendable (SnapshotNotice) -> Void) -> UInt64 {
    let id = next.add(1, ordering: .relaxed).newValue
    listeners.withLock { $0[id] = body }
    return id
  }

  package func leave(_ id: UInt64) { listeners.withLock { _ = $0.removeValue(forKey: id) } }

  func say(_ notice: SnapshotNotice) { for listener in listeners.withLock({ Array($0.values) }) { listener(notice) } }

  /// What was left out of a layer, if anything was.
  func say(_ result: ApplyResult, of layer: Digest) {
    if result.skippedDeviceCount > 0 {
      let paths = result.skippedDevices.map { "/\($0)" }
      say(
        SnapshotNotice(
          text: "layer \(Self.short(layer)): \(Self.count(result.skippedDeviceCount, "device file")) cannot be made without root, so steps do not see \(Self.some(paths, result.skippedDeviceCount)); the image keeps them",
          detail: paths))
    }
    if result.skippedXattrCount > 0 {
      let paths = result.skippedXattrs.map { "/\($0.path) \($0.name)" }
      let names = Set(result.skippedXattrs.map(\.name)).sorted().joined(separator: ", ")
      say(
        SnapshotNotice(
          text: "layer \(Self.short(layer)): \(Self.count(result.skippedXattrCount, "extended attribute")) (\(names)) cannot be set here, so steps do not see them on \(Self.some(result.skippedXattrs.map { "/\($0.path)" }, result.skippedXattrCount)); the image keeps them",
          detail: paths))
    }
  }

  private static func short(_ digest: Digest) -> String { "\(digest.algorithm.rawValue):\(digest.hex.prefix(12))" }
  private static func count(_ n: Int, _ what: String) -> String { n == 1 ? "one \(what)" : "\(n) \(what)s" }
  private static func some(_ paths: [String], _ count: Int) -> String {
    let first = paths.prefix(3).joined(separator: ", ")
    return count > 3 ? "\(first) and \(count - 3) more" : first
  }
}
