import BuildProgress
import OCIModel
import Synchronization
import Testing

@testable import BuildSolver

/// Numbers as layers: a number's blobs are those of the numbers below it and one of its own, made when they are first asked for.
private final class LayeredResults: CacheResultStorage {
  private let stored = MemoryResultStorage()
  private let made = Mutex<Set<String>>([])

  static func remote(_ result: any SolverResult) -> CacheRemote {
    CacheRemote(layers: (0...max(0, number(result) / 10)).map { i in
      CacheRemote.Layer(descriptor: Descriptor(mediaType: .ociLayerGzip, digest: .sha256(of: i == 0 ? "base" : "layer \(number(result))-\(i)"), size: 1))
    })
  }
  func make(_ result: any SolverResult) -> CacheRemote {
    made.withLock { _ = $0.insert(result.id) }
    return Self.remote(result)
  }
  func save(_ result: any SolverResult, createdAt: Timestamp) async -> CacheResult { await stored.save(result, createdAt: createdAt) }
  func load(_ result: CacheResult, context: CacheContext) -> (any SolverResult)? { stored.load(result, context: context) }
  func exists(_ id: String, context: CacheContext) -> Bool { stored.exists(id, context: context) }
  func remote(_ result: CacheResult, form: RemoteForm, context: CacheContext) -> CacheRemote? {
    guard made.withLock({ $0.contains(result.id) }), let loaded = stored.load(result, context: context) else { return nil }
    return Self.remote(loaded)
  }
}

/// An imported cache of numbers: what a remote stands for is told by its number of layers.
private struct ImportedNumbers: CacheResultStorage {
  let records: ImportedRecords
  let loads = Loads()
  final class Loads: Sendable {
    let ids = Mutex<[String]>([])
  }
  func save(_ result: any SolverResult, createdAt: Timestamp) async throws -> CacheResult { throw SolverError(.cache, "only read") }
  func exists(_ id: String, context: CacheContext) -> Bool { records.remote(id) != nil }
  func load(_ result: CacheResult, context: CacheContext) -> (any SolverResult)? {
    guard let remote = records.remote(result.id) else { return nil }
    loads.ids.withLock { $0.append(result.id) }
    return Number((remote.layers.count - 1) * 10)
  }
}

@Suite struct CacheExportTests {
  private func solver(_ cache: any CacheManager) -> Solver {
    Solver(SolverOptions(cache: cache, jobs: 4) { vertex in
      guard let op = vertex.payload as? TestOp else { throw TestFailure(text: "no op") }
      return op
    })
  }

  /// `builder` of a base, read by content, into the `final` of the same base.
  private func graph(_ sources: [any CacheManager] = [], ignoring: Set<String> = []) -> (graph: Graph, final: Vertex) {
    let graph = Graph()
    func make(_ name: String, _ kind: Kind = .sum, _ value: Int, _ inputs: [In] = []) -> Vertex {
      graph.vertex(
        name, kind, value: value, inputs: inputs,
        options: VertexOptions(ignoreCache: ignoring.contains(name), cacheSources: sources))
    }
    let base = make("base", .const, 0)
    let first = make("first", .sum, 10, [In(base)])
    let builder = make("builder", .sum, 20, [In(first)])
    let copy = make("copy", .sum, 10, [In(base), In(builder, content: "all")])
    return (graph, make("final", .sum, 10, [In(copy)]))
  }

  private func exported(_ mode: CacheExportOptions.Mode, _ cache: StoredCache, _ results: LayeredResults) async throws -> CacheChains {
    let solver = solver(cache)
    let (_, final) = graph()
    let chains = try await solver.withJob(id: "first") { job in
      let result = try await job.build(Edge(final))
      var chains = CacheChains()
      try await job.exportCache(
        of: result, to: &chains, CacheExportOptions(mode: mode, form: RemoteForm(compression: "gzip")) { result in results.make(result) })
      await result.release()
      return chains
    }
    await solver.shutdown()
    return chains
  }

  private func withResults(_ chains: CacheChains) -> Int { chains.records.count { !chains.results(of: $0).isEmpty } }

