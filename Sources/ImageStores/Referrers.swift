package import OCIModel
internal import OCIRegistry

/// Manifests that say of themselves which image they are about, and travel with it: as buildx, attestations and signatures.
package enum ReferrerKinds {
  package static let attestation = "application/vnd.docker.attestation.manifest.v1+json"
  /// What goes along when an image is copied.
  package static let copied: Set<String> = [attestation, "application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json"]
  /// Of an entry of a layout's `index.json` (containerd's): the digest that it is about.
  package static let subjectAnnotation = "io.containerd.manifest.subject"
}

extension ImageTransfer {
  /// Copies what refers to an image and travels with it. Nothing to do within one place.
  package func copyReferrers(_ referrers: [Descriptor], of subject: Digest, from source: any ImageSource, to destination: any ImageDestination) async throws {
    guard !source.location.sharesContent(with: destination.location) else { return }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for referrer in referrers where referrer.mediaType.isManifest && ReferrerKinds.copied.contains(referrer.artifactType) {
        group.addTask {
          // What its list says of it beside media type, digest and size is for the list.
          let document = try await source.manifest(Descriptor(mediaType: referrer.mediaType, digest: referrer.digest, size: referrer.size))
          guard case .manifest(let manifest) = try document.document() else { return }
          try await self.each([manifest.config] + manifest.layers) { try await destination.put(blob: $0, from: source, progress: self.progress) }
          try await destination.put(referrer: document, listed: referrer, of: subject)
        }
      }
      try await group.waitForAll()
    }
  }
}
