import GRDB
package import OCIModel

/// A name in the local store and the image it stands for: an index with all its platforms, or a single manifest.
package struct LocalImage: Sendable, Hashable {
  /// With a tag, without a digest.
  package var reference: Reference
  package var descriptor: Descriptor
  /// When the name was given to this image.
  package var created: Timestamp
}

/// Names of images, as rows.
package struct LocalImages: Sendable {
  private let store: ContentStore
  package init(_ store: ContentStore) { self.store = store }

  static let migrations = [
    StoreMigration(
      "images", 1,
      sql: """
        CREATE TABLE image (name TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, descriptor TEXT NOT NULL, created INTEGER NOT NULL,
          PRIMARY KEY (name, tag)) WITHOUT ROWID;
        CREATE INDEX image_digest ON image (digest);
        """)
  ]

  /// Gives the image a name, taking it from another that has it. A reference without a tag means `latest`.
  /// The image's document must be in the store (its layers need not): else `StoreError.notFound`; `invalid` for what is not an image.
  @discardableResult
  package func tag(_ reference: Reference, _ descriptor: Descriptor, created: Timestamp? = nil) async throws -> LocalImage {
    let image = try entry(reference, descriptor, created)
    try await store.write { try Self.put($0, image) }
    return image
  }

  /// As `tag`, for several names in one transaction.
  package func tag(_ references: [Reference], _ descriptor: Descriptor, created: Timestamp? = nil) async throws {
    let images = try references.map { try entry($0, descriptor, created) }
    try await store.write { db in for image in images { try Self.put(db, image) } }
  }

  /// The image of `name:tag`, or of `name@digest` whatever its tag; with both, only if they agree. Nil when there is none.
  package func resolve(_ reference: Reference) async throws -> LocalImage? {
    let reference = reference.withDefaultTag
    return try await store.read { db in
      if let digest = reference.digest {
        return try Self.fetch(db, "name = ? AND digest = ?", [reference.name, digest.description])
          .first { reference.tag == nil || $0.reference.tag == reference.tag }
      }
      return try Self.fetch(db, "name = ? AND tag = ?", [reference.name, reference.tag ?? Reference.defaultTag]).first
    }
  }

  /// Images whose digest begins with so many hex digits, as people type them. Every name of each.
  package func withID(_ prefix: String) async throws -> [LocalImage] {
    let hex = prefix.hasPrefix("sha256:") ? String(prefix.dropFirst(7)) : prefix
    guard !hex.isEmpty, hex.utf8.allSatisfy({ ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) }) else { return [] }
    return try await store.read { try Self.fetch($0, "digest >= ? AND digest < ?", ["sha256:" + hex, "sha256:" + hex + "g"]) }
  }

  /// All, newest first, then by name.
  package func list() async throws -> [LocalImage] { try await store.read { try Self.fetch($0, "1", []) } }

  /// Takes a name away and says what it stood for; nil when there was no such name. Content stays until it is collected.
  @discardableResult
  package func untag(_ reference: Reference) async throws -> LocalImage? {
    guard let image = try await resolve(reference) else { return nil }
    try await store.write { db in
      try db.execute(
        sql: "DELETE FROM image WHERE name = ? AND tag = ? AND digest = ?",
        arguments: [image.reference.name, image.reference.tag, image.descriptor.digest.description])
    }
    return image
  }

  // MARK: -

  private func entry(_ reference: Reference, _ descriptor: Descriptor, _ created: Timestamp?) throws -> LocalImage {
    guard descriptor.mediaType.isIndex || descriptor.mediaType.isManifest else {
      throw StoreError(.invalid, "\(descriptor.digest) is \(descriptor.mediaType), which is neither an image index nor a manifest", digest: descriptor.digest)
    }
    guard try store.hasBlob(descriptor.digest, size: descriptor.size) else {
      throw StoreError(.notFound, "\(descriptor.digest) is not in the store at \(store.root), so it cannot be named \(reference.familiar)", digest: descriptor.digest)
    }
    let named = try reference.with(digest: nil).with(tag: reference.tag ?? Reference.defaultTag)
    return LocalImage(reference: named, descriptor: descriptor, created: created ?? Timestamp(nanosecondsSinceEpoch: StoreClock.now))
  }

  private static func put(_ db: Database, _ image: LocalImage) throws {
    try db.execute(
      sql: """
        INSERT INTO image VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET digest = excluded.digest, descriptor = excluded.descriptor, created = excluded.created
        """,
      arguments: [
        image.reference.name, image.reference.tag, image.descriptor.digest.description, image.descriptor.json.encodedString(), image.created.nanosecondsSinceEpoch,
      ])
  }

  private static func fetch(_ db: Database, _ condition: String, _ arguments: StatementArguments) throws -> [LocalImage] {
    try Row.fetchAll(db, sql: "SELECT name, tag, descriptor, created FROM image WHERE \(condition) ORDER BY created DESC, name, tag", arguments: arguments).map { row in
      LocalImage(
        reference: try Reference(parsing: "\(row[0] as String):\(row[1] as String)"), descriptor: try Descriptor(json: JSONValue(parsing: row[2] as String)),
        created: Timestamp(nanosecondsSinceEpoch: row[3]))
    }
  }
}
