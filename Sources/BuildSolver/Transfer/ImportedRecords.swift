internal import OCIModel

/// The records of a cache from elsewhere, to be asked like any other. Never changes.
package final class ImportedRecords: CacheKeyStorage {
  private struct Way: Hashable {
    var input: Int
    var selector: Digest?
    var record: String
  }
  private struct Entry {
    var record: CacheChains.Record
    var links: [Way: [String]] = [:]
    var backlinks: [CacheBacklink] = []
    var results: [CacheResult] = []
  }
  private let chains: CacheChains
  private let entries: [String: Entry]
  private let names: [CacheChains.Record: String]
  private let holders: [String: [String]]

  package init(_ chains: CacheChains) {
    self.chains = chains
    let (order, broken) = chains.ordered()
    var entries: [String: Entry] = [:]
    var names: [CacheChains.Record: String] = [:]
    var holders: [String: [String]] = [:]
    for record in order {
      let digest = chains.digest(of: record)
      let inputs = chains.inputs(of: record).map { $0.filter { names[$0.record] != nil && !broken.contains(.init($0.record, record)) } }
      // Only what it leads to leads to it.
      if inputs.contains(where: \.isEmpty) { continue }
      let id = inputs.isEmpty ? digest : ImportedRecords.name(digest, inputs, names)
      names[record] = id
      var entry = entries[id] ?? Entry(record: record)
      for (input, links) in inputs.enumerated() {
        for link in links {
          guard let from = names[link.record] else { continue }
          entries[from]?.links[Way(input: input, selector: link.selector, record: digest), default: []].append(id)
          entry.backlinks.append(CacheBacklink(from: from, input: input, selector: link.selector, record: digest))
        }
      }
      for result in chains.results(of: record) {
        let name = result.remote.id
        if entry.results.contains(where: { $0.id == name }) { continue }
        entry.results.append(CacheResult(id: name, createdAt: result.createdAt))
        holders[name, default: []].append(id)
      }
      entries[id] = entry
    }
    self.entries = entries
    self.names = names
    self.holders = holders
  }

  /// A name that equal records of two caches have in common. No digest, so that no one takes it for a root's.
  private static func name(_ digest: String, _ inputs: [[CacheChains.Link]], _ names: [CacheChains.Record: String]) -> String {
    var hasher = DigestHasher()
    hasher.update(digest)
    for (input, links) in inputs.enumerated() {
      for text in links.map({ "\n\(input) \(names[$0.record] ?? "") \($0.selector?.description ?? "")" }).sorted() { hasher.update(text) }
    }
    return "i" + hasher.finish().hex.prefix(40)
  }

  /// Records, and those among them that have a result.
  package var counts: (records: Int, results: Int) { (entries.count, entries.values.count { !$0.results.isEmpty }) }

  // MARK: - As a storage

  package func exists(_ key: String) -> Bool { entries[key] != nil }
  package func targets(of links: [(from: String, link: CacheLink)]) -> [[String]] {
    links.map { from, link in
      entries[from]?.links[Way(input: link.input, selector: link.selector, record: CacheKey.rootID(link.digest, output: link.output))] ?? []
    }
  }
  package func results(of key: String) -> [CacheResult] { entries[key]?.results ?? [] }
  /// Nothing is added here, and nothing forgotten.
  package func apply(_ changes: [CacheChange]) {}
  package func keys() -> [String] { entries.keys.sorted() }
  package func keys(withResult id: String) -> [String] { holders[id] ?? [] }
  package func backlinks(of key: String) -> [CacheBacklink] { entries[key]?.backlinks ?? [] }

  // MARK: - Results

  /// The blobs of a result.
  package func remote(_ result: String) -> CacheRemote? {
    guard let key = holders[result]?.first, let entry = entries[key] else { return nil }
    return chains.results(of: entry.record).first { $0.remote.id == result }?.remote
  }

  /// The result, and those of the records that led to it of which the layers are the lowest of its own: by key id.
  package func remotes(below result: String) -> [String: CacheRemote] {
    guard let whole = remote(result) else { return [:] }
    var found: [String: CacheRemote] = [:]
    var rest = holders[result] ?? []
    var seen = Set(rest)
    while let key = rest.popLast() {
      guard let entry = entries[key] else { continue }
      if let best = chains.results(of: entry.record).map(\.remote).filter({ $0.isBelow(whole) }).max(by: { $0.layers.count < $1.layers.count }) { found[key] = best }
      rest += entry.backlinks.map(\.from).filter { seen.insert($0).inserted }
    }
    return found
  }
}
