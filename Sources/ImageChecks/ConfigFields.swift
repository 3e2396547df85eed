internal import OCIModel

/// An image's config as flat fields, so that two can be compared name by name.
enum ConfigFields {
  /// In the document's order. Variables and labels by name; ports and volumes each for itself; layers are compared elsewhere.
  static func flat(_ config: JSONValue) -> [(String, String)] {
    var out: [(String, String)] = []
    for (key, value) in config.objectValue?.members ?? [] {
      switch key {
      case "rootfs": continue
      case "history": out += history(value)
      case "config":
        for (name, value) in value.objectValue?.members ?? [] where !isNothing(value) { out += runField(name, value) }
      default: if !isNothing(value) { out.append((key, text(value))) }
      }
    }
    return out
  }

  private static func runField(_ name: String, _ value: JSONValue) -> [(String, String)] {
    switch name {
    case "Env":
      var seen: [String: Int] = [:]
      var out: [(String, String)] = []
      for case .string(let line) in value.arrayValue ?? [] {
        let name = String(line.prefix { $0 != "=" })
        let value = line.count > name.count ? String(line.dropFirst(name.count + 1)) : ""
        // A later one holds.
        if let i = seen[name] { out[i].1 = value } else {
          seen[name] = out.count
          out.append(("Env." + name, value))
        }
      }
      return out
    case "Labels", "ExposedPorts", "Volumes":
      guard let members = value.objectValue?.members else { return [(name, text(value))] }
      return members.map { ("\(name).\($0.key)", text($0.value)) }
    default: return [(name, text(value))]
    }
  }

  /// Without times, which differ wherever something was built anew.
  private static func history(_ value: JSONValue) -> [(String, String)] {
    (value.arrayValue ?? []).enumerated().map { i, line in
      let parts = ["created_by", "comment", "author"].compactMap { line[$0]?.stringValue }.filter { !$0.isEmpty }
      return ("history.\(i + 1)", parts.joined(separator: " # ") + (line["empty_layer"]?.boolValue == true ? " (no layer)" : ""))
    }
  }

  /// What says as much as not being there.
  private static func isNothing(_ value: JSONValue) -> Bool {
    switch value {
    case .null: true
    case .string(let text): text.isEmpty
    case .bool(let flag): !flag
    case .array(let array): array.isEmpty
    case .object(let object): object.members.isEmpty
    default: false
    }
  }

  private static func text(_ value: JSONValue) -> String { value.stringValue ?? value.encodedString(escapeHTML: false) }

  /// In the order of the first, then what the second has alone.
  static func changes(_ a: [(String, String)], _ b: [(String, String)]) -> [FieldChange] {
    let first = Dictionary(a) { $1 }, second = Dictionary(b) { $1 }
    var out: [FieldChange] = [], seen = Set<String>()
    for (name, _) in a + b where seen.insert(name).inserted && first[name] != second[name] { out.append(FieldChange(name: name, a: first[name], b: second[name])) }
    return out
  }
}

/// Layers of two images beside one another.
enum LayerChanges {
  private struct Layer: Equatable {
    var digest: Digest
    var size: Int64
    var diffID: Digest?
    var createdBy: String?
    /// The same files, when config and manifest are of one mind about the layers.
    static func == (a: Layer, b: Layer) -> Bool { if let own = a.diffID, let other = b.diffID { own == other } else { a.digest == b.digest } }
  }

  private static func layers(_ manifest: ImageManifest, _ config: ImageConfig) -> [Layer] {
    let history = LayerHistory(config, layers: manifest.layers.count)
    let isWhole = config.diffIDs.count == manifest.layers.count
    return manifest.layers.enumerated().map { Layer(digest: $1.digest, size: $1.size, diffID: isWhole ? config.diffIDs[$0] : nil, createdBy: history[$0]) }
  }

  /// From the bottom up, what the first has alone before what the second has alone.
  static func of(_ a: ImageManifest, _ configA: ImageConfig, _ b: ImageManifest, _ configB: ImageConfig) -> [ImagePair.Layer] {
    let old = layers(a, configA), new = layers(b, configB)
    let difference = new.difference(from: old)
    let removed = Set(difference.removals.map { if case .remove(let offset, _, _) = $0 { offset } else { -1 } })
    let added = Set(difference.insertions.map { if case .insert(let offset, _, _) = $0 { offset } else { -1 } })
    func plain(_ layer: Layer, _ state: ImagePair.Layer.State) -> ImagePair.Layer {
      ImagePair.Layer(state: state, digest: layer.digest, size: layer.size, diffID: layer.diffID, createdBy: layer.createdBy)
    }
    var out: [ImagePair.Layer] = []
    var j = 0
    for (i, layer) in old.enumerated() {
      if removed.contains(i) {
        out.append(plain(layer, .removed))
        continue
      }
      while added.contains(j) {
        out.append(plain(new[j], .added))
        j += 1
      }
      var same = plain(layer, .shared)
      if j < new.count, new[j].digest != layer.digest { (same.state, same.other) = (.repacked, (new[j].digest, new[j].size)) }
      out.append(same)
      j += 1
    }
    return out + new[j...].map { plain($0, .added) }
  }
}
