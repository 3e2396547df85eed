package import OCIModel

/// BuildKit's document for the records of an exported cache (cache/remotecache/v1/types): layers, and records that say which of them a step's result is
/// made of and which records lead to it. Records and layers name each other by their places in the lists.
package struct CacheConfig: Hashable, Sendable {
  package static let mediaType: MediaType = "application/vnd.buildkit.cacheconfig.v0"
  /// The most that is read. No real one comes near; BuildKit itself reads 1 MiB.
  package static let limit = 16 << 20
  package static let peerLimit = 1 << 20

  package struct Layer: Hashable, Sendable {
    package var blob: Digest
    /// -1: there is none below.
    package var parent: Int
  }
  package struct Result: Hashable, Sendable {
    /// With all below it.
    package var layer: Int
    package var createdAt: Timestamp
  }
  package struct Chain: Hashable, Sendable {
    /// As listed, without those below them.
    package var layers: [Int]
    package var createdAt: Timestamp
  }
  package struct Input: Hashable, Sendable {
    package var selector: Digest?
    package var link: Int
  }
  package struct Record: Hashable, Sendable {
    package var results: [Result] = []
    package var chains: [Chain] = []
    package var digest: String
    package var inputs: [[Input]] = []
  }
  package var layers: [Layer] = []
  package var records: [Record] = []

  // MARK: - Writing

  package var json: JSONValue {
    var object = JSONObject()
    if !layers.isEmpty {
      object["layers"] = .array(layers.map { layer in
        // As Go writes it: the number 0 is left out.
        .object(JSONObject([("blob", .string(layer.blob.description))] + (layer.parent == 0 ? [] : [("parent", .int(layer.parent))])))
      })
    }
    if !records.isEmpty { object["records"] = recordsJSON }
    return .object(object)
  }

  /// The records alone, as an image's config has them.
  package var recordsJSON: JSONValue {
    .array(records.map { record in
      var object = JSONObject()
      if !record.results.isEmpty {
        object["layers"] = .array(record.results.map { ["layer": .int($0.layer), "createdAt": .string($0.createdAt.description)] })
      }
      if !record.chains.isEmpty {
        object["chains"] = .array(record.chains.map { ["layers": .array($0.layers.map { .int($0) }), "createdAt": .string($0.createdAt.description)] })
      }
      object["digest"] = .string(record.digest)
      if !record.inputs.isEmpty {
        object["inputs"] = .array(record.inputs.map { inputs in
          .array(inputs.map { input in
            .object(JSONObject((input.selector.map { [("selector", .string($0.description))] } ?? []) + [("link", .int(input.link))]))
          })
        })
      }
      return .object(object)
    })
  }

  package var encoded: [UInt8] { json.encoded() }

  // MARK: - Reading

  /// Throws `CacheFormatError` for what is not such a document.
  package init(parsing bytes: [UInt8]) throws {
    guard bytes.count <= CacheConfig.limit else { throw CacheFormatError("it has \(bytes.count) bytes, more than the limit of \(CacheConfig.limit)") }
    let json: JSONValue
    do { json = try JSONValue(parsing: bytes) } catch { throw CacheFormatError("\(error)") }
    guard let object = json.objectValue else { throw CacheFormatError("it is not an object") }
    layers = try CacheConfig.list(object["layers"], "layers") { value, place in
      guard let text = value["blob"]?.stringValue, let blob = Digest(text) else { throw CacheFormatError("\(place) names no blob") }
      return Layer(blob: blob, parent: try CacheConfig.number(value["parent"], place + ".parent", missing: 0))
    }
    records = try CacheConfig.records(object["records"])
  }

  package init(layers: [Layer] = [], records: [Record] = []) { (self.layers, self.records) = (layers, records) }

  static func records(_ json: JSONValue?) throws -> [Record] {
    try list(json, "records") { value, place in
      guard let text = value["digest"]?.stringValue, Digest(text) != nil else { throw CacheFormatError("\(place) has no digest") }
      var record = Record(digest: text)
      record.results = try list(value["layers"], place + ".layers") { value, place in
        Result(layer: try number(value["layer"], place + ".layer"), createdAt: try time(value["createdAt"], place))
      }
      record.chains = try list(value["chains"], place + ".chains") { value, place in
        Chain(layers: try list(value["layers"], place + ".layers") { try number($0, $1) }, createdAt: try time(value["createdAt"], place))
      }
      record.inputs = try list(value["inputs"], place + ".inputs") { value, place in
        try list(value, place) { value, place in
          var selector: Digest?
          if let json = value["selector"], json != .string("") {
            guard let text = json.stringValue, let digest = Digest(text) else { throw CacheFormatError("\(place).selector is not a digest") }
            selector = digest
          }
          return Input(selector: selector, link: try number(value["link"], place + ".link"))
        }
      }
      return record
    }
  }

  private static func list<T>(_ json: JSONValue?, _ place: String, _ body: (JSONValue, String) throws -> T) throws -> [T] {
    guard let json, !json.isNull else { return [] }
    guard let array = json.arrayValue else { throw CacheFormatError("\(place) is not a list") }
    return try array.enumerated().map { try body($1, "\(place)[\($0)]") }
  }
  private static func number(_ json: JSONValue?, _ place: String, missing: Int? = nil) throws -> Int {
    if json == nil, let missing { return missing }
    guard let value = json?.intValue, let number = Int32(exactly: value) else { throw CacheFormatError("\(place) is not a number of an entry") }
    return Int(number)
  }
  private static func time(_ json: JSONValue?, _ place: String) throws -> Timestamp {
    guard let json else { return .zero }
    guard let text = json.stringValue, let time = try? Timestamp(rfc3339: text) else { throw CacheFormatError("\(place).createdAt is not a time") }
    return time
  }
}

extension Timestamp {
  /// Go's zero time.
  static var zero: Timestamp { Timestamp(seconds: -62_135_596_800) }
}

/// A document that is not a build cache, and why.
package struct CacheFormatError: Error, CustomStringConvertible {
  package let message: String
  package init(_ message: String) { self.message = message }
  package var description: String { "the cache's document cannot be used: \(message)" }
}
