package import OCIModel

/// The records of an exported cache and how they lead to each other: what is written, and what was read. The same as BuildKit's
/// (cache/remotecache/v1), so that what either writes the other reads.
///
/// A record has for each input the records of which any one leads to it; two with one digest and an input record in common for
/// every input are one. Work is bounded: whoever adds what a stranger wrote cannot be kept busy for long.
package struct CacheChains: Sendable {
  /// Names a record, in the chains that gave it only.
  package struct Record: Hashable, Sendable {
    let index: Int
  }
  package struct Link: Hashable, Sendable {
    package var record: Record
    package var selector: Digest?
    package init(_ record: Record, selector: Digest? = nil) { (self.record, self.selector) = (record, selector) }
  }

  private struct ChildLink: Hashable {
    var input: Int
    var selector: Digest?
    var digest: String
  }
  private struct Node {
    var digest: String
    /// By input; in the order they were added.
    var parents: [[Link]] = []
    var children: [ChildLink: [Int]] = [:]
    var results: [CacheExportResult] = []
  }
  private var nodes: [Node] = []
  private var roots: [String: Int] = [:]
  private var work = 0
  private let maximumWork: Int

  package init(maximumWork: Int = .max) { self.maximumWork = maximumWork }

  package var count: Int { nodes.count }
  /// All, in the order they came.
  package var records: [Record] { nodes.indices.map { Record(index: $0) } }
  package func digest(of record: Record) -> String { nodes[record.index].digest }
  package func inputs(of record: Record) -> [[Link]] { nodes[record.index].parents }
  package func results(of record: Record) -> [CacheExportResult] { nodes[record.index].results }
  package func hasChildren(_ record: Record) -> Bool { !nodes[record.index].children.isEmpty }

  private mutating func spend(_ steps: Int) throws {
    work += steps
    if work > maximumWork { throw SolverError(.cache, "its records are tangled beyond any real cache's") }
  }

  /// Adds a record, or what is new about one that is known. nil for one that no other build could ask for.
  package mutating func add(_ digest: String, _ inputs: [[Link]] = [], _ results: [CacheExportResult] = []) throws -> Record? {
    if CacheKey.isOfOneBuild(digest) { return nil }
    guard !inputs.isEmpty else {
      let index = roots[digest] ?? make(digest)
      roots[digest] = index
      add(results, to: index)
      return Record(index: index)
    }
    guard inputs.allSatisfy({ !$0.isEmpty }) else { throw SolverError(.cache, "the record \(digest) has an input without records") }
    let known = try matches(digest, inputs)
    let index: Int
    // What it is made from already, it cannot be made from once more.
    var below: Set<Int> = []
    if let first = known.first {
      index = first
      for other in known.dropFirst() { try unite(other, into: index) }
      below = try descendants(of: index)
    } else {
      index = make(digest)
    }
    add(results, to: index)
    for (input, links) in inputs.enumerated() {
      for link in links where !below.contains(link.record.index) { try addChild(index, to: link.record.index, input, link.selector) }
    }
    return Record(index: index)
  }

  private mutating func make(_ digest: String) -> Int {
    nodes.append(Node(digest: digest))
    return nodes.count - 1
  }

  /// Records with the digest that some record of every input leads to.
  private mutating func matches(_ digest: String, _ inputs: [[Link]]) throws -> [Int] {
    var common: [Int]?
    for (input, links) in inputs.enumerated() {
      var own: Set<Int> = []
      var ordered: [Int] = []
      for link in links {
        let children = nodes[link.record.index].children[ChildLink(input: input, selector: link.selector, digest: digest)] ?? []
        try spend(children.count + 1)
        for child in children where own.insert(child).inserted { ordered.append(child) }
      }
      common = common.map { $0.filter { own.contains($0) } } ?? ordered
      if common?.isEmpty == true { return [] }
    }
    return common ?? []
  }

  private mutating func unite(_ other: Int, into main: Int) throws {
    for (link, children) in nodes[other].children {
      for child in children {
        try spend(1 + nodes[child].parents.reduce(0) { $0 + $1.count })
        for input in nodes[child].parents.indices {
          var links: [Link] = []
          for var link in nodes[child].parents[input] {
            if link.record.index == other { link.record = Record(index: main) }
            if !links.contains(link) { links.append(link) }
          }
          nodes[child].parents[input] = links
        }
        if nodes[main].children[link]?.contains(child) != true { nodes[main].children[link, default: []].append(child) }
      }
    }
    add(nodes[other].results, to: main)
  }

  private mutating func descendants(of index: Int) throws -> Set<Int> {
    var seen: Set<Int> = [index]
    var rest = [index]
    while let next = rest.popLast() {
      for children in nodes[next].children.values {
        try spend(children.count)
        for child in children where seen.insert(child).inserted { rest.append(child) }
      }
    }
    return seen
  }

  private mutating func addChild(_ child: Int, to parent: Int, _ input: Int, _ selector: Digest?) throws {
    let link = ChildLink(input: input, selector: selector, digest: nodes[child].digest)
    try spend(1 + (nodes[parent].children[link]?.count ?? 0))
    if nodes[parent].children[link]?.contains(child) == true { return }
    nodes[parent].children[link, default: []].append(child)
    while nodes[child].parents.count <= input { nodes[child].parents.append([]) }
    nodes[child].parents[input].append(Link(Record(index: parent), selector: selector))
  }

  /// One of a time and a number of layers is enough.
  private mutating func add(_ results: [CacheExportResult], to index: Int) {
    for result in results
    where !nodes[index].results.contains(where: { $0.createdAt == result.createdAt && $0.remote.layers.count == result.remote.layers.count }) {
      nodes[index].results.append(result)
    }
  }

  // MARK: - Order

  /// All records, each after those it is made from, as far as that can be: chains may close to a circle, and the link that closes one is in
  /// `broken`.
  package func ordered() -> (records: [Record], broken: Set<BrokenLink>) {
    enum Mark { case open, done }
    var marks: [Int: Mark] = [:]
    var out: [Record] = []
    var broken: Set<BrokenLink> = []
    for start in nodes.indices where marks[start] == nil {
      var stack: [(index: Int, parents: [Int], next: Int)] = [(start, parentsOf(start), 0)]
      marks[start] = .open
      while var top = stack.popLast() {
        guard top.next < top.parents.count else {
          marks[top.index] = .done
          out.append(Record(index: top.index))
          continue
        }
        let parent = top.parents[top.next]
        top.next += 1
        stack.append(top)
        switch marks[parent] {
        case .done: break
        case .open: broken.insert(BrokenLink(from: parent, to: top.index))
        case nil:
          marks[parent] = .open
          stack.append((parent, parentsOf(parent), 0))
        }
      }
    }
    return (out, broken)
  }

  package struct BrokenLink: Hashable, Sendable {
    var from: Int
    var to: Int
    package init(_ from: Record, _ to: Record) { (self.from, self.to) = (from.index, to.index) }
    fileprivate init(from: Int, to: Int) { (self.from, self.to) = (from, to) }
  }

  private func parentsOf(_ index: Int) -> [Int] { nodes[index].parents.flatMap { $0.map(\.record.index) } }
}
