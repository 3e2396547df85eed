package import OCIModel

/// A result as blobs that can be had elsewhere: layers, the bottommost first.
package struct CacheRemote: Sendable {
  package struct Layer: Sendable {
    /// With the annotations that an exported cache has.
    package var descriptor: Descriptor
    /// Who has the blob; whoever made the remote knows what it is. nil: the local store.
    package var source: (any Sendable)?
    package init(descriptor: Descriptor, source: (any Sendable)? = nil) { (self.descriptor, self.source) = (descriptor, source) }
  }
  package var layers: [Layer]
  package init(layers: [Layer]) { self.layers = layers }

  /// Names it by its blobs.
  package var id: String {
    var hasher = DigestHasher()
    for layer in layers { hasher.update(layer.descriptor.digest.description) }
    return hasher.finish().description
  }

  /// Whether these are the lowest layers of `other`, or all of them.
  package func isBelow(_ other: CacheRemote) -> Bool {
    layers.count <= other.layers.count && zip(layers, other.layers).allSatisfy { $0.descriptor.digest == $1.descriptor.digest }
  }
}

/// In which form blobs are wanted.
package struct RemoteForm: Hashable, Sendable {
  /// By the peers' names: gzip, zstd…
  package var compression: String
  package var level: Int?
  /// All layers in it, also those that are there in another.
  package var force: Bool
  package init(compression: String, level: Int? = nil, force: Bool = false) { (self.compression, self.level, self.force) = (compression, level, force) }
}

package struct CacheExportResult: Sendable {
  package var createdAt: Timestamp
  package var remote: CacheRemote
  package init(createdAt: Timestamp, remote: CacheRemote) { (self.createdAt, self.remote) = (createdAt, remote) }
}

/// The way from a record to one that is made from it, as stored.
package struct CacheBacklink: Hashable, Sendable {
  package var from: String
  package var input: Int
  package var selector: Digest?
  /// `CacheKey.rootID` of the op's digest and the output: what a record in an exported cache is called.
  package var record: String
  package init(from: String, input: Int, selector: Digest?, record: String) {
    (self.from, self.input, self.selector, self.record) = (from, input, selector, record)
  }
  package init(from: String, _ link: CacheLink) {
    self.init(from: from, input: link.input, selector: link.selector, record: CacheKey.rootID(link.digest, output: link.output))
  }
}
