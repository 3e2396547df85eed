package import BuildSolver
internal import BuildSnapshots
internal import OCIModel

// Between the document and the records.
extension CacheConfig {
  /// The records as a document, in the order that is the same whenever they are, and for each of its layers the blob. In the words of BuildKit's
  /// `CacheChains.Marshal`: of several results of a record the newest.
  package static func make(_ chains: CacheChains) -> (config: CacheConfig, blobs: [CacheRemote.Layer]) {
    var layers = LayerTable()
    var config = CacheConfig()
    var places: [CacheChains.Record: Int] = [:]
    let (order, broken) = chains.ordered()
    for item in order {
      var record = Record(digest: chains.digest(of: item))
      record.inputs = chains.inputs(of: item).map { links in
        links.compactMap { link in
          broken.contains(.init(link.record, item)) ? nil : places[link.record].map { Input(selector: link.selector, link: $0) }
        }
      }
      // Nothing leads to it but what it leads to.
      if record.inputs.contains(where: \.isEmpty) { continue }
      let best = chains.results(of: item).max { $0.createdAt < $1.createdAt }
      if let best, let layer = layers.add(best.remote) { record.results = [Result(layer: layer, createdAt: best.createdAt)] }
      places[item] = config.records.count
      config.records.append(record)
    }
    config.layers = layers.layers
    let sorted = config.sort()
    return (config, sorted.map { layers.blobs[$0] })
  }

  private struct LayerTable {
    var layers: [Layer] = []
    /// For each. One blob in two chains has two times.
    var blobs: [CacheRemote.Layer] = []
    private var places: [Layer: Int] = [:]

    mutating func add(_ remote: CacheRemote) -> Int? {
      var parent = -1
      for layer in remote.layers {
        let key = Layer(blob: layer.descriptor.digest, parent: parent)
        if let known = places[key] {
          parent = known
          continue
        }
        var layer = layer
        layer.descriptor.mediaType = LayerTypes.written(layer.descriptor.mediaType, oci: true, keepsNonDistributable: true)
        blobs.append(layer)
        parent = layers.count
        places[key] = parent
        layers.append(key)
      }
      return parent < 0 ? nil : parent
    }
  }

  /// Layers by blob, records by digest and what they are made from. Answers where the layers were.
  private mutating func sort() -> [Int] {
    let old = layers
    // Blobs from the layer down decide between equal ones: a list's places say nothing.
    func lowerFirst(_ a: Int, _ b: Int) -> Bool {
      var (a, b) = (a, b)
      while a >= 0, b >= 0 {
        if old[a].blob != old[b].blob { return old[a].blob < old[b].blob }
        (a, b) = (old[a].parent, old[b].parent)
      }
      return a < b
    }
    let order = old.indices.sorted(by: lowerFirst)
    var places = [Int](repeating: -1, count: old.count)
    for (new, place) in order.enumerated() { places[place] = new }
    layers = order.map { Layer(blob: old[$0].blob, parent: old[$0].parent < 0 ? -1 : places[old[$0].parent]) }

    var given = records
    let digests = records.map(\.digest)
    func before(_ a: Input, _ b: Input) -> Bool {
      let x = digests[a.link], y = digests[b.link]
      return x != y ? x < y : (a.selector?.description ?? "", a.link) < (b.selector?.description ?? "", b.link)
    }
    for i in given.indices { for j in given[i].inputs.indices { given[i].inputs[j].sort(by: before) } }
    let sorted = given
    let recordOrder = sorted.indices.sorted { a, b in CacheConfig.compare(sorted[a], sorted[b], in: sorted) ?? (a < b) }
    var recordPlaces = [Int](repeating: 0, count: sorted.count)
    for (new, place) in recordOrder.enumerated() { recordPlaces[place] = new }
    records = recordOrder.map { i in
      var record = sorted[i]
      for j in record.results.indices { record.results[j].layer = places[record.results[j].layer] }
      for j in record.inputs.indices {
        for k in record.inputs[j].indices { record.inputs[j][k].link = recordPlaces[record.inputs[j][k].link] }
        record.inputs[j].sort { ($0.link, $0.selector?.description ?? "") < ($1.link, $1.selector?.description ?? "") }
      }
      return record
    }
    return order
  }

  /// nil: they are equal in what counts.
  private static func compare(_ a: Record, _ b: Record, in records: [Record]) -> Bool? {
    if a.digest != b.digest { return a.digest < b.digest }
    if a.inputs.count != b.inputs.count { return a.inputs.count < b.inputs.count }
    for (x, y) in zip(a.inputs, b.inputs) {
      if x.count != y.count { return x.count < y.count }
      for (x, y) in zip(x, y) {
        if x.selector != y.selector { return (x.selector?.description ?? "") < (y.selector?.description ?? "") }
        let p = records[x.link].digest, q = records[y.link].digest
        if p != q { return p < q }
      }
    }
    return nil
  }

