package import OCIModel

/// The cache manager over a key store and a result store: BuildKit's records, so that caches can cross over.
package final class StoredCache: CacheManager {
  package let id: String
  let keys: any CacheKeyStorage
  let results: any CacheResultStorage

  package init(id: String, keys: any CacheKeyStorage, results: any CacheResultStorage) {
    (self.id, self.keys, self.results) = (id, keys, results)
  }

  /// Everything in memory, for one process's life.
  package static func inMemory(id: String = "memory") -> StoredCache {
    StoredCache(id: id, keys: MemoryCacheStorage(), results: MemoryResultStorage())
  }

  package func query(_ inputs: [CacheKeyWithSelector], input: Int, digest: CacheDigest, output: Int) async throws -> [CacheKey] {
    guard !inputs.isEmpty else {
      let id = CacheKey.rootID(digest, output: output)
      return try await keys.exists(id) ? [CacheKey(id: id, manager: self.id, digest: digest, output: output)] : []
    }
    var links: [(from: String, link: CacheLink)] = []
    for dependency in inputs {
      let link = CacheLink(input: input, output: output, digest: digest, selector: dependency.selector)
      links.append((try await keyID(dependency.key.key), link))
    }
    let targets = try await keys.targets(of: links)
    let found = Set(targets.joined()).sorted()
    // What one of the keys leads to, all do: they are known to be the same thing.
    var missing: [CacheChange] = []
    for (i, (from, link)) in links.enumerated() {
      let own = Set(targets[i])
      for target in found where !own.contains(target) { missing.append(.addLink(from: from, link, to: target)) }
    }
    if !missing.isEmpty { try await keys.apply(missing) }
    return found.map { CacheKey(id: $0, manager: id, digest: digest, output: output) }
  }

  package func records(_ key: CacheKey, context: CacheContext) async throws -> [CacheRecord] {
    var records: [CacheRecord] = []
    for result in try await keys.results(of: keyID(key)) {
      if await results.exists(result.id, context: context) {
        records.append(CacheRecord(id: result.id, createdAt: result.createdAt, manager: self, key: key))
      } else {
        try await keys.apply([.release(result: result.id)])
      }
    }
    return records
  }

  private func stored(_ record: CacheRecord) async throws -> CacheResult {
    guard let result = try await keys.results(of: keyID(record.key)).first(where: { $0.id == record.id }) else { throw gone(record) }
    return result
  }
  private func gone(_ record: CacheRecord) -> SolverError {
    SolverError(.cache, "the cached result \(record.id) is gone")
  }

  package func load(_ record: CacheRecord, context: CacheContext) async throws -> any SolverResult {
    guard let result = try await results.load(stored(record), context: context) else { throw gone(record) }
    return result
  }

  package func loadWithParents(_ record: CacheRecord, context: CacheContext) async throws -> [LoadedResult] {
    let cached = try await stored(record)
    guard var loaded = try await results.loadWithParents(cached, context: context) else {
      guard let result = try await results.load(cached, context: context) else { throw gone(record) }
      return [LoadedResult(result: result, cacheResult: cached, key: record.key)]
    }
    var found: [LoadedResult] = []
    var seen: Set<String> = []
    var rest = [record.key]
    while let key = rest.popLast() {
      let id: String
      do { id = try await keyID(key) } catch { continue }
      guard seen.insert(id).inserted else { continue }
      if let result = loaded.removeValue(forKey: id) {
        let own = key === record.key ? cached : try? await keys.results(of: id).first
        if let own { found.append(LoadedResult(result: result, cacheResult: own, key: key)) } else { await result.release() }
      }
      rest += key.dependencies.joined().map(\.key.key)
    }
    for result in loaded.values { await result.release() }
    guard found.first?.key === record.key else {
      for result in found { await result.result.release() }
      throw gone(record)
    }
    return found
  }

  package func save(_ key: CacheKey, _ result: any SolverResult, createdAt: Timestamp) async throws -> CacheRecord {
    let saved = try await results.save(result, createdAt: createdAt)
    var changes: [CacheChange] = []
    try await addLinks(to: key, &changes)
    changes.append(.addResult(key: try await keyID(key), saved))
    try await keys.apply(changes)
    return CacheRecord(id: saved.id, createdAt: saved.createdAt, manager: self, key: key)
  }

  /// The links that lead to a key, and those that lead to where they begin, as far as they are not there yet.
  private func addLinks(to key: CacheKey, _ changes: inout [CacheChange]) async throws {
    var seen: Set<ObjectIdentifier> = [ObjectIdentifier(key)]
    var rest = [key]
    while let key = rest.popLast() {
      let to = try await keyID(key)
      var links: [(from: String, link: CacheLink)] = []
      var sources: [CacheKey] = []
      for (input, group) in key.dependencies.enumerated() {
        for dependency in group {
          let link = CacheLink(input: input, output: key.output, digest: key.digest, selector: dependency.selector)
          links.append((try await keyID(dependency.key.key), link))
          sources.append(dependency.key.key)
        }
      }
      guard !links.isEmpty else { continue }
      let present = try await keys.targets(of: links)
      for i in links.indices where !present[i].contains(to) {
        changes.append(.addLink(from: links[i].from, links[i].link, to: to))
        if seen.insert(ObjectIdentifier(sources[i])).inserted { rest.append(sources[i]) }
      }
    }
  }

  package func releaseUnreferenced() async throws {
    var seen: Set<String> = []
    for key in try await keys.keys() {
      for result in try await keys.results(of: key) where seen.insert(result.id).inserted {
        if !(await results.exists(result.id, context: CacheContext())) { try await keys.apply([.release(result: result.id)]) }
      }
    }
  }

  // MARK: ids

  /// One name for each choice of a key for every input. Who executed an input knows it by all its keys, who found it in the cache by the one that
  /// led there: they have that one in common. No name depends on what the cache holds just now. (All outputs of an op are computed together.)
  package func lockNames(_ key: CacheKey) async throws -> [String] {
    var names = ["\(key.digest)"]
    for (input, group) in key.dependencies.enumerated() {
      var keys: Set<String> = []
      for dependency in group { keys.insert("\n\(input) \(try await keyID(dependency.key.key)) \(dependency.selector?.description ?? "")") }
      // Beyond this many the work may be done twice, which harms nobody.
      if keys.isEmpty || names.count * keys.count > 32 { continue }
      names = names.flatMap { name in keys.map { name + $0 } }
    }
    return names.map { Digest.sha256(of: $0).hex }.sorted()
  }

  /// The id of a key here: known, or that of the key its dependencies lead to, or made from them. BuildKit makes a random one;
  /// this one is the same in every process, so that two that save the same key at once do not make two of it. It is no digest,
  /// so no one takes it for a root key.
  func keyID(_ key: CacheKey) async throws -> String {
    if let known = key.ids[id] { return known }
    guard !key.dependencies.isEmpty else { return key.remember(key.id, manager: id) }
    var hasher = DigestHasher()
    hasher.update("\(key.digest)@\(key.output)")
    var matches: Set<String>?
    for (input, group) in key.dependencies.enumerated() {
      var links: [(from: String, link: CacheLink)] = []
      for dependency in group {
        let link = CacheLink(input: input, output: key.output, digest: key.digest, selector: dependency.selector)
        links.append((try await keyID(dependency.key.key), link))
      }
      let names = Set(links.map { "\n\(input) \($0.from) \($0.link.selector?.description ?? "")" })
      for name in names.sorted() { hasher.update(name) }
      if matches?.isEmpty == true { continue }
      // A match of the whole input is what any of its keys leads to.
      let found = try await Set(keys.targets(of: links).joined())
      matches = matches?.intersection(found) ?? found
    }
    if let match = matches?.min() { return key.remember(match, manager: id) }
    return key.remember("k" + hasher.finish().hex.prefix(40), manager: id)
  }
}
