internal import BuildKitProto
internal import OCIModel
internal import PathPatterns

/// The cache-map digest of an op and what of each input matters to it, exactly as BuildKit computes them
/// (solver/llbsolver/ops). Pure: the solver's `CacheMap` is made from it by the op.
struct OpCacheKey: Sendable, Hashable {
  struct Input: Sendable, Hashable {
    /// Joined to the input's key when the op looks at a part of it only.
    var selector: Digest?
    /// The parts whose content decides; nil when only the definition of the input does.
    var content: [ContentSelector]?
  }
  var digest: Digest
  var inputs: [Input]
}

/// A part of a tree whose content goes into a cache key (BuildKit's opsutils.Selector).
struct ContentSelector: Sendable, Hashable {
  var path: String
  var wildcard = false
  var followLinks = false
  var includePatterns: [String] = []
  var excludePatterns: [String] = []
  var requiredPaths: [String] = []
  var hasWildcardOrFilters: Bool { wildcard || !includePatterns.isEmpty || !excludePatterns.isEmpty }

  /// Whether a path has a wildcard that is not escaped.
  static func hasWildcard(_ path: some StringProtocol) -> Bool {
    var isEscaped = false
    for byte in path.utf8 {
      if isEscaped { isEscaped = false; continue }
      switch byte {
      case UInt8(ascii: "\\"): isEscaped = true
      case UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "["): return true
      default: break
      }
    }
    return false
  }
}

/// A definition that no well-behaved frontend makes.
struct InvalidDefinition: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

extension OpCacheKey {
  // MARK: Exec

  /// `platform` is the op's, normalised. Host addresses, proxies, mount selectors and ids of cache mounts do not change a
  /// result and are left out.
  static func exec(_ op: Pb_ExecOp, platform: Platform, inputCount: Int) throws -> OpCacheKey {
    var normal = op
    for i in normal.meta.extraHosts.indices { normal.meta.extraHosts[i].ip = "" }
    for i in normal.mounts.indices {
      normal.mounts[i].selector = ""
      if clearsCacheOptions(normal.mounts[i]) {
        normal.mounts[i].cacheOpt.id = ""
        normal.mounts[i].cacheOpt.sharing = .shared
      }
    }
    normal.meta.clearProxyEnv()
    if normal.mounts.count == 1, isPlainRoot(normal.mounts[0]) { normal.mounts = [] }
    var document = JSONObject([("Type", "buildkit.exec.v0"), ("Exec", normal.goForm), ("OS", .string(platform.os)), ("Arch", .string(platform.architecture))])
    addOptional(platform, to: &document)
    return OpCacheKey(digest: .sha256(of: JSONValue.object(document).encoded()), inputs: try mountInputs(op, inputCount: inputCount))
  }

  static func addOptional(_ platform: Platform, to document: inout JSONObject) {
    if !platform.variant.isEmpty { document["Variant"] = .string(platform.variant) }
    if !platform.osVersion.isEmpty { document["OSVersion"] = .string(platform.osVersion) }
    if !platform.osFeatures.isEmpty { document["OSFeatures"] = .array(platform.osFeatures.map { .string($0) }) }
  }

  /// A Dockerfile's default cache mount keeps its id, for compatibility with keys of old builds.
  private static func clearsCacheOptions(_ mount: Pb_Mount) -> Bool {
    guard mount.hasCacheOpt else { return false }
    if mount.cacheOpt.sharing == .shared {
      let id = mount.cacheOpt.id.utf8
      if id.elementsEqual(mount.dest.utf8) { return false }
      if let slash = id.firstIndex(of: UInt8(ascii: "/")), id[id.index(after: slash)...].elementsEqual(mount.dest.utf8) { return false }
    }
    return true
  }

  private static func isPlainRoot(_ m: Pb_Mount) -> Bool {
    m.dest == "/" && m.selector.isEmpty && !m.readonly && m.mountType == .bind && !m.hasCacheOpt && !m.hasSshopt && !m.hasSecretOpt && m.resultID.isEmpty
  }

  private static func mountInputs(_ op: Pb_ExecOp, inputCount: Int) throws -> [Input] {
    var selectors = [[String]](repeating: [], count: inputCount)
    var byContent = [Bool](repeating: false, count: inputCount)
    for mount in op.mounts {
      if mount.mountType == .secret || mount.mountType == .ssh || mount.mountType == .tmpfs || mount.input == -1 { continue }
      guard mount.input >= 0, mount.input < inputCount else { throw InvalidDefinition("exec has a mount of input \(mount.input), but \(inputCount) inputs") }
      let i = Int(mount.input)
      let selector = SlashPath.join("/", mount.selector)
      selectors[i].append(selector)
      // Content may stand for the definition only where nothing outside the selected part can end up in a result.
      var content = mount.output == -1 || mount.readonly || selector == "/"
      switch mount.contentCache {
      case .off: content = false
      case .on: guard content else { throw InvalidDefinition("exec forces content cache on mount \(mount.dest), which is writable and partial") }
      default: if mount.dest == "/" { content = false }
      }
      byContent[i] = content
    }
    return (0..<inputCount).map { i in
      var input = Input()
      if !selectors[i].isEmpty { input.selector = .sha256(of: selectors[i].joined(separator: "\0")) }
      if byContent[i] {
        let paths = withoutChildren(selectors[i])
        input.content = paths.contains { $0.isEmpty || $0 == "/" } ? [] : paths.map { ContentSelector(path: $0, followLinks: true) }
      }
      return input
    }
  }

