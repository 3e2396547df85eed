internal import BuildInterface
internal import OCIModel

/// The annotations asked for with `annotation…` attributes: `annotation.KEY`, `annotation-manifest[linux/arm64].KEY`, `annotation-index.KEY`…
struct ImageAnnotations: Sendable {
  struct Group: Sendable {
    var index: [String: String] = [:]
    var indexDescriptor: [String: String] = [:]
    var manifest: [String: String] = [:]
    var manifestDescriptor: [String: String] = [:]
  }

  /// By the platform in brackets; nil for all platforms.
  private(set) var groups: [Platform?: Group] = [:]

  init(_ attributes: [(key: String, value: String)], of output: ExportAttributes) throws {
    for (key, value) in attributes {
      guard let (kind, platform, name) = try Self.parse(key) else { throw output.invalid(key, "is no annotation: expected annotation[-TYPE][[PLATFORM]].KEY") }
      switch kind {
      case "", "manifest": groups[platform, default: Group()].manifest[name] = value
      case "manifest-descriptor": groups[platform, default: Group()].manifestDescriptor[name] = value
      case "index": groups[platform, default: Group()].index[name] = value
      case "index-descriptor": groups[platform, default: Group()].indexDescriptor[name] = value
      default: throw output.invalid(key, "is of an unknown kind: the kinds are manifest, manifest-descriptor, index and index-descriptor")
      }
    }
  }

  private static func parse(_ text: String) throws -> (kind: String, platform: Platform?, key: String)? {
    var rest = text.dropFirst("annotation".count)
    var kind = ""
    if rest.first == "-" {
      kind = String(rest.dropFirst().prefix { $0 != "[" && $0 != "." })
      rest = rest.dropFirst(kind.count + 1)
      guard !kind.isEmpty else { return nil }
    }
    var platform: Platform?
    if rest.first == "[" {
      guard let close = rest.firstIndex(of: "]") else { return nil }
      do { platform = try Platform(parsing: String(rest[rest.index(after: rest.startIndex)..<close])).normalized } catch {
        throw BuildError(.invalidArgument, .usage, "the annotation \(text): \(error)")
      }
      rest = rest[rest.index(after: close)...]
    }
    guard rest.first == ".", rest.count > 1, !rest.contains(where: \.isWhitespace) else { return nil }
    return (kind, platform, String(rest.dropFirst()))
  }

  /// Those of the index and its descriptor.
  var ofIndex: Group {
    var out = Group()
    for group in groups.values {
      out.index.merge(group.index) { _, new in new }
      out.indexDescriptor.merge(group.indexDescriptor) { _, new in new }
    }
    return out
  }

  /// Those of one platform's manifest and its descriptor.
  func of(_ platform: Platform) -> Group {
    var out = Group()
    for group in [groups[nil], groups[platform.normalized]] {
      guard let group else { continue }
      out.manifest.merge(group.manifest) { _, new in new }
      out.manifestDescriptor.merge(group.manifestDescriptor) { _, new in new }
    }
    return out
  }

  /// Refuses what an image of these targets has no place for.
  func check(_ source: ExportSource, hasIndex: Bool, ociTypes: Bool) throws {
    for platform in groups.keys {
      guard let platform, !source.targets.contains(where: { $0.platform.normalized == platform }) else { continue }
      throw BuildError(.invalidArgument, .usage, "an annotation is for \(platform), which is not built: there is \(source.targets.map(\.id).joined(separator: ", "))")
    }
    let index = ofIndex
    if !hasIndex, !index.index.isEmpty || !index.indexDescriptor.isEmpty {
      throw BuildError(.invalidArgument, .usage, "annotations of the index need a multi-platform image; this one has a manifest alone")
    }
    let needsOCI = !index.index.isEmpty || !index.indexDescriptor.isEmpty || groups.values.contains { !$0.manifestDescriptor.isEmpty }
    if !ociTypes, needsOCI {
      throw BuildError(.invalidArgument, .usage, "annotations of an index or a descriptor cannot be had with oci-mediatypes=false")
    }
  }
}