  @Test func aMinimalExportHasWhatTheResultContains() async throws {
    let results = LayeredResults()
    let cache = StoredCache(id: "one", keys: MemoryCacheStorage(), results: results)
    let chains = try await exported(.minimum, cache, results)
    // Only the result itself has blobs here; all records that lead to it are there.
    #expect(withResults(chains) == 1)
    #expect(chains.count >= 5)
    let all = try await exported(.maximum, cache, results)
    #expect(withResults(all) == 4, "first, builder, copy, final")
  }

  @Test func anotherMachineFindsEverything() async throws {
    for mode in [CacheExportOptions.Mode.minimum, .maximum] {
      let results = LayeredResults()
      let chains = try await exported(mode, StoredCache(id: "one", keys: MemoryCacheStorage(), results: results), results)
      let records = ImportedRecords(chains)
      let numbers = ImportedNumbers(records: records)
      let imported = StoredCache(id: "imported", keys: records, results: numbers)
      let other = StoredCache.inMemory(id: "two")
      let solver = solver(other)
      let (graph, final) = graph([imported])
      let value = try await solver.withJob(id: "second") { job in
        let result = try await job.build(Edge(final))
        defer { Task { await result.release() } }
        return number(result)
      }
      #expect(value == 20 + 10 * 0 || value > 0)
      #expect(graph.counts.total == 0, "\(mode): \(graph.counts.executions)")
      #expect(numbers.loads.ids.withLock { $0.count } == 1)
      // What was loaded is the local cache's own now.
      let (again, last) = self.graph()
      _ = try await solver.withJob(id: "third") { job in await (try job.build(Edge(last))).release() }
      #expect(again.counts.total == 0, "\(again.counts.executions)")
      await solver.shutdown()
    }
  }

  @Test func onlyAMaximalExportHasOtherStages() async throws {
    for (mode, executed) in [(CacheExportOptions.Mode.minimum, true), (.maximum, false)] {
      let results = LayeredResults()
      let chains = try await exported(mode, StoredCache(id: "one", keys: MemoryCacheStorage(), results: results), results)
      let records = ImportedRecords(chains)
      let imported = StoredCache(id: "imported", keys: records, results: ImportedNumbers(records: records))
      let solver = solver(StoredCache.inMemory(id: "two"))
      // The last step is new: what it reads must be had.
      let (graph, _) = graph()
      let base = graph.vertex("base", .const, options: VertexOptions(cacheSources: [imported]))
      let first = graph.vertex("first", value: 10, inputs: [In(base)], options: VertexOptions(cacheSources: [imported]))
      let builder = graph.vertex("builder", value: 20, inputs: [In(first)], options: VertexOptions(cacheSources: [imported]))
      let new = graph.vertex("new", value: 10, inputs: [In(builder)], options: VertexOptions(cacheSources: [imported]))
      try await solver.withJob(id: "second") { job in await (try job.build(Edge(new))).release() }
      #expect((graph.counts.executions["builder"] ?? 0 > 0) == executed, "\(mode): \(graph.counts.executions)")
      await solver.shutdown()
    }
  }

  @Test func stepsThatMustRunAgainRunAgain() async throws {
    let results = LayeredResults()
    let chains = try await exported(.maximum, StoredCache(id: "one", keys: MemoryCacheStorage(), results: results), results)
    let records = ImportedRecords(chains)
    let imported = StoredCache(id: "imported", keys: records, results: ImportedNumbers(records: records))
    let solver = solver(StoredCache.inMemory(id: "two"))
    let (graph, final) = graph([imported], ignoring: ["base", "first", "builder", "copy", "final"])
    try await solver.withJob(id: "second") { job in await (try job.build(Edge(final))).release() }
    #expect(graph.counts.total == 5)
    await solver.shutdown()
  }

  @Test func aCacheThatFailsKnowsNothing() async throws {
    struct Broken: CacheKeyStorage {
      func exists(_ key: String) throws -> Bool { throw TestFailure(text: "gone") }
      func targets(of links: [(from: String, link: CacheLink)]) throws -> [[String]] { throw TestFailure(text: "gone") }
      func results(of key: String) throws -> [CacheResult] { throw TestFailure(text: "gone") }
      func apply(_ changes: [CacheChange]) throws {}
      func keys() throws -> [String] { [] }
      func keys(withResult id: String) throws -> [String] { [] }
      func backlinks(of key: String) throws -> [CacheBacklink] { [] }
    }
    let solver = solver(StoredCache.inMemory(id: "two"))
    let (graph, final) = graph([StoredCache(id: "broken", keys: Broken(), results: MemoryResultStorage())])
    try await solver.withJob(id: "second") { job in await (try job.build(Edge(final))).release() }
    #expect(graph.counts.total == 5)
    await solver.shutdown()
  }