  /// Drops paths beneath another of the list, and sorts.
  static func withoutChildren(_ paths: [String]) -> [String] {
    if paths.count <= 1 { return paths }
    let set = Set(paths.map { ExactPath($0) })
    return set.map(\.text).filter { path in !hasParent(path, in: set) }.sorted { TreePaths.precedes($0, $1) }
  }

  /// Whether one of the paths, with a slash after it if it has none, begins this one.
  private static func hasParent(_ path: String, in set: Set<ExactPath>) -> Bool {
    let utf8 = path.utf8
    for index in utf8.indices where utf8[index] == UInt8(ascii: "/") {
      if set.contains(ExactPath(String(path[..<index]))) { return true }
      let next = utf8.index(after: index)
      if next < utf8.endIndex, set.contains(ExactPath(String(path[..<next]))) { return true }
    }
    return false
  }

  // MARK: File

  static func file(_ op: Pb_FileOp, inputCount: Int) throws -> OpCacheKey {
    var selectors: [Int: [ContentSelector]] = [:]
    var invalid = Set<Int>()
    var actions: [JSONValue] = []
    var indexes: [[Int64]] = []
    for action in op.actions {
      guard var body = action.action else { throw InvalidDefinition("file op has an empty action") }
      if action.input != -1 { invalid.insert(Int(truncatingIfNeeded: action.input)) }
      if let owner = body.owner { addOwner(owner, to: &selectors) }
      if case .copy(var copy) = body, action.secondaryInput != -1, action.secondaryInput < inputCount {
        selectors[Int(action.secondaryInput), default: []].append(
          ContentSelector(
            path: copy.src, wildcard: copy.allowWildcard && ContentSelector.hasWildcard(copy.src), followLinks: copy.followSymlink,
            includePatterns: copy.includePatterns, excludePatterns: copy.excludePatterns, requiredPaths: copy.requiredPaths))
        copy.src = SlashPath.base(copy.src)
        body = .copy(copy)
      }
      actions.append(.string(Base64.encoded(body.goForm.encoded())))
      indexes.append([action.input, action.secondaryInput, action.output])
    }
    var document = JSONObject([("Type", "buildkit.file.v0"), ("Actions", actions.isEmpty ? .array([]) : .array(actions))])
    if !isDefault(indexes), !indexes.isEmpty { document["indexes"] = .array(indexes.map { .array($0.map { .int($0) }) }) }
    var inputs = [Input](repeating: Input(), count: inputCount)
    for (index, list) in selectors {
      guard index >= 0, index < inputCount else { throw InvalidDefinition("file op reads input \(index), but has \(inputCount)") }
      if invalid.contains(index) { continue }
      // Descending, as the peers have always joined them.
      let paths = list.map(\.path).sorted { TreePaths.precedes($1, $0) }
      inputs[index].selector = .sha256(of: paths.joined(separator: "\0"))
      inputs[index].content = deduplicated(list)
    }
    return OpCacheKey(digest: .sha256(of: JSONValue.object(document).encoded()), inputs: inputs)
  }

  /// The chain that keys of old versions had in mind when they left the indexes out: the first action on input 0, each
  /// later one on the result of the one before, second inputs 1, one output at the end. (The input of a later action is
  /// compared as the peers do it, with the count of actions for the count of inputs.)
  private static func isDefault(_ indexes: [[Int64]]) -> Bool {
    if indexes.isEmpty { return false }
    for (i, index) in indexes.enumerated() {
      if index[0] != (i == 0 ? 0 : Int64(indexes.count + i - 1)) { return false }
      if index[1] != -1, index[1] != 1 { return false }
      if index[2] != (i == indexes.count - 1 ? 0 : -1) { return false }
    }
    return true
  }

  /// A name is looked up in the tree's own files. An input that cannot be is left to the execution to refuse, as the peers do: it
  /// must not change the key.
  private static func addOwner(_ owner: Pb_ChownOpt, to selectors: inout [Int: [ContentSelector]]) {
    for (option, has, file) in [(owner.user, owner.hasUser, "/etc/passwd"), (owner.group, owner.hasGroup, "/etc/group")] where has {
      guard case .byName(let named)? = option.user else { continue }
      guard named.input >= 0 else { return }
      selectors[Int(named.input), default: []].append(ContentSelector(path: file, followLinks: true))
    }
  }

  private static func deduplicated(_ list: [ContentSelector]) -> [ContentSelector] {
    let plain = list.filter { !$0.hasWildcardOrFilters }
    let paths = withoutChildren(plain.filter { !$0.followLinks }.map(\.path))
    let followed = withoutChildren(plain.filter(\.followLinks).map(\.path))
    let all = paths.map { ContentSelector(path: $0) } + followed.map { ContentSelector(path: $0, followLinks: true) } + list.filter(\.hasWildcardOrFilters)
    return all.enumerated().sorted { a, b in
      ExactPath(a.element.path) == ExactPath(b.element.path) ? a.offset < b.offset : TreePaths.precedes(a.element.path, b.element.path)
    }.map(\.element)
  }
}

extension Pb_FileAction.OneOf_Action {
  fileprivate var owner: Pb_ChownOpt? {
    switch self {
    case .copy(let a): a.hasOwner ? a.owner : nil
    case .mkfile(let a): a.hasOwner ? a.owner : nil
    case .mkdir(let a): a.hasOwner ? a.owner : nil
    default: nil
    }
  }
}
