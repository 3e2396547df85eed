package import OCIModel

/// Something that takes room in the store: BuildKit's usage record (client.UsageInfo), with sizes that add up to what is on the disk.
package struct UsageRecord: Sendable, Hashable {
  package var id: String
  package var parents: [String]
  /// BuildKit's: `regular`, `internal`, `frontend`, `source.local`, `source.git.checkout`, `exec.cachemount`; and ours: `image`.
  package var type: String
  package var created: Timestamp
  package var lastUsed: Timestamp?
  package var usageCount: Int64
  package var mutable: Bool
  /// It cannot be removed now.
  package var inUse: Bool
  /// An image has some of it too.
  package var shared: Bool
  /// Bytes on the disk. What several records have is counted for one of them.
  package var size: Int64
  package var description: String

  package init(
    id: String, parents: [String] = [], type: String = "regular", created: Timestamp = Timestamp(seconds: 0), lastUsed: Timestamp? = nil, usageCount: Int64 = 0,
    mutable: Bool = false, inUse: Bool = false, shared: Bool = false, size: Int64 = 0, description: String = ""
  ) {
    self.id = id
    self.parents = parents
    self.type = type
    self.created = created
    self.lastUsed = lastUsed
    self.usageCount = usageCount
    self.mutable = mutable
    self.inUse = inUse
    self.shared = shared
    self.size = size
    self.description = description
  }
}

/// Which records are meant: buildx's `--filter` words, which BuildKit reads as containerd's filters. All conditions must hold.
package struct UsageFilter: Sendable, Hashable {
  package enum Test: Sendable, Hashable {
    case present
    case equal(String)
    case notEqual(String)
    /// A regular expression found anywhere in the value.
    case matches(String)
  }
  private struct Condition: Sendable, Hashable {
    var field: String
    var test: Test
  }
  private var list: [Condition] = []
  /// Of these one must match too; empty for any record.
  private var alternatives: [UsageFilter] = []
  package init() {}

  /// What at least one of them matches; everything when there is none.
  package static func any(_ filters: [UsageFilter]) -> UsageFilter {
    if filters.count == 1 { return filters[0] }
    var out = UsageFilter()
    out.alternatives = filters
    return out
  }

  package static let fields = ["id", "parents", "description", "inuse", "mutable", "immutable", "type", "shared", "private"]
  private static let truths: Set<String> = ["inuse", "mutable", "immutable", "shared", "private"]

  /// One more condition. Throws for fields that there are none of, and for what is no regular expression.
  package mutating func add(_ field: String, _ test: Test) throws {
    guard Self.fields.contains(field) else {
      throw BuildError(.invalidArgument, .usage, "there is no filter \"\(field)\"", suggestion: "Filters are until, unused-for, \(Self.fields.joined(separator: ", ")).")
    }
    var test = test
    if case .matches(let pattern) = test {
      do { _ = try Regex(pattern) } catch { throw BuildError(.invalidArgument, .usage, "filter \(field): \"\(pattern)\" is no regular expression") }
    }
    if Self.truths.contains(field) {
      switch test {
      case .present, .equal("true"), .equal("1"): test = .present
      case .equal("false"), .equal("0"): test = .notEqual("true")
      default: throw BuildError(.invalidArgument, .usage, "filter \(field) is true or false")
      }
    }
    list.append(Condition(field: field, test: test))
  }

  package func matches(_ record: UsageRecord) -> Bool {
    guard alternatives.isEmpty || alternatives.contains(where: { $0.matches(record) }) else { return false }
    return list.allSatisfy { condition in
      let value = Self.value(condition.field, record)
      switch condition.test {
      case .present: return value != nil
      case .equal(let text): return value == text
      case .notEqual(let text): return value != text
      case .matches(let pattern): return value.map { value in (try? Regex(pattern)).flatMap { try? $0.firstMatch(in: value) } != nil } ?? false
      }
    }
  }

  private static func value(_ field: String, _ record: UsageRecord) -> String? {
    func text(_ value: String) -> String? { value.isEmpty ? nil : value }
    func truth(_ value: Bool) -> String? { value ? "true" : nil }
    return switch field {
    case "id": text(record.id)
    case "parents": text(record.parents.joined(separator: ";"))
    case "description": text(record.description)
    case "type": text(record.type)
    case "inuse": truth(record.inUse)
    case "mutable": truth(record.mutable)
    case "immutable": truth(!record.mutable)
    case "shared": truth(record.shared)
    case "private": truth(!record.shared)
    default: nil
    }
  }
}

/// How much room there may be, in bytes; 0 says nothing about it (BuildKit's gc policy).
package struct SpaceLimits: Sendable, Hashable {
  /// Kept whatever the other two say.
  package var reserved: Int64
  package var maxUsed: Int64
  /// On the disk that holds the store.
  package var minFree: Int64
  package init(reserved: Int64 = 0, maxUsed: Int64 = 0, minFree: Int64 = 0) {
    self.reserved = reserved
    self.maxUsed = maxUsed
    self.minFree = minFree
  }
  package var isUnset: Bool { self == SpaceLimits() }
}

/// `manifold prune`.
package struct PruneRequest: Sendable {
  /// Also what is internal, and what images have too.
  package var all: Bool
  package var filter: UsageFilter
  /// Nanoseconds: what was used since stays.
  package var keepDuration: Int64
  /// Unset: everything goes that may. Else no more than it takes, the least recently used first.
  package var limits: SpaceLimits
  package init(all: Bool = false, filter: UsageFilter = UsageFilter(), keepDuration: Int64 = 0, limits: SpaceLimits = SpaceLimits()) {
    self.all = all
    self.filter = filter
    self.keepDuration = keepDuration
    self.limits = limits
  }
}

/// A rule by which cache goes by itself, as workers tell of it (BuildKit's gcpolicy).
package struct CollectionNote: Sendable, Hashable {
  package var all: Bool
  /// In containerd's words; what matches one of them goes.
  package var filters: [String]
  /// Nanoseconds.
  package var keepDuration: Int64
  package var limits: SpaceLimits
  package init(all: Bool = false, filters: [String] = [], keepDuration: Int64 = 0, limits: SpaceLimits = SpaceLimits()) {
    (self.all, self.filters, self.keepDuration, self.limits) = (all, filters, keepDuration, limits)
  }
}

/// How large the store may grow by itself.
package enum StoreLimit: Sendable, Hashable {
  /// By the size of the disk, as BuildKit chooses.
  case automatic
  /// Nothing is removed unless asked.
  case none
  case bytes(Int64)
  /// Of the disk.
  case percent(Int64)
  /// A daemon's rules, in their order. They are applied when builds end, and from time to time; a build that needs more than they leave gets it.
  case rules([CollectionNote])
}

/// Something in the store that is not as it should be.
package struct StoreFinding: Sendable, Hashable {
  /// What it is about: `database`, `blob`, `layer`, `image`, `snapshot`, `ref`.
  package var kind: String
  /// Its digest, name, id or path.
  package var item: String
  package var problem: String
  /// What was done about it; nil when nothing was.
  package var repair: String?
  package init(kind: String, item: String, problem: String, repair: String? = nil) {
    self.kind = kind
    self.item = item
    self.problem = problem
    self.repair = repair
  }
}

/// What `manifold store verify` looked at, and what it found.
package struct StoreReport: Sendable {
  package var findings: [StoreFinding] = []
  package var blobs = 0
  package var snapshots = 0
  package var images = 0
  package var refs = 0
  /// Read.
  package var bytes: Int64 = 0
  package init() {}
}