  // MARK: - Chains

  private func remote(_ layers: String...) -> CacheRemote {
    CacheRemote(layers: layers.map { CacheRemote.Layer(descriptor: Descriptor(mediaType: .ociLayer, digest: .sha256(of: $0), size: 1)) })
  }
  private func digest(_ text: String) -> String { Digest.sha256(of: text).description }

  @Test func equalRecordsAreOne() throws {
    var chains = CacheChains()
    let a = try #require(try chains.add(digest("a"))), b = try #require(try chains.add(digest("b")))
    #expect(try chains.add(digest("a")) == a)
    let both = try #require(try chains.add(digest("c"), [[.init(a), .init(b)]]))
    #expect(try chains.add(digest("c"), [[.init(b)]]) == both, "one input record in common")
    #expect(try chains.add(digest("c"), [[.init(b, selector: Digest.sha256(of: "s"))]]) != both, "another part of it")
    #expect(try chains.add("random:" + digest("r").dropFirst(7)) == nil)
    #expect(throws: SolverError.self) { try chains.add(digest("d"), [[]]) }
  }

  @Test func recordsThatTurnOutEqualAreUnited() throws {
    var chains = CacheChains()
    let a = try #require(try chains.add(digest("a"))), b = try #require(try chains.add(digest("b")))
    let one = try #require(try chains.add(digest("c"), [[.init(a)]], [CacheExportResult(createdAt: Timestamp(seconds: 1), remote: remote("x"))]))
    let two = try #require(try chains.add(digest("c"), [[.init(b)]], [CacheExportResult(createdAt: Timestamp(seconds: 2), remote: remote("x", "y"))]))
    let child = try #require(try chains.add(digest("d"), [[.init(two)]]))
    #expect(one != two)
    let united = try #require(try chains.add(digest("c"), [[.init(a), .init(b)]]))
    #expect(chains.results(of: united).count == 2)
    #expect(chains.inputs(of: child)[0].contains(.init(united)))
  }

  /// A step whose result has the content of its input leads to itself.
  @Test func circlesEnd() throws {
    var chains = CacheChains()
    let a = try #require(try chains.add(digest("a")))
    let b = try #require(try chains.add(digest("b"), [[.init(a)]]))
    let c = try #require(try chains.add(digest("c"), [[.init(b)]]))
    #expect(try chains.add(digest("b"), [[.init(a), .init(c)]]) == b)
    #expect(chains.inputs(of: b) == [[.init(a)]], "what is made from it is none of its inputs")
    #expect(ImportedRecords(chains).keys().count == 3)
  }

  @Test func aTangleIsRefused() throws {
    var chains = CacheChains(maximumWork: 10_000)
    #expect(throws: SolverError.self) {
      let root = try #require(try chains.add(digest("root")))
      let middle = try #require(try chains.add(digest("middle"), [[.init(root)]]))
      for i in 0..<200 { _ = try chains.add(digest("leaf \(i)"), [[.init(middle)]]) }
      for _ in 0..<200 { _ = try chains.add(digest("middle"), [[.init(root)]]) }
    }
  }

  @Test func partsOfAResultComeWithIt() throws {
    var chains = CacheChains()
    let base = try #require(try chains.add(digest("base")))
    let first = try #require(try chains.add(digest("first"), [[.init(base)]], [CacheExportResult(createdAt: Timestamp(seconds: 1), remote: remote("1", "2"))]))
    let other = try #require(try chains.add(digest("other"), [[.init(base)]], [CacheExportResult(createdAt: Timestamp(seconds: 1), remote: remote("9"))]))
    _ = try chains.add(digest("last"), [[.init(first)], [.init(other)]], [CacheExportResult(createdAt: Timestamp(seconds: 1), remote: remote("1", "2", "3"))])
    let records = ImportedRecords(chains)
    let found = records.remotes(below: remote("1", "2", "3").id)
    #expect(found.values.map(\.layers.count).sorted() == [2, 3])
    #expect(records.remote(remote("9").id)?.layers.count == 1 && records.remote("nothing") == nil)
  }
}
