/// What a token allows: `type:name:action,…` (distribution's token authentication, "Requesting a Token").
package struct RegistryScope: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// `repository`, `registry`…, with its class in parentheses where there is one.
  package var type: String
  package var name: String
  package var actions: Set<String>

  package init(type: String, name: String, actions: Set<String>) {
    self.type = type
    self.name = name
    self.actions = actions
  }
  package static func pull(_ repository: String) -> RegistryScope { RegistryScope(type: "repository", name: repository, actions: ["pull"]) }
  package static func push(_ repository: String) -> RegistryScope { RegistryScope(type: "repository", name: repository, actions: ["pull", "push"]) }

  /// nil unless there are a type and an action; the name may hold colons (a host with a port).
  package init?(_ text: Substring) {
    guard let first = text.firstIndex(of: ":"), let last = text.lastIndex(of: ":"), first < last else { return nil }
    let actions = text[text.index(after: last)...].split(separator: ",").map(String.init)
    guard first > text.startIndex, !actions.isEmpty else { return nil }
    self.init(type: String(text[..<first]), name: String(text[text.index(after: first)..<last]), actions: Set(actions))
  }

  package var description: String { "\(type):\(name):\(actions.sorted().joined(separator: ","))" }
  package static func < (a: RegistryScope, b: RegistryScope) -> Bool { a.description < b.description }
}

/// A set of scopes, one entry a resource, so that equal demands are equal values whatever order they came in.
package struct RegistryScopes: Hashable, Sendable {
  private struct Resource: Hashable, Sendable { var type: String, name: String }
  private var actions: [Resource: Set<String>] = [:]
  /// Words of a challenge's `scope` that do not have the usual form, passed on as they came.
  private var opaque: Set<String> = []

  package init(_ scopes: [RegistryScope] = []) { for scope in scopes { insert(scope) } }
  /// The words of a challenge's `scope` parameter.
  package init(challenge text: String) {
    for word in text.split(separator: " ").prefix(64) {
      if let scope = RegistryScope(word) { insert(scope) } else { opaque.insert(String(word)) }
    }
  }

  package mutating func insert(_ scope: RegistryScope) {
    actions[Resource(type: scope.type, name: scope.name), default: []].formUnion(scope.actions)
  }
  package func union(_ other: RegistryScopes) -> RegistryScopes {
    var out = self
    out.actions.merge(other.actions) { $0.union($1) }
    out.opaque.formUnion(other.opaque)
    return out
  }
  package func covers(_ other: RegistryScopes) -> Bool {
    other.opaque.isSubset(of: opaque) && other.actions.allSatisfy { resource, wanted in
      guard let granted = actions[resource] else { return false }
      return granted.contains("*") || wanted.isSubset(of: granted)
    }
  }
  package var isEmpty: Bool { actions.isEmpty && opaque.isEmpty }
  /// As sent: one string a resource, sorted.
  package var strings: [String] {
    (actions.map { RegistryScope(type: $0.key.type, name: $0.key.name, actions: $0.value).description } + opaque).sorted()
  }
}

/// Tokens by who asks whom for what, until shortly before they expire.
package struct TokenCache: Sendable {
  package struct Key: Hashable, Sendable {
    package var realm: String
    package var service: String
    package init(realm: String, service: String) {
      self.realm = realm
      self.service = service
    }
  }
  private struct Entry: Sendable {
    var scopes: RegistryScopes
    var token: String
    var expires: Int64
  }
  private var entries: [Key: [Entry]] = [:]

  /// The lifetime when the server names none (distribution's token specification).
  package static let defaultLifetime: Int64 = 60
  package init() {}

  /// A token that allows at least `scopes` and is good at `now` (seconds); the one that lasts longest.
  package func token(_ key: Key, _ scopes: RegistryScopes, now: Int64) -> String? {
    entries[key]?.filter { $0.expires > now && $0.scopes.covers(scopes) }.max { $0.expires < $1.expires }?.token
  }

  /// Counts the lifetime from `now`, not from the server's clock, and takes a tenth (at most 30 s) off it so that
  /// a token does not expire on its way.
  package mutating func insert(_ token: String, _ key: Key, _ scopes: RegistryScopes, lifetime: Int64?, now: Int64) {
    let lifetime = min(max(lifetime ?? TokenCache.defaultLifetime, 1), 7 * 86400)
    var list = entries[key, default: []].filter { $0.expires > now && $0.scopes != scopes }
    list.append(Entry(scopes: scopes, token: token, expires: now + lifetime - min(lifetime / 10, 30)))
    entries[key] = list
  }

  package mutating func remove(_ token: String) {
    for key in entries.keys { entries[key]?.removeAll { $0.token == token } }
  }
}
