import ContentStore
import HostOS
import LayerArchive
import OCIModel

/// A blob that holds another archive than the layer's own, with a diff ID of its own: one whose times are cut (`rewrite-timestamp`), or one that ends in a table of
/// contents (eStargz). Remembered beside the layer's blobs, and never taken for the layer.
struct LayerVariant: Sendable {
  let form: LayerForm

  /// Under which it is remembered. The level is part of it, so that what an image becomes does not depend on what was exported before.
  var name: String {
    var out = form.isSeekable ? "estargz" : form.compression.rawValue
    if let level = form.level { out += "-\(level)" }
    if let latest = form.latest { out += " until \(latest.seconds)" }
    // A compression's own name is the layer's own blob.
    return form.isSeekable || form.latest != nil ? "variant " + out : out
  }
}

extension BlobWork {
  /// nil: the layer as it is.
  func variant(_ i: Int) async throws -> LayerVariant? {
    if form.latest != nil, i >= kept { return LayerVariant(form: form) }
    guard form.isSeekable else { return nil }
    // As with the other compressions, layers that have a blob keep it unless `force` is given.
    if !force {
      let known = try await blobs(i)
      if known.contains(where: { store.contains($0.descriptor.digest) || providers[$0.descriptor.digest] != nil }) { return nil }
    }
    return LayerVariant(form: LayerForm(.gzip, level: form.level, isSeekable: true))
  }

  func blob(_ i: Int, of variant: LayerVariant) async throws -> LayerBlob {
    if let known = try await known(i, variant) { return known }
    let lock = try await store.locks.lock("blob:\(rows[i].id)")
    defer { lock.release() }
    if let known = try await known(i, variant) { return known }
    let result = try await make(i, variant.form)
    var annotations: [String: String] = [:]
    // BuildKit leaves this mark on what it has rewritten.
    if let latest = variant.form.latest { annotations["buildkit/rewritten-timestamp"] = String(latest.seconds) }
    let descriptor = result.descriptor(annotations: annotations)
    let id = rows[i].id
    try await store.write { try BlobRow.addVariant($0, ref: id, variant.name, descriptor, diffID: result.diffID) }
    let blob = LayerBlob(descriptor: descriptor, diffID: result.diffID, provider: nil)
    made(blob)
    return blob
  }

  private func known(_ i: Int, _ variant: LayerVariant) async throws -> LayerBlob? {
    let id = rows[i].id
    guard let known = try await store.read({ try BlobRow.variant($0, ref: id, variant.name) }), store.contains(known.descriptor.digest) else { return nil }
    return LayerBlob(descriptor: known.descriptor, diffID: known.diffID, provider: nil)
  }
}
