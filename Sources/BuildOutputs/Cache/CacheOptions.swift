package import BuildInterface
package import BuildSolver
internal import LayerArchive
package import OCIModel

/// The attributes of a `--cache-to` or `--cache-from`, taken one after another.
private struct CacheAttributes {
  let what: String
  private var rest: [String: String]

  init(_ option: CacheOption, _ direction: String) {
    what = "\(direction) type=\(option.type)"
    rest = option.attributes
  }

  mutating func text(_ key: String) -> String? { rest.removeValue(forKey: key) }
  mutating func flag(_ key: String) throws -> Bool? {
    switch text(key) {
    case nil: nil
    case "1"?, "t"?, "T"?, "true"?, "TRUE"?, "True"?: true
    case "0"?, "f"?, "F"?, "false"?, "FALSE"?, "False"?: false
    case let text?: throw invalid("\(key) is \"\(text)\", not true or false")
    }
  }
  mutating func reference() throws -> Reference {
    guard let text = text("ref"), !text.isEmpty else { throw invalid("ref is missing", "name the image that holds the cache: type=registry,ref=registry.example.com/me/app:cache") }
    // The build's registry client is told beforehand (`InsecureRegistries`).
    _ = try flag("registry.insecure")
    do { return try Reference(parsing: text).withDefaultTag } catch { throw invalid("ref cannot be used: \(error)") }
  }
  mutating func form() throws -> RemoteForm {
    let name = text("compression") ?? "gzip"
    guard name != "estargz" else { throw BuildError(.unimplemented, .usage, "\(what): compression=estargz is not supported yet", suggestion: "use gzip, zstd or uncompressed") }
    guard let compression = Compression(rawValue: name) else { throw invalid("compression is \"\(name)\": expected gzip, zstd or uncompressed") }
    var level: Int?
    if let text = text("compression-level") {
      guard let number = Int(text) else { throw invalid("compression-level is \"\(text)\", not a whole number") }
      guard compression == .none || compression.levels.contains(number) else {
        throw invalid("compression-level is \(number): for \(name) it is \(compression.levels.lowerBound) to \(compression.levels.upperBound)")
      }
      level = number
    }
    return RemoteForm(compression: name, level: level, force: try flag("force-compression") ?? false)
  }
  func invalid(_ why: String, _ advice: String? = nil) -> BuildError { BuildError(.invalidArgument, .usage, "\(what): \(why)", suggestion: advice) }
  /// What is left, which has no effect with the peers either.
  var unknown: [String] { rest.keys.sorted() }

  static func refusal(_ option: CacheOption, _ direction: String, _ types: String) -> BuildError {
    switch option.type {
    case "gha", "s3", "azblob":
      BuildError(.unimplemented, .usage, "\(direction) type=\(option.type) is not supported yet", suggestion: "the types are \(types)")
    default: BuildError(.invalidArgument, .usage, "\(direction): there is no cache of type \"\(option.type)\"", suggestion: "the types are \(types)")
    }
  }
}

/// Where a build's cache goes: a `--cache-to`.
package struct CacheDestination: Sendable {
  package enum Place: Sendable, Hashable {
    case registry(Reference)
    /// `path` as it was written, which the client knows the directory by.
    case directory(path: String, tag: String)
    /// Into the image's own config.
    case inline
  }
  package var place: Place
  package var mode: CacheExportOptions.Mode
  package var form: RemoteForm
  /// Whether a cache that cannot be written is passed over.
  package var ignoresError: Bool
  var ociTypes: Bool
  /// As a manifest with layers; else as an index of them, the older form.
  var isImageManifest: Bool
  /// Whether blobs that nothing in the directory names any more go afterwards. A client behind a connection sees to that itself.
  package var resets = false
  /// Attributes that nobody knows.
  package var unknown: [String]

  /// Throws `BuildError` for a type there is none of, and for values that mean nothing.
  package init(_ option: CacheOption) throws {
    var attributes = CacheAttributes(option, "--cache-to")
    switch option.type {
    case "registry": place = .registry(try attributes.reference())
    case "local":
      guard let path = attributes.text("dest"), !path.isEmpty else { throw attributes.invalid("dest is missing", "name a directory: type=local,dest=DIR") }
      let tag = attributes.text("tag") ?? "latest"
      guard !tag.isEmpty else { throw attributes.invalid("tag is empty") }
      resets = try attributes.flag("reset") ?? false
      place = .directory(path: path, tag: tag)
    case "inline": place = .inline
    default: throw CacheAttributes.refusal(option, "--cache-to", "registry, local and inline")
    }
    switch attributes.text("mode") {
    case nil, "min"?: mode = .minimum
    case "max"?:
      if place == .inline { throw attributes.invalid("mode is max, and an inline cache is always min", "for mode=max use type=registry or type=local") }
      mode = .maximum
    case let text?: throw attributes.invalid("mode is \"\(text)\": expected min or max")
    }
    form = try attributes.form()
    ignoresError = try attributes.flag("ignore-error") ?? false
    ociTypes = try attributes.flag("oci-mediatypes") ?? true
    isImageManifest = try attributes.flag("image-manifest") ?? ociTypes
    if isImageManifest, !ociTypes { throw attributes.invalid("image-manifest is true, which contradicts oci-mediatypes=false") }
    unknown = attributes.unknown
  }

  /// What the vertex is called.
  package var title: String {
    switch place {
    case .registry: "exporting cache to registry"
    case .directory: "exporting cache to client directory"
    case .inline: "exporting inline cache"
    }
  }
  /// For errors.
  package var name: String {
    switch place {
    case .registry(let reference): "\(reference.familiar)"
    case .directory(let path, _): path
    case .inline: "the image"
    }
  }
}

/// Where a build may find results: a `--cache-from`.
package struct CacheSource: Sendable, Hashable {
  package enum Place: Sendable, Hashable {
    case registry(Reference)
    case directory(path: String, tag: String, digest: Digest?)
  }
  package var place: Place
  package var unknown: [String]
  /// As the person wrote it.
  package var name: String

  package init(_ option: CacheOption) throws {
    var attributes = CacheAttributes(option, "--cache-from")
    switch option.type {
    case "registry":
      name = option.attributes["ref"] ?? ""
      place = .registry(try attributes.reference())
    case "local":
      guard let path = attributes.text("src"), !path.isEmpty else { throw attributes.invalid("src is missing", "name the cache's directory: type=local,src=DIR") }
      let tag = attributes.text("tag") ?? "latest"
      var digest: Digest?
      if let text = attributes.text("digest"), !text.isEmpty {
        do { digest = try Digest(parsing: text) } catch { throw attributes.invalid("digest cannot be used: \(error)") }
      }
      place = .directory(path: path, tag: tag, digest: digest)
      name = "local:\(path)"
    case "inline": throw attributes.invalid("there is no such import", "an inline cache is in an image: name it by type=registry,ref=IMAGE")
    default: throw CacheAttributes.refusal(option, "--cache-from", "registry and local")
    }
    // What a writer's option says is passed over in a reader's: people keep one text for both.
    for key in ["mode", "compression", "compression-level", "force-compression", "oci-mediatypes", "image-manifest", "ignore-error"] { _ = attributes.text(key) }
    unknown = attributes.unknown
  }
}