  // MARK: - From a document

  /// Layers of all results together: beyond this many a document is made to exhaust memory.
  private static let maximumLayers = 1 << 20

  /// Adds the document's records to `chains`. `blobs` are those that the manifest names, as a rule one for each of this document's layers in their
  /// order: a result that needs another is none.
  package func add(to chains: inout CacheChains, blobs: [CacheRemote.Layer]) throws {
    var remotes = RemoteTable(layers: layers, blobs: blobs)
    var made = [CacheChains.Record?](repeating: nil, count: records.count)
    var isOpen = [Bool](repeating: false, count: records.count)
    for start in records.indices where made[start] == nil {
      var stack: [(index: Int, links: [Int], next: Int)] = [(start, try links(of: start), 0)]
      isOpen[start] = true
      while var top = stack.popLast() {
        guard top.next < top.links.count else {
          made[top.index] = try add(records[top.index], to: &chains, made, &remotes)
          isOpen[top.index] = false
          continue
        }
        let link = top.links[top.next]
        top.next += 1
        stack.append(top)
        if made[link] != nil { continue }
        if isOpen[link] { throw CacheFormatError("records[\(link)] leads to itself") }
        isOpen[link] = true
        stack.append((link, try links(of: link), 0))
      }
    }
  }

  private func links(of record: Int) throws -> [Int] {
    for (i, inputs) in records[record].inputs.enumerated() where inputs.isEmpty { throw CacheFormatError("records[\(record)].inputs[\(i)] is empty") }
    return try records[record].inputs.joined().map { input in
      guard records.indices.contains(input.link) else { throw CacheFormatError("records[\(record)] names record \(input.link), and there are \(records.count)") }
      return input.link
    }
  }

  private func add(_ record: Record, to chains: inout CacheChains, _ made: [CacheChains.Record?], _ remotes: inout RemoteTable) throws -> CacheChains.Record? {
    let inputs = record.inputs.map { $0.compactMap { input in made[input.link].map { CacheChains.Link($0, selector: input.selector) } } }
    var results: [CacheExportResult] = []
    for result in record.results {
      if let remote = try remotes.chain(upTo: result.layer) { results.append(CacheExportResult(createdAt: result.createdAt, remote: remote)) }
    }
    for chain in record.chains {
      if let remote = try remotes.list(chain.layers) { results.append(CacheExportResult(createdAt: chain.createdAt, remote: remote)) }
    }
    return try chains.add(record.digest, inputs, results)
  }

  private struct RemoteTable {
    let layers: [Layer]
    private let blobs: [CacheRemote.Layer]
    private let byDigest: [Digest: CacheRemote.Layer]
    private var known: [Int: CacheRemote?] = [:]
    private var total = 0
    init(layers: [Layer], blobs: [CacheRemote.Layer]) {
      (self.layers, self.blobs) = (layers, blobs)
      byDigest = Dictionary(blobs.map { ($0.descriptor.digest, $0) }) { a, _ in a }
    }

    /// The layer's own, or any of the digest.
    private func blob(_ index: Int) -> CacheRemote.Layer? {
      if index < blobs.count, blobs[index].descriptor.digest == layers[index].blob { return blobs[index] }
      return byDigest[layers[index].blob]
    }

    private func checked(_ index: Int) throws -> Layer {
      guard layers.indices.contains(index) else { throw CacheFormatError("layer \(index) is named, and there are \(layers.count)") }
      return layers[index]
    }
    private mutating func spend(_ count: Int) throws {
      total += count
      if total > CacheConfig.maximumLayers { throw CacheFormatError("its results have more than \(CacheConfig.maximumLayers) layers together") }
    }

    mutating func chain(upTo index: Int) throws -> CacheRemote? {
      if let known = known[index] { return known }
      var found: [CacheRemote.Layer]? = []
      var next = index
      var seen: Set<Int> = []
      while next != -1 {
        let layer = try checked(next)
        guard seen.insert(next).inserted else { throw CacheFormatError("layers[\(next)] lies on itself") }
        if let blob = blob(next) { found?.append(blob) } else { found = nil }
        next = layer.parent
      }
      try spend(seen.count)
      let remote = found.map { CacheRemote(layers: $0.reversed()) }
      known[index] = .some(remote)
      return remote
    }

    mutating func list(_ indexes: [Int]) throws -> CacheRemote? {
      try spend(indexes.count)
      var found: [CacheRemote.Layer]? = []
      for index in indexes {
        _ = try checked(index)
        if let blob = blob(index) { found?.append(blob) } else { found = nil }
      }
      return found.flatMap { $0.isEmpty ? nil : CacheRemote(layers: $0) }
    }
  }
}
