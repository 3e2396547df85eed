internal import BuildInterface
internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import HostOS
internal import LLB
internal import OCIModel
internal import OCIRegistry

/// Which blob is wanted, and as what.
struct BlobAttributes: Sendable {
  let reference: Reference
  let digest: Digest
  /// The client's layout that has it; nil asks the registry.
  let layout: String?
  let filename: String
  let mode: UInt32
  let uid: UInt32
  let gid: UInt32

  init(_ source: Pb_SourceOp, scheme: some StringProtocol) throws {
    let identifier = source.identifier
    reference = try Reference(parsing: String(identifier.dropFirst(scheme.count + "://".count)))
    guard let digest = reference.digest else { throw InvalidDefinition("source \(identifier): a blob is named by its digest") }
    self.digest = digest
    if scheme == "oci-layout+blob" {
      guard let store = source.attrs[SourceAttribute.ociLayoutStoreID], !store.isEmpty else { throw InvalidDefinition("source \(identifier): oci-layout blob source requires store id") }
      layout = store
    } else {
      layout = nil
    }
    try ImageRecordType.check(source)
    filename = source.attrs[SourceAttribute.httpFilename].map(SourceNumbers.fileName) ?? ""
    mode = try SourceNumbers.number(source, SourceAttribute.httpPermissions)
    uid = try SourceNumbers.number(source, SourceAttribute.httpUID)
    gid = try SourceNumbers.number(source, SourceAttribute.httpGID)
  }
}

/// `docker-image+blob://` and `oci-layout+blob://`: one blob of a registry or of a client's OCI layout, as a file (BuildKit's source/containerblob).
struct BlobSource: Op {
  let blob: BlobAttributes
  let services: EngineServices

  init(_ source: Pb_SourceOp, scheme: Substring, services: EngineServices) throws {
    blob = try BlobAttributes(source, scheme: scheme)
    self.services = services
  }

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    CacheMapAnswer(CacheMap(digest: CacheDigest(OpCacheKey.blob(blob.digest, filename: blob.filename, mode: blob.mode, uid: blob.uid, gid: blob.gid))))
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    try await services.collector.beforeStep()
    try await fetch(context)
    let layer = try await services.refs.newMutable(parent: nil, description: "blob \(blob.reference)", recordType: .regular)
    do {
      let (store, blob) = (services.store, blob), digest = blob.digest
      let reader = try await Blocking.run { try store.reader(digest) }
      let name = blob.filename.isEmpty ? digest.hex : blob.filename
      let mode = blob.mode == 0 ? 0o600 : blob.mode, size = reader.size
      try await layer.withMounted { root in
        let file = try root.openFile(name, flags: [.writeOnly, .create, .exclusive], mode: mode & 0o777, follow: .none)
        try reader.descriptor.copyContents(to: file, size: size)
        try file.setMode(mode & 0o7777)
        if blob.uid != 0 || blob.gid != 0 { try file.setOwner(uid: blob.uid, gid: blob.gid) }
        try file.setTimes(accessed: 0, modified: 0)
      }
      return [TreeResult(.snapshot(try await layer.commit()))]
    } catch {
      await layer.discard()
      throw error
    }
  }

  private func fetch(_ context: OpContext) async throws {
    let store = services.store, session = try services.session(of: context), digest = blob.digest, type = MediaType("application/octet-stream")
    try await store.keep([digest])
    if store.contains(digest) { return }
    if let layout = blob.layout {
      let size = try await session.layouts.size(of: digest, in: layout)
      return try await LayoutLayerFetch(session: session, layout: layout, progress: context.progress).fetch(OCIModel.Descriptor(mediaType: type, digest: digest, size: size), into: store)
    }
    guard case .present(let size?) = try await session.registry.blobPresence(OCIModel.Descriptor(mediaType: type, digest: digest, size: 0), in: blob.reference) else {
      throw BuildError(.notFound, .registry, "\(blob.reference.name) has no blob \(digest), or does not say how large it is")
    }
    try await LayerFetch(session: session, reference: blob.reference, progress: context.progress).fetch(OCIModel.Descriptor(mediaType: type, digest: digest, size: size), into: store)
  }
}

/// Attributes of sources that are numbers and names.
enum SourceNumbers {
  /// As Go reads numbers with their base before them; 0 where there is none.
  static func number(_ source: Pb_SourceOp, _ key: String) throws -> UInt32 {
    guard let text = source.attrs[key] else { return 0 }
    let lower = text.lowercased()
    let value =
      lower.hasPrefix("0x") ? UInt32(lower.dropFirst(2), radix: 16)
      : lower.hasPrefix("0o") ? UInt32(lower.dropFirst(2), radix: 8)
      : lower.hasPrefix("0b") ? UInt32(lower.dropFirst(2), radix: 2) : lower.hasPrefix("0") && lower.count > 1 ? UInt32(lower.dropFirst(), radix: 8) : UInt32(lower)
    guard let value else { throw InvalidDefinition("source \(source.identifier): \(key) is \(text.debugDescription)") }
    return value
  }

  /// Nothing that a client says makes a path of a name.
  static func fileName(_ text: String) -> String {
    let trimmed = text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed()
    let last = String(trimmed).split(separator: "/").last.map(String.init) ?? ""
    let isControl = last.unicodeScalars.contains { $0.properties.generalCategory == .control }
    return last.isEmpty || last == "." || last == ".." || isControl ? "download" : last
  }
}

/// How an image's record is called in lists of what the store holds.
enum ImageRecordType {
  static func check(_ source: Pb_SourceOp) throws {
    let type = source.attrs[SourceAttribute.imageRecordType] ?? ""
    guard ["", "regular", "internal", "frontend"].contains(type) else { throw InvalidDefinition("source \(source.identifier): invalid record type \(type.debugDescription)") }
  }

  /// The count of layers from the bottom that are wanted; nil for all.
  static func layerLimit(_ source: Pb_SourceOp, _ key: String) throws -> Int? {
    guard let text = source.attrs[key] else { return nil }
    guard let limit = Int(text), limit > 0 else { throw InvalidDefinition("source \(source.identifier): invalid layer limit \(text.debugDescription)") }
    return limit
  }
}
