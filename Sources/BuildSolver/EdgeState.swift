import OCIModel

/// How far an edge has come.
enum EdgeStatus: Int, Comparable, Sendable {
  case initial
  /// Keys by definition are known, as far as the inputs tell them without being computed.
  case cacheFast
  /// Keys by content are known too.
  case cacheSlow
  /// There is a result.
  case complete
  static func < (a: EdgeStatus, b: EdgeStatus) -> Bool { a.rawValue < b.rawValue }
}

/// What an edge tells the edges that read it.
struct EdgeState: Sendable {
  var status = EdgeStatus.initial
  var keys: [ExportableCacheKey] = []
  var result: SharedResult?
  /// Cache maps seen so far.
  var cacheMaps = 0

  func isSame(as other: EdgeState) -> Bool {
    status == other.status && keys.count == other.keys.count && result === other.result && cacheMaps == other.cacheMaps
  }
}

/// Names a request: to an edge, or for work.
typealias RequestID = Int

/// What one edge asks of another: to come at least to a status.
struct EdgeRequest: Sendable {
  var desired: EdgeStatus
  /// What the asker knows already.
  var current: EdgeState
  var currentKeys: Int
}

/// The latest about a request, as its asker receives it.
struct RequestStatus: Sendable {
  enum Value: Sendable {
    case edge(EdgeState)
    case cacheMap(CacheMapAnswer)
    case contentKey(Digest?)
    case result(SharedResult)
  }
  var value: Value?
  var completed = false
  var error: (any Error)?
  /// The error is that the asker took the request back.
  var cancelled = false
}

struct RequestUpdate: Sendable {
  var id: RequestID
  var status: RequestStatus
}

/// A request an edge has not answered yet.
struct IncomingRequest: Sendable {
  var id: RequestID
  var request: EdgeRequest
  var cancelled: Bool
  /// What the asker was last told.
  var told: EdgeState
}

/// What an edge must know from the cache before it can go on: which of its keys these keys of an input lead to, or, without
/// inputs, whether its own is known.
struct CacheQuestion: Sendable {
  enum Purpose: Sendable {
    case root
    /// `content`: the input's content key is asked for.
    case probe(content: Bool)
    /// Make definition keys and content key of an input lead to the same keys. The answer does not matter.
    case connect
  }
  var purpose: Purpose
  var keys: [CacheKeyWithSelector] = []
  var input = 0
  var digest: CacheDigest
  var output: Int
}

/// What an edge wants done.
enum EdgeAction: Sendable {
  case requestInput(RequestID, input: Int, EdgeRequest)
  case requestCacheMap(RequestID, index: Int)
  case requestContentKey(RequestID, input: Int, CacheMap.Dependency, CachedResult)
  case load(RequestID, CacheRecord)
  case execute(RequestID, keys: [CacheKey], inputs: [CachedResult])
  /// Come back at once: something must be looked at before going on.
  case wake(RequestID)
  /// A request of its own that is not needed any more.
  case cancel(RequestID)
  /// Answers an incoming request, for good or for now, with the current state.
  case finish(RequestID, (any Error)?)
  case update(RequestID)
}

/// Gives out request ids.
struct RequestIDs: Sendable {
  private var last = 0
  mutating func next() -> RequestID {
    last += 1
    return last
  }
}
