package import BuildSolver
package import OCIModel

/// The cache that goes into an image's own config: only records whose results are made of the image's layers.
package enum InlineCache {
  /// The records, naming layers by their places in the image; nil when there is nothing to say. In the words of BuildKit's
  /// `ExportForLayers` (cache/remotecache/inline).
  package static func records(_ chains: CacheChains, layers: [Digest]) throws -> [UInt8]? {
    let (whole, blobs) = CacheConfig.make(chains)
    var places: [Digest: Int] = [:]
    for (i, layer) in layers.enumerated() { places[layer] = i }
    var kept = CacheChains()
    try whole.add(to: &kept, blobs: blobs.filter { places[$0.descriptor.digest] != nil })
    var config = CacheConfig.make(kept).config
    if config.layers.isEmpty { return nil }
    for i in config.records.indices {
      var results: [CacheConfig.Result] = []
      for var result in config.records[i].results {
        let blobs = config.blobs(upTo: result.layer)
        if blobs.count <= layers.count, zip(blobs, layers).allSatisfy({ $0 == $1 }) {
          result.layer = blobs.count - 1
          results.append(result)
        } else {
          // In another order than the image has them: each by itself.
          config.records[i].chains.append(CacheConfig.Chain(layers: blobs.compactMap { places[$0] }, createdAt: .zero))
        }
      }
      config.records[i].results = results
    }
    return config.recordsJSON.encoded()
  }
}

extension CacheConfig {
  /// The bottommost first.
  fileprivate func blobs(upTo layer: Int) -> [Digest] {
    var out: [Digest] = []
    var next = layer
    while next >= 0 {
      out.append(layers[next].blob)
      next = layers[next].parent
    }
    return out.reversed()
  }
}
