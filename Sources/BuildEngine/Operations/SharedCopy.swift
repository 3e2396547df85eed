internal import BuildKitProto
internal import BuildSnapshots
internal import HostOS
internal import OCIModel
internal import SwiftProtobuf

/// A COPY from the build context that comes out as one and the same layer on several trees: those of the platforms of one build, which so copy, archive and compress
/// once. The layer is named by what makes it: the files, as they were at one walk, the actions, and all that the copying sees of the tree it is
/// put on, which is next to nothing where it makes its destination itself. Anything else is copied on its own.
struct SharedCopy: Sendable {
  let source: LocalSource
  /// The tree copied into; nil is an empty one.
  let parent: ImmutableRef?
  let key: String

  /// nil when the copying depends on more of the tree than is looked at here. `owner` resolves names in the tree.
  init?(_ op: Pb_FileOp, on trees: [TreeResult], owner: (Pb_ChownOpt?) async throws -> FileOwner?) async throws {
    guard let first = op.actions.first, first.input >= -1, first.input < trees.count else { return nil }
    switch first.input < 0 ? .scratch : trees[Int(first.input)].tree {
    case .scratch: parent = nil
    case .snapshot(let ref): parent = ref
    case .local: return nil
    }
    var source: LocalSource?
    var parts: [JSONValue] = []
    var copies: [Pb_FileActionCopy] = []
    for (i, action) in op.actions.enumerated() {
      let isLast = i == op.actions.count - 1
      guard i == 0 || action.input == Int64(trees.count + i - 1), action.output == (isLast ? 0 : -1), case .copy(let copy)? = action.action,
        !copy.attemptUnpackDockerCompatibility, action.secondaryInput >= 0, action.secondaryInput < trees.count,
        case .local(let local) = trees[Int(action.secondaryInput)].tree, source == nil || source === local
      else { return nil }
      source = local
      var plain = copy
      plain.clearOwner()
      let owner = try await owner(copy.hasOwner ? copy.owner : nil)
      let bytes: [UInt8] = try plain.serializedBytes(partial: true)
      parts.append(.string(Self.hex(bytes)))
      parts.append(.string(owner.map { "\($0.uid):\($0.gid)" } ?? ""))
      copies.append(copy)
    }
    // One copy could be a link on another's way.
    guard let source, copies.count == 1 || copies.allSatisfy({ $0.dest == copies[0].dest && $0.dest.hasSuffix("/") }) else { return nil }
    let files = source.tree, actions = copies
    let seen = try await parent?.withMounted { root in try Self.seen(of: MountedTree(root), by: actions, from: files) } ?? Self.seen(of: EmptyTree(), by: actions, from: files)
    guard let seen else { return nil }
    self.source = source
    key = JSONValue.array(parts + [.string(parent == nil ? "scratch" : "")] + seen.map { .string($0) }).encodedString()
  }

  /// What the copies find in a tree: the directories on the way to where they make the first thing of their own. nil when they do not.
  private static func seen(of tree: any TreeReader, by copies: [Pb_FileActionCopy], from files: LocalTree) throws -> [String]? {
    var seen: [String] = []
    for copy in copies {
      guard let found = try onWay(of: copy, in: tree, from: files) else { return nil }
      seen += found
    }
    return seen
  }

  private static func onWay(of copy: Pb_FileActionCopy, in tree: any TreeReader, from files: LocalTree) throws -> [String]? {
    var seen: [String] = []
    var path = ""
    var rest = TreePaths.split(TreePaths.clean(copy.dest)).map { String($0) }[...]
    var hasName = false
    while true {
      // The root is there, whether a tree says so or not. What gets an entry gets a new time with it.
      if let status = try tree.status(path) {
        guard status.kind == .directory else { return nil }
        let isOnWay = try rest.first.map { try tree.status(TreePaths.join(path, $0)) != nil } ?? false
        var text = "\(path)\0\(status.mode) \(status.uid) \(status.gid) \(isOnWay && !path.isEmpty ? status.mtime : 0)"
        for (name, value) in try tree.xattrs(path) { text += "\0\(name)=" + hex(value) }
        seen.append(text)
      } else if !path.isEmpty {
        return seen
      }
      if let next = rest.popFirst() {
        path = TreePaths.join(path, next)
        continue
      }
      // The destination is there already.
      if try tree.children(path).isEmpty { return seen }
      let from = try TreePaths.resolve(copy.src, in: files, followLast: copy.followSymlink)
      guard !hasName, !copy.allowWildcard || !copy.src.contains(where: { "*?[\\".contains($0) }), let status = try files.status(from), status.kind != .directory else { return nil }
      hasName = true
      rest = [TreePaths.name(TreePaths.clean(copy.src))]
    }
  }

  private static func hex(_ bytes: [UInt8]) -> String { Digest.sha256(of: bytes).hex }
}
