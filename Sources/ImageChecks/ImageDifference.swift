internal import LayerArchive
package import OCIModel

/// What differs between two images: values, to be shown or asked.
package struct ImageDifference: Sendable {
  package struct Side: Sendable {
    package var digest: Digest
    package var mediaType: MediaType
  }
  package var a: Side
  package var b: Side
  /// Of the indexes themselves: media type, annotations, which images have attestations.
  package var fields: [FieldChange] = []
  /// Platforms that one of the two has alone.
  package var onlyA: [Platform] = []
  package var onlyB: [Platform] = []
  /// The images that were compared, in the order of the first one's index.
  package var images: [ImagePair] = []

  /// Nothing differs but, perhaps, the form in which documents say the same.
  package var isEmpty: Bool { a.digest == b.digest || fields.isEmpty && onlyA.isEmpty && onlyB.isEmpty && images.allSatisfy(\.isEmpty) }
}

/// A field of a document; nil where there is none.
package struct FieldChange: Sendable, Hashable {
  /// `Env.PATH`, `Labels.version`, `created`.
  package var name: String
  package var a: String?
  package var b: String?
}

/// Two images for one platform, or for two.
package struct ImagePair: Sendable {
  package struct Side: Sendable {
    package var platform: Platform
    package var digest: Digest
  }
  package struct Layer: Sendable {
    package enum State: String, Sendable {
      case shared, added, removed
      /// The same files in other bytes: compressed otherwise.
      case repacked
    }
    package var state: State
    package var digest: Digest
    package var size: Int64
    package var diffID: Digest?
    package var createdBy: String?
    /// With `repacked`: the second image's.
    package var other: (digest: Digest, size: Int64)?
  }
  package var a: Side
  package var b: Side
  package var config: [FieldChange] = []
  package var layers: [Layer] = []
  /// nil: not asked for.
  package var files: [FileChange]?

  package var isEmpty: Bool { config.isEmpty && layers.allSatisfy { $0.state == .shared } && (files ?? []).isEmpty }
}

/// A file that one of two images has alone, or that differs.
package struct FileChange: Sendable, Hashable {
  package enum Kind: String, Sendable { case added, removed, changed }
  package struct Aspect: Sendable, Hashable {
    /// `type`, `mode`, `owner`, `size`, `content`, `link`, `device`, `attributes`.
    package var name: String
    package var a: String
    package var b: String
  }
  package var kind: Kind
  package var path: String
  /// What there is of it on the side that has it.
  package var facts: FileFacts
  /// Of changed ones, never empty.
  package var aspects: [Aspect] = []
}

extension ImageDifference {
  package func json(nameA: String, nameB: String) -> JSONValue {
    func side(_ name: String, _ side: Side) -> JSONValue {
      .object(JSONObject([("name", .string(name)), ("digest", .string("\(side.digest)")), ("mediaType", .string(side.mediaType.rawValue))]))
    }
    return .object(
      JSONObject([
        ("equal", .bool(isEmpty)), ("a", side(nameA, a)), ("b", side(nameB, b)), ("index", .array(fields.map(\.json))),
        ("platforms", .object(JSONObject([("onlyA", .array(onlyA.map { .string($0.fullDescription) })), ("onlyB", .array(onlyB.map { .string($0.fullDescription) }))]))),
        ("images", .array(images.map(\.json))),
      ]))
  }
}

extension FieldChange {
  var json: JSONValue { .object(JSONObject([("field", .string(name)), ("a", a.map { .string($0) } ?? .null), ("b", b.map { .string($0) } ?? .null)])) }
}

extension ImagePair {
  var json: JSONValue {
    var object = JSONObject([
      ("equal", .bool(isEmpty)), ("platformA", .string(a.platform.fullDescription)), ("platformB", .string(b.platform.fullDescription)), ("digestA", .string("\(a.digest)")),
      ("digestB", .string("\(b.digest)")), ("config", .array(config.map(\.json))), ("layers", .array(layers.map(\.json))),
    ])
    if let files { object["files"] = .array(files.map(\.json)) }
    return .object(object)
  }
}

