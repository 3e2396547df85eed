internal import BuildProgress
internal import BuildInterface
internal import BuildSnapshots
internal import ContentStore
internal import OCIModel
internal import OCIRegistry

/// Brings an image into registries: blobs first, all platforms at once, then manifests, then the index under its tags.
struct ImagePush: Sendable {
  let image: WrittenImage
  let environment: ExportEnvironment
  let vertex: ProgressTask
  /// Some of them may be there, or on their way.
  let layers: LayerPushes
  /// Without a tag: the image is found by its digest alone.
  let byDigest: Bool

  private var registry: RegistryClient { environment.registry }

  /// In the order of the names; what several names of one repository share is pushed once.
  func push(to names: [Reference]) async throws {
    var repositories: [Reference] = []
    for name in names where !repositories.contains(name.repository) { repositories.append(name.repository) }
    for repository in repositories {
      let tags = names.filter { $0.repository == repository }
      try await ExportErrors.wrapping("failed to push \(tags[0].familiar)") {
        let missing = try await missing(in: repository)
        try await vertex.step("pushing layers") { try await blobs(of: missing, to: repository) }
        for (i, name) in tags.enumerated() {
          let shown = byDigest ? "\(repository)@\(image.root.descriptor.digest)" : "\(name.withDefaultTag)@\(image.root.descriptor.digest)"
          try await vertex.step("pushing manifest for \(shown)") {
            if i == 0 { try await children(of: missing, to: repository) }
            let target = byDigest ? repository.with(digest: image.root.descriptor.digest) : name.withDefaultTag
            try await registry.pushManifest(image.root.bytes, mediaType: image.root.descriptor.mediaType, to: target)
          }
        }
      }
    }
  }

  /// What of the image the repository has not. A registry takes a document only when it has all that the document names: whoever has it has everything.
  /// One that will not say (some refuse to tell of what is not there yet) is pushed to as if it had nothing.
  private func missing(in repository: Reference) async throws -> WrittenImage {
    var missing = image
    if image.attestations.isEmpty {
      if await has(image.root, in: repository) { (missing.manifests, missing.index) = ([], nil) }
    } else {
      // They say when the image was built, so that its index is always a new one; the manifests it names may be old.
      let known = await withTaskGroup(of: Digest?.self) { group in
        for manifest in image.manifests { group.addTask { () -> Digest? in await has(manifest.document, in: repository) ? manifest.document.descriptor.digest : nil } }
        return await group.reduce(into: Set<Digest>()) { if let digest = $1 { $0.insert(digest) } }
      }
      missing.manifests.removeAll { known.contains($0.document.descriptor.digest) }
    }
    try Task.checkCancellation()
    return missing
  }

  private func has(_ document: WrittenImage.Document, in repository: Reference) async -> Bool {
    (try? await registry.hasManifest(repository.with(digest: document.descriptor.digest))) ?? false
  }

  private func blobs(of image: WrittenImage, to repository: Reference) async throws {
    // What was mounted or is there already makes no bytes: the client asks first. It bounds how many go on at once, too.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (layer, targets) in image.layers where !LayerTypes.isNonDistributable(layer.descriptor.mediaType) {
        group.addTask {
          try await ExportErrors.wrapping("\(targets.joined(separator: ", ")): layer \(layer.descriptor.digest)") { try await layers.push(layer, to: repository) }
        }
      }
      var seen = Set<Digest>()
      let documents = image.manifests.map { ($0.target, $0.config) } + (image.attestations + image.referrers).flatMap { item in
        ([item.config] + item.statements).map { (item.target, $0) }
      }
      for (target, document) in documents where seen.insert(document.descriptor.digest).inserted {
        group.addTask {
          try await ExportErrors.wrapping("\(target): \(document.descriptor.mediaType.isConfig ? "config" : "attestation") \(document.descriptor.digest)") {
            _ = try await registry.pushBlob(document.descriptor, from: MemoryBlobSource(document.bytes), to: repository)
          }
        }
      }
      try await group.waitForAll()
    }
  }

  /// All that comes before the root. Referrers, too: whoever finds the tag finds what refers to the image.
  private func children(of image: WrittenImage, to repository: Reference) async throws {
    var documents: [(target: String, document: WrittenImage.Document)] = image.attestations.map { ($0.target, $0.document) }
    if image.index != nil { documents += image.manifests.map { ($0.target, $0.document) } }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (target, document) in documents {
        group.addTask {
          try await ExportErrors.wrapping(target) {
            _ = try await registry.pushManifest(document.bytes, mediaType: document.descriptor.mediaType, to: repository.with(digest: document.descriptor.digest))
          }
        }
      }
      for referrer in image.referrers {
        group.addTask {
          try await ExportErrors.wrapping("\(referrer.target): attestation") {
            _ = try await registry.pushReferrer(referrer.document.bytes, to: repository)
          }
        }
      }
      try await group.waitForAll()
    }
  }
}
