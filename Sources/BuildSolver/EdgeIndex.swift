import OCIModel

/// Finds active edges that compute the same: their keys have the same op digest and output, and for each input a key in
/// common. The links are those of a cache, kept only while an edge needs them.
struct EdgeIndex {
  private struct Item {
    var edge: ActiveEdge?
    var links: [CacheLink: Set<String>] = [:]
    /// The items whose links lead here, and by which link.
    var sources: [String: Set<CacheLink>] = [:]
  }
  private var items: [String: Item] = [:]
  private var heldBy: [ObjectIdentifier: Set<String>] = [:]
  private var made = 0
  private var sweepAbove = 256

  var isEmpty: Bool { items.isEmpty && heldBy.isEmpty }
  var count: Int { items.count }

  /// The other edge that has the key; else remembers that `edge` has it. An edge that must execute only yields to one that
  /// must execute too.
  mutating func loadOrStore(_ key: CacheKey, _ edge: ActiveEdge) -> ActiveEdge? {
    let matches = matches(key)
    for id in matches {
      if let other = items[id]?.edge, other !== edge, other.machine.ignoreCache || !edge.machine.ignoreCache {
        link(id, to: key)
        return other
      }
    }
    let id = matches.first ?? makeID()
    link(id, to: key)
    if let old = items[id]?.edge, old !== edge { heldBy[ObjectIdentifier(old)]?.remove(id) }
    items[id]?.edge = edge
    heldBy[ObjectIdentifier(edge), default: []].insert(id)
    return nil
  }

  mutating func release(_ edge: ActiveEdge) {
    for id in heldBy.removeValue(forKey: ObjectIdentifier(edge)) ?? [] {
      items[id]?.edge = nil
      drop(ifUnused: id)
    }
    sweep()
  }

  /// Keys can lead to each other in a circle (an op whose result has the content of its input), and nothing in a circle looks
  /// unused by itself. So from time to time everything goes that leads to no edge; in all it costs no more than the items did.
  private mutating func sweep() {
    guard heldBy.isEmpty || items.count > sweepAbove else { return }
    var needed: Set<String> = []
    var rest = heldBy.values.flatMap { $0 }
    while let id = rest.popLast() {
      if needed.insert(id).inserted { rest += items[id]?.sources.keys.filter { !needed.contains($0) } ?? [] }
    }
    if needed.count < items.count {
      items = items.filter { needed.contains($0.key) }.mapValues { item in
        var item = item
        item.links = item.links.mapValues { $0.intersection(needed) }.filter { !$0.value.isEmpty }
        return item
      }
    }
    sweepAbove = max(256, items.count * 2)
  }

  private mutating func makeID() -> String {
    made += 1
    return "#\(made)"
  }

  private mutating func drop(ifUnused id: String) {
    var rest = [id]
    while let id = rest.popLast() {
      guard let item = items[id], item.edge == nil, item.links.values.allSatisfy({ $0 == [id] }) else { continue }
      items[id] = nil
      for (source, links) in item.sources {
        for link in links {
          items[source]?.links[link]?.remove(id)
          if items[source]?.links[link]?.isEmpty == true { items[source]?.links[link] = nil }
        }
        rest.append(source)
      }
    }
  }

  /// Links the item to all keys its inputs are known by.
  private mutating func link(_ id: String, to key: CacheKey) {
    if items[id] == nil { items[id] = Item() }
    for (input, group) in key.dependencies.enumerated() {
      for dependency in group {
        let link = CacheLink(input: input, output: key.output, digest: key.digest, selector: dependency.selector)
        for source in ensureIDs(dependency.key.key) where items[source] != nil {
          items[source]?.links[link, default: []].insert(id)
          items[id]?.sources[source, default: []].insert(link)
        }
      }
    }
  }

  /// The ids of a key of an input, made up if no edge is known for it.
  private mutating func ensureIDs(_ key: CacheKey) -> [String] {
    let known = key.indexIDs
    if !known.isEmpty {
      // What the key was known by may have gone with the last edge that used it.
      for id in known where items[id] == nil { link(id, to: key) }
      return known
    }
    let found = matches(key)
    let ids = found.isEmpty ? [makeID()] : found
    key.indexIDs = ids
    for id in ids { link(id, to: key) }
    return ids
  }

  private mutating func matches(_ key: CacheKey) -> [String] {
    guard !key.dependencies.isEmpty else { return [CacheKey.rootID(key.digest, output: key.output)] }
    var common: Set<String>?
    for (input, group) in key.dependencies.enumerated() {
      var own: Set<String> = []
      for dependency in group {
        let link = CacheLink(input: input, output: key.output, digest: key.digest, selector: dependency.selector)
        for source in ensureIDs(dependency.key.key) { own.formUnion(items[source]?.links[link] ?? []) }
      }
      common = common?.intersection(own) ?? own
    }
    return (common ?? []).sorted()
  }
}
