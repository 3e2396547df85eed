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
        // A registry takes a document only when it has all that the document names: whoever has the root has everything.
        // One that will not say (some refuse to tell of what is not there yet) is pushed to as if it had nothing.
        let hasAll = (try? await registry.hasManifest(repository.with(digest: image.root.descriptor.digest))) ?? false
        try Task.checkCancellation()
        try await vertex.step("pushing layers") { if !hasAll { try await blobs(to: repository) } }
        for (i, name) in tags.enumerated() {
          let shown = byDigest ? "\(repository)@\(image.root.descriptor.digest)" : "\(name.withDefaultTag)@\(image.root.descriptor.digest)"
          try await vertex.step("pushing manifest for \(shown)") {
            if i == 0, !hasAll, image.index != nil { try await children(to: repository) }
            let target = byDigest ? repository.with(digest: image.root.descriptor.digest) : name.withDefaultTag
            try await registry.pushManifest(image.root.bytes, mediaType: image.root.descriptor.mediaType, to: target)
          }
        }
      }
    }
  }

  private func blobs(to repository: Reference) async throws {
    // What was mounted or is there already makes no bytes: the client asks first. It bounds how many go on at once, too.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (layer, targets) in image.layers where !LayerTypes.isNonDistributable(layer.descriptor.mediaType) {
        group.addTask {
          try await ExportErrors.wrapping("\(targets.joined(separator: ", ")): layer \(layer.descriptor.digest)") { try await LayerPush(environment: environment, vertex: vertex).push(layer, to: repository) }
        }
      }
      var seen = Set<Digest>()
      for manifest in image.manifests where seen.insert(manifest.config.descriptor.digest).inserted {
        group.addTask {
          try await ExportErrors.wrapping("\(manifest.target): config \(manifest.config.descriptor.digest)") {
            _ = try await registry.pushBlob(manifest.config.descriptor, from: MemoryBlobSource(manifest.config.bytes), to: repository)
          }
        }
      }
      try await group.waitForAll()
    }
  }

  private func children(to repository: Reference) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for manifest in image.manifests {
        group.addTask {
          try await ExportErrors.wrapping(manifest.target) {
            let document = manifest.document
            try await registry.pushManifest(document.bytes, mediaType: document.descriptor.mediaType, to: repository.with(digest: document.descriptor.digest))
          }
        }
      }
      try await group.waitForAll()
    }
  }
}
