import HostOS
import OCIModel

extension OCILayout {
  /// Removes the blobs that nothing in `index.json` is made of. Does nothing where something that is named cannot be read: below it nothing is known. Blocks.
  package func removeUnnamed() throws {
    var named = Set<Digest>()
    for root in try index().manifests {
      let closure = try closure(of: root)
      if let missing = closure.missing.first(where: { $0.mediaType.isIndex || $0.mediaType.isManifest }) {
        throw StoreError(.notFound, "\(path) lacks \(missing.digest), which its index names", path: path, digest: missing.digest)
      }
      named.formUnion((closure.documents + closure.blobs).map(\.digest))
    }
    try Self.wrapping("cannot tidy \(path)") {
      for algorithm in Digest.Algorithm.allCases {
        let folder = "blobs/\(algorithm.rawValue)"
        guard let entries = try? directory.entries(folder) else { continue }
        for entry in entries {
          guard let digest = Digest("\(algorithm.rawValue):\(entry.name)"), !named.contains(digest) else { continue }
          try directory.unlink("\(folder)/\(entry.name)")
        }
      }
    }
  }
}
