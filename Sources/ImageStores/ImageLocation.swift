package import OCIModel

/// Where an image is, as people write it: `REF` in a registry, `oci-layout://PATH[:tag][@digest]` in a directory, `local:NAME` in the store of this machine.
package enum ImageLocation: Hashable, Sendable, CustomStringConvertible {
  /// With a tag or a digest.
  case registry(Reference)
  case layout(path: String, tag: String?, digest: Digest?)
  /// A name, `name@digest`, or the id of an image.
  case local(String)

  /// What a text without a scheme is: a registry's image for `manifest`, `imagetools`, `verify` and `diff`, the local store's for the everyday verbs.
  package enum Bare: Sendable { case registry, local }

  package static let layoutScheme = "oci-layout://"
  package static let localScheme = "local:"
  /// For a registry where bare texts are the local store's.
  package static let registryScheme = "docker://"

  /// Throws `ImageStoreError.invalidLocation`. A registry's name gets `latest` when it has neither tag nor digest. `docker://REF` is always a registry's.
  package init(parsing text: String, bare: Bare = .registry) throws {
    if text.hasPrefix(Self.layoutScheme) {
      self = try Self.layout(parsing: text)
    } else if text.hasPrefix(Self.localScheme), !Self.isHostWithPort(text) {
      let name = String(text.dropFirst(Self.localScheme.count))
      guard !name.isEmpty else { throw ImageStoreError(.invalidLocation, "\(text): the name of an image is missing", advice: "Write local:NAME[:TAG], or local: and an image's id.") }
      self = .local(try Self.checkedLocal(name, text))
    } else if text.hasPrefix(Self.registryScheme) {
      self = .registry(try Self.reference(String(text.dropFirst(Self.registryScheme.count)), text))
    } else if text.contains("://") {
      throw ImageStoreError(
        .invalidLocation, "\(text.prefix(200)): there is no such place of images", advice: "Images are at REF, \(Self.layoutScheme)PATH[:TAG][@DIGEST] or \(Self.localScheme)NAME.")
    } else {
      switch bare {
      case .registry: self = .registry(try Self.reference(text, text))
      case .local: self = .local(try Self.checkedLocal(text, text))
      }
    }
  }

  /// `local:5000/app` is an image of a registry on port 5000 of a host that is called so.
  private static func isHostWithPort(_ text: String) -> Bool {
    let rest = text.dropFirst(localScheme.count)
    guard let slash = rest.firstIndex(of: "/") else { return false }
    return slash > rest.startIndex && rest[..<slash].allSatisfy { $0.isASCII && $0.isNumber }
  }

  private static func reference(_ text: String, _ whole: String) throws -> Reference {
    do { return try Reference(parsing: text).withDefaultTag } catch {
      throw ImageStoreError(.invalidLocation, error.message)
    }
  }

  private static func checkedLocal(_ name: String, _ whole: String) throws -> String {
    if isIdentifier(name) { return name }
    do { _ = try Reference(parsing: name) } catch { throw ImageStoreError(.invalidLocation, error.message) }
    return name
  }

  /// Whether it is an image's id alone, whole or its `sha256:` form: what no name can be.
  package static func isIdentifier(_ name: String) -> Bool {
    let hex = name.hasPrefix("sha256:") ? name.dropFirst(7) : name[...]
    guard hex.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) else { return false }
    return name.hasPrefix("sha256:") ? (1...64).contains(hex.utf8.count) : hex.utf8.count == 64
  }

  /// By buildx's rules: what is behind the last `@` is a digest if it has the form of one, what is behind the last `:` a tag if it can be one.
  private static func layout(parsing text: String) throws -> ImageLocation {
    var path = text.dropFirst(layoutScheme.count), tag: String?, digest: Digest?
    if let at = path.lastIndex(of: "@"), path[at...].contains(":"), !path[at...].contains("/") {
      do { digest = try Digest(parsing: String(path[path.index(after: at)...])) } catch { throw ImageStoreError(.invalidLocation, "\(text.prefix(400)): \(error.message)") }
      path = path[..<at]
    }
    if let colon = path.lastIndex(of: ":"), Reference.isTag(path[path.index(after: colon)...]) {
      tag = String(path[path.index(after: colon)...])
      path = path[..<colon]
    }
    guard !path.isEmpty else { throw ImageStoreError(.invalidLocation, "\(text): the path of the OCI layout is missing", advice: "Write \(layoutScheme)PATH[:TAG][@DIGEST].") }
    return .layout(path: String(path), tag: tag, digest: digest)
  }

  package var isLocal: Bool { if case .local = self { true } else { false } }

  /// As it is parsed again.
  package var description: String {
    switch self {
    case .registry(let reference): reference.familiar
    case .layout(let path, let tag, let digest): Self.layoutScheme + path + (tag.map { ":" + $0 } ?? "") + (digest.map { "@\($0)" } ?? "")
    case .local(let name): Self.localScheme + name
    }
  }

  /// As buildx prints it: registries' names in full.
  package var fullDescription: String { if case .registry(let reference) = self { reference.description } else { description } }

  /// The repository's name, the layout's path, or `local`: what names and digests are of.
  package var place: String {
    switch self {
    case .registry(let reference): reference.name
    case .layout(let path, _, _): path
    case .local: "local"
    }
  }

  /// Whether both are in one repository, layout or store, so that what the one has the other has too.
  package func sharesContent(with other: ImageLocation) -> Bool {
    switch (self, other) {
    case (.registry, .registry), (.layout, .layout), (.local, .local): place == other.place
    default: false
    }
  }

  /// The same place, and there what has this digest. A registry's name keeps its tag.
  package func with(digest: Digest) -> ImageLocation {
    switch self {
    case .registry(let reference): .registry(reference.with(digest: digest))
    case .layout(let path, _, _): .layout(path: path, tag: nil, digest: digest)
    case .local: .local(digest.description)
    }
  }
}
