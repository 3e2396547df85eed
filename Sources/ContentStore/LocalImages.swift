import GRDB
package import OCIModel

/// A name in the local store and the image it stands for: an index with all its platforms, or a single manifest.
package struct LocalImage: Sendable, Hashable {
  /// With a tag and without a digest; of what was taken by its digest the other way round.
  package var reference: Reference
  package var descriptor: Descriptor
  /// When the name was given to this image.
  package var created: Timestamp
  /// It came without a name (an archive that has none): `reference` is no name that anybody could have given.
  package var isUnnamed: Bool { reference.name == LocalImages.unnamed }
}

/// Names of images, as rows.
package struct LocalImages: Sendable {
  private let store: ContentStore
  package init(_ store: ContentStore) { self.store = store }

  /// The repository of images that have no name; `.invalid` is nobody's (RFC 6761).
  static let unnamed = "none.invalid/image"
  /// What an image of this digest without a name is tagged as.
  package static func unnamed(_ digest: Digest) throws -> Reference { try Reference(parsing: unnamed).with(digest: digest) }

  static let migrations = [
    StoreMigration(
      "images", 1,
      sql: """
        CREATE TABLE image (name TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, descriptor TEXT NOT NULL, created INTEGER NOT NULL,
          PRIMARY KEY (name, tag)) WITHOUT ROWID;
        CREATE INDEX image_digest ON image (digest);
        """)
  ]

  /// Gives the image a name, taking it from another that has it. A reference without a tag means `latest`, or, with a digest (which must be the image's), that alone.
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
        let found = try Self.fetch(db, "name = ? AND digest = ?", [reference.name, digest.description])
        // Named by the digest before named by a tag.
        return found.first { $0.reference.tag == reference.tag } ?? (reference.tag == nil ? found.first : nil)
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
        arguments: [image.reference.name, Self.column(image.reference), image.descriptor.digest.description])
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
    if let digest = reference.digest, digest != descriptor.digest {
      throw StoreError(.invalid, "\(descriptor.digest) cannot be named \(reference.familiar)", digest: descriptor.digest)
    }
    let named = reference.tag == nil && reference.digest != nil ? reference : try reference.with(digest: nil).with(tag: reference.tag ?? Reference.defaultTag)
    return LocalImage(reference: named, descriptor: descriptor, created: created ?? Timestamp(nanosecondsSinceEpoch: StoreClock.now))
  }

  private static func put(_ db: Database, _ image: LocalImage) throws {
    // An image has a name or has none.
    if image.isUnnamed {
      if try !fetch(db, "digest = ?", [image.descriptor.digest.description]).isEmpty { return }
    } else {
      try db.execute(sql: "DELETE FROM image WHERE name = ? AND digest = ?", arguments: [unnamed, image.descriptor.digest.description])
    }
    try db.execute(
      sql: """
        INSERT INTO image VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET digest = excluded.digest, descriptor = excluded.descriptor, created = excluded.created
        """,
      arguments: [
        image.reference.name, Self.column(image.reference), image.descriptor.digest.description, image.descriptor.json.encodedString(), image.created.nanosecondsSinceEpoch,
      ])
  }

  private static func fetch(_ db: Database, _ condition: String, _ arguments: StatementArguments) throws -> [LocalImage] {
    try Row.fetchAll(db, sql: "SELECT name, tag, descriptor, created FROM image WHERE \(condition) ORDER BY created DESC, name, tag", arguments: arguments).map { row in
      LocalImage(
        reference: try Self.reference(row[0], row[1]), descriptor: try Descriptor(json: JSONValue(parsing: row[2] as String)),
        created: Timestamp(nanosecondsSinceEpoch: row[3]))
    }
  }

  /// How a name is in the column of tags: no tag begins with "@".
  private static func column(_ reference: Reference) -> String { reference.tag ?? reference.digest.map { "@\($0)" } ?? Reference.defaultTag }
  static func reference(_ name: String, _ column: String) throws -> Reference { try Reference(parsing: column.hasPrefix("@") ? name + column : "\(name):\(column)") }
}