extension ImagePair.Layer {
  var json: JSONValue {
    var object = JSONObject([("state", .string(state.rawValue)), ("digest", .string("\(digest)")), ("size", .int(size))])
    if let other {
      object["digestB"] = .string("\(other.digest)")
      object["sizeB"] = .int(other.size)
    }
    if let diffID { object["diffID"] = .string("\(diffID)") }
    if let createdBy, !createdBy.isEmpty { object["createdBy"] = .string(createdBy) }
    return .object(object)
  }
}

extension FileChange {
  var json: JSONValue {
    var object = JSONObject([("change", .string(kind.rawValue)), ("path", .string(path)), ("type", .string(facts.kind.rawValue))])
    if kind != .changed {
      object["mode"] = .string(facts.modeText)
      object["owner"] = .string(facts.ownerText)
      if facts.kind == .file { object["size"] = .int(facts.size) }
      if facts.kind == .symbolicLink { object["link"] = .string("\(facts.target)") }
    }
    for aspect in aspects { object[aspect.name] = .object(JSONObject([("a", .string(aspect.a)), ("b", .string(aspect.b))])) }
    return .object(object)
  }
}

extension FileFacts {
  /// Octal, as chmod takes it.
  package var modeText: String { String(mode, radix: 8) }
  package var ownerText: String { "\(uid):\(gid)" }

  /// What a person would call different.
  func aspects(to other: FileFacts) -> [FileChange.Aspect] {
    var out: [FileChange.Aspect] = []
    func compare(_ name: String, _ a: String, _ b: String) { if a != b { out.append(FileChange.Aspect(name: name, a: a, b: b)) } }
    compare("type", kind.rawValue, other.kind.rawValue)
    // A link's own mode means nothing.
    if kind != .symbolicLink || other.kind != .symbolicLink { compare("mode", modeText, other.modeText) }
    compare("owner", ownerText, other.ownerText)
    if kind == other.kind {
      if kind == .file {
        compare("size", "\(size)", "\(other.size)")
        compare("content", content.map { "\($0)" } ?? "", other.content.map { "\($0)" } ?? "")
      }
      if target != other.target { out.append(FileChange.Aspect(name: "link", a: "\(target)", b: "\(other.target)")) }
      compare("device", "\(deviceMajor):\(deviceMinor)", "\(other.deviceMajor):\(other.deviceMinor)")
    }
    if attributes != other.attributes {
      func text(_ attributes: [String: [UInt8]]) -> String { attributes.sorted { $0.key < $1.key }.map { "\($0.key)=\(Digest.sha256(of: $0.value).hex.prefix(12))" }.joined(separator: " ") }
      out.append(FileChange.Aspect(name: "attributes", a: text(attributes), b: text(other.attributes)))
    }
    return out
  }
}

extension FileTable {
  /// What leads from this table to another, in the order of paths.
  package func changes(to other: FileTable) -> [FileChange] {
    var out: [FileChange] = []
    func all(_ kind: FileChange.Kind, _ node: FileNode, _ path: ByteString) {
      out.append(FileChange(kind: kind, path: "/\(path)", facts: node.facts))
      for name in node.children.keys.sorted() { if let slot = node.children[name] { all(kind, slot.node, path.appending(name)) } }
    }
    func compare(_ a: FileNode, _ b: FileNode, _ path: ByteString) {
      let names = Set(a.children.keys).union(b.children.keys).sorted()
      for name in names {
        let here = path.appending(name)
        switch (a.children[name]?.node, b.children[name]?.node) {
        case (let old?, nil): all(.removed, old, here)
        case (nil, let new?): all(.added, new, here)
        case (let old?, let new?):
          let aspects = old.facts.aspects(to: new.facts)
          if !aspects.isEmpty { out.append(FileChange(kind: .changed, path: "/\(here)", facts: new.facts, aspects: aspects)) }
          compare(old, new, here)
        case (nil, nil): break
        }
      }
    }
    compare(root, other.root, "")
    return out
  }
}
