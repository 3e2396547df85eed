import Foundation
import OCIModel
import Synchronization
import Testing

@testable import BuildSolver

// What BuildKit's solver does with the same graphs: see Golden/README.md.

struct Scenario: Decodable, Sendable, CustomTestStringConvertible {
  struct Input: Decodable, Sendable { var v: String; var i: Int?; var selector: String?; var content: String? }
  struct Spec: Decodable, Sendable {
    var name: String
    var seed: String
    var more: [String]?
    var kind: String
    var value: Int
    var inputs: [Input]?
    var ignoreCache: Bool?
  }
  struct Step: Decodable, Sendable {
    var vertices: [Spec]
    var build: String
    var index: Int?
    var job: String
    var discard: Bool?
    var execs: [String: Int]
    var value: Int
  }
  var name: String
  var steps: [Step]
  var links: [String]
  var results: [String]
  var testDescription: String { name }

  static func load() throws -> [Scenario] {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/scenarios.json")
    return try JSONDecoder().decode([Scenario].self, from: Data(contentsOf: file))
  }
}

/// A storage that keeps what was written to it.
final class WrittenStorage: CacheKeyStorage {
  private let inner = MemoryCacheStorage()
  private let written = Mutex<[CacheChange]>([])
  func exists(_ key: String) -> Bool { inner.exists(key) }
  func targets(of links: [(from: String, link: CacheLink)]) -> [[String]] { inner.targets(of: links) }
  func results(of key: String) -> [CacheResult] { inner.results(of: key) }
  func apply(_ changes: [CacheChange]) {
    written.withLock { $0 += changes }
    inner.apply(changes)
  }
  func keys() -> [String] { inner.keys() }
  func keys(withResult id: String) -> [String] { inner.keys(withResult: id) }
  func backlinks(of key: String) -> [CacheBacklink] { inner.backlinks(of: key) }

  /// Links and results as lines, with names that do not depend on who made the keys.
  func lines(_ values: [String: Int]) -> (links: [String], results: [String]) {
    var links: Set<CacheChange> = []
    var results: [(String, String)] = []
    for change in written.withLock({ $0 }) {
      switch change {
      case .addLink: links.insert(change)
      case .addResult(let key, let result): results.append((key, result.id))
      case .release: Issue.record("nothing is to be released")
      }
    }
    var incoming: [String: [(String, CacheLink)]] = [:]
    var color: [String: String] = [:]
    for case .addLink(let from, let link, let to) in links {
      incoming[to, default: []].append((from, link))
      for id in [from, to] { color[id] = id.contains(":") ? id : "?" }
    }
    func line(_ from: String, _ link: CacheLink) -> String {
      "\(color[from] ?? from) \(link.input) \(link.output) \(link.digest) \(link.selector?.description ?? "")"
    }
    for _ in 0..<20 {
      var next = color
      for id in color.keys where !id.contains(":") {
        let text = (incoming[id] ?? []).map { line($0.0, $0.1) }.sorted().joined(separator: "\n")
        next[id] = "key " + Digest.sha256(of: text).hex.prefix(16)
      }
      color = next
    }
    var linkLines: Set<String> = []
    for case .addLink(let from, let link, let to) in links { linkLines.insert(line(from, link) + " -> " + (color[to] ?? to)) }
    return (linkLines.sorted(), Set(results.map { "\(color[$0.0] ?? $0.0) = \(values[$0.1] ?? .min)" }).sorted())
  }
}

/// Remembers the number behind each result.
final class NumberStorage: CacheResultStorage {
  private let inner = MemoryResultStorage()
  private let numbers = Mutex<[String: Int]>([:])
  func save(_ result: any SolverResult, createdAt: Timestamp) async -> CacheResult {
    numbers.withLock { $0[result.id] = number(result) }
    return await inner.save(result, createdAt: createdAt)
  }
  func load(_ result: CacheResult, context: CacheContext) -> (any SolverResult)? { inner.load(result, context: context) }
  func exists(_ id: String, context: CacheContext) -> Bool { inner.exists(id, context: context) }
  var values: [String: Int] { numbers.withLock { $0 } }
}

@Suite struct GoldenTests {
  @Test(arguments: try Scenario.load()) func sameAsBuildKit(_ scenario: Scenario) async throws {
    let keys = WrittenStorage(), results = NumberStorage()
    let solver = makeSolver(cache: StoredCache(id: "golden", keys: keys, results: results))
    var jobs: [String: Job] = [:]
    for (n, step) in scenario.steps.enumerated() {
      let graph = Graph()
      var vertices: [String: Vertex] = [:]
      for spec in step.vertices {
        let inputs = (spec.inputs ?? []).compactMap { input in
          vertices[input.v].map { In($0, input.i ?? 0, selector: input.selector, content: input.content) }
        }
        let kind: Kind = spec.kind == "const" ? .const : spec.kind == "sum" ? .sum : .add
        vertices[spec.name] = graph.vertex(
          spec.name, kind, value: spec.value, seed: spec.seed, more: spec.more ?? [], inputs: inputs,
          ignoreCache: spec.ignoreCache ?? false)
      }
      let job = try jobs[step.job] ?? solver.makeJob(id: step.job)
      jobs[step.job] = job
      let value = try await job.number(Edge(#require(vertices[step.build]), index: step.index ?? 0))
      #expect(value == step.value, "step \(n)")
      #expect(graph.counts.executions == step.execs, "step \(n)")
      if step.discard == true {
        await job.close()
        jobs[step.job] = nil
      }
    }
    for job in jobs.values { await job.close() }
    let (links, saved) = keys.lines(results.values)
    if scenario.name.hasPrefix("random") {
      #expect([Digest.sha256(of: links.joined(separator: "\n")).description] == scenario.links)
      #expect([Digest.sha256(of: saved.joined(separator: "\n")).description] == scenario.results)
    } else {
      #expect(links == scenario.links)
      #expect(saved == scenario.results)
    }
    await solver.shutdown()
    #expect(solver.leftovers == [])
  }
}
