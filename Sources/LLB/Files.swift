internal import BuildKitProto
public import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// Who owns a new file: names are looked up in the filesystem that the file goes into.
public struct FileOwner: Hashable, Sendable {
  public enum Party: Hashable, Sendable { case id(UInt32), name(String) }
  public var user: Party?
  /// nil leaves the group as it is.
  public var group: Party?
  public init(user: Party?, group: Party?) { (self.user, self.group) = (user, group) }

  /// Reads `user[:group]`; numbers and `root` are ids.
  public init(parsing text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    user = parts.first.map(FileOwner.party)
    group = parts.count > 1 ? FileOwner.party(parts[1]) : nil
  }

  private static func party(_ text: String) -> Party {
    if text == "root" { return .id(0) }
    if let id = Int32(text) { return .id(UInt32(bitPattern: id)) }
    // An empty name is id 0, as on the wire a name that is not there.
    return text.isEmpty ? .id(0) : .name(text)
  }
}

/// Permission bits of a copied file.
public enum FileMode: Hashable, Sendable {
  /// 0…07777.
  case bits(Int32)
  /// chmod's symbolic form, applied to what each file has: `u+x,go-w`.
  case symbolic(String)
}

/// How a copy chooses and places files.
public struct CopyOptions: Sendable {
  public var owner: FileOwner?
  public var mode: FileMode?
  public var followSymlinks = false
  /// A folder's content rather than the folder.
  public var contentsOnly = false
  public var includePatterns: [String] = []
  public var excludePatterns: [String] = []
  public var requiredPaths: [String] = []
  /// Unpacks the source if it is an archive.
  public var attemptUnpack = false
  public var createDestination = false
  public var allowWildcard = false
  public var allowEmptyWildcard = false
  public var alwaysReplaceExisting = false
  /// nil keeps the files' own.
  public var created: Timestamp?
  public init() {}
}

/// One step of a file op. Relative paths are below the state's directory.
public struct FileAction: Sendable {
  enum Kind: Sendable {
    case makeDirectory(path: String, mode: Int32, parents: Bool)
    case makeFile(path: String, mode: Int32, data: [UInt8])
    case symlink(target: String, path: String)
    case remove(path: String, allowMissing: Bool, allowWildcard: Bool)
    case copy(source: State, path: String, destination: String, CopyOptions)
  }
  var kind: Kind
  var owner: FileOwner?
  var created: Timestamp?

  /// `mode`: permission bits, at most 0777.
  public static func makeDirectory(_ path: String, mode: Int32, parents: Bool = false, owner: FileOwner? = nil, created: Timestamp? = nil) -> FileAction {
    FileAction(kind: .makeDirectory(path: path, mode: mode & 0o777, parents: parents), owner: owner, created: created)
  }
  public static func makeFile(_ path: String, mode: Int32, data: [UInt8], owner: FileOwner? = nil, created: Timestamp? = nil) -> FileAction {
    FileAction(kind: .makeFile(path: path, mode: mode & 0o777, data: data), owner: owner, created: created)
  }
  /// A symlink at `path` that points to `target`; both are kept as they are.
  public static func symlink(to target: String, at path: String, owner: FileOwner? = nil, created: Timestamp? = nil) -> FileAction {
    FileAction(kind: .symlink(target: target, path: path), owner: owner, created: created)
  }
  public static func remove(_ path: String, allowMissing: Bool = false, allowWildcard: Bool = false) -> FileAction {
    FileAction(kind: .remove(path: path, allowMissing: allowMissing, allowWildcard: allowWildcard), owner: nil, created: nil)
  }
  /// From `path` of `source` (relative to its directory) to `destination`; a trailing slash of it is kept.
  public static func copy(from source: State, _ path: String, to destination: String, _ options: CopyOptions = CopyOptions()) -> FileAction {
    FileAction(kind: .copy(source: source, path: path, destination: destination, options), owner: options.owner, created: options.created)
  }
}

struct FileOperation: Sendable {
  struct Action: Sendable {
    /// Without the inputs that owners' names are looked up in.
    var proto: Pb_FileAction.OneOf_Action
    var source: Output?
  }
  var base: Output?
  var actions: [Action]
}

extension State {
  /// Does the actions in order and gives the filesystem after the last. Throws `LLBError.invalidOption` for none.
  public func file(_ actions: [FileAction], options: VertexOptions = VertexOptions()) throws(LLBError) -> State {
    guard !actions.isEmpty else { throw LLBError(.invalidOption, "a file op needs at least one action") }
    var options = options
    options.capabilities.insert(.fileBase)
    let operation = FileOperation(base: output, actions: actions.map { encode($0) })
    let id = graph.add(Vertex(operation: .file(operation), options: options))
    return replacing(output: Output(node: .vertex(id), index: 0))
  }

  private func encode(_ action: FileAction) -> FileOperation.Action {
    let time = action.created?.nanosecondsSinceEpoch ?? -1
    switch action.kind {
    case .makeDirectory(let path, let mode, let parents):
      return .init(
        proto: .mkdir(
          .with {
            $0.path = State.normalize(directory, path)
            $0.mode = mode
            $0.makeParents = parents
            $0.timestamp = time
            if let owner = action.owner { $0.owner = owner.proto }
          }))
    case .makeFile(let path, let mode, let data):
      return .init(
        proto: .mkfile(
          .with {
            $0.path = State.normalize(directory, path)
            $0.mode = mode
            $0.data = .init(data)
            $0.timestamp = time
            if let owner = action.owner { $0.owner = owner.proto }
          }))
    case .symlink(let target, let path):
      return .init(
        proto: .symlink(
          .with {
            $0.oldpath = target
            $0.newpath = path
            $0.timestamp = time
            if let owner = action.owner { $0.owner = owner.proto }
          }))
    case .remove(let path, let allowMissing, let allowWildcard):
      return .init(
        proto: .rm(
          .with {
            $0.path = State.normalize(directory, path)
            $0.allowNotFound = allowMissing
            $0.allowWildcard = allowWildcard
          }))
    case .copy(let source, let path, let destination, let copy):
      precondition(source.graph === graph, "states of two graphs cannot be mixed")
      return .init(proto: .copy(encodeCopy(source, path, destination, copy, time)), source: source.output)
    }
  }

  private func encodeCopy(_ source: State, _ path: String, _ destination: String, _ copy: CopyOptions, _ time: Int64) -> Pb_FileActionCopy {
    let clean = SlashPath.clean(path)
    return .with {
      $0.src = SlashPath.join(SlashPath.isAbsolute(clean) ? "/" : source.directory, clean)
      $0.dest = State.normalize(directory, destination, keepSlash: true)
      if let owner = copy.owner { $0.owner = owner.proto }
      switch copy.mode {
      case nil: $0.mode = -1
      case .bits(let bits): $0.mode = bits
      case .symbolic(let text): $0.modeStr = text
      }
      $0.includePatterns = copy.includePatterns
      $0.excludePatterns = copy.excludePatterns
      $0.requiredPaths = copy.requiredPaths
      $0.allowWildcard = copy.allowWildcard
      $0.allowEmptyWildcard = copy.allowEmptyWildcard
      $0.followSymlink = copy.followSymlinks
      $0.dirCopyContents = copy.contentsOnly
      $0.attemptUnpackDockerCompatibility = copy.attemptUnpack
      $0.createDestPath = copy.createDestination
      $0.alwaysReplaceExistingDestPaths = copy.alwaysReplaceExisting
      $0.timestamp = time
    }
  }

  static func normalize(_ parent: String, _ path: String, keepSlash: Bool = false) -> String {
    var clean = SlashPath.clean(path)
    if !SlashPath.isAbsolute(clean) { clean = SlashPath.join("/", parent, clean) }
    guard keepSlash else { return clean }
    if path.hasSuffix("/"), !clean.hasSuffix("/") {
      clean += "/"
    } else if path.hasSuffix("/.") {
      if clean != "/" { clean += "/" }
      clean += "."
    }
    return clean
  }
}

extension FileOwner {
  /// With no input for names; marshalling fills it in.
  var proto: Pb_ChownOpt {
    func encode(_ party: Party) -> Pb_UserOpt {
      switch party {
      case .id(let id): .with { $0.byID = id }
      case .name(let name): .with { $0.byName = .with { $0.name = name } }
      }
    }
    return .with {
      if let user { $0.user = encode(user) }
      if let group { $0.group = encode(group) }
    }
  }
}

extension Pb_FileAction.OneOf_Action {
  /// The same action with owners' names looked up in an input, or in none for -1.
  func lookingUpOwners(in input: Int64) -> Self {
    func resolve(_ owner: inout Pb_ChownOpt) {
      if case .byName(var named)? = owner.user.user { named.input = input; owner.user.byName = named }
      if case .byName(var named)? = owner.group.user { named.input = input; owner.group.byName = named }
    }
    switch self {
    case .copy(var action) where action.hasOwner: resolve(&action.owner); return .copy(action)
    case .mkdir(var action) where action.hasOwner: resolve(&action.owner); return .mkdir(action)
    case .mkfile(var action) where action.hasOwner: resolve(&action.owner); return .mkfile(action)
    case .symlink(var action) where action.hasOwner: resolve(&action.owner); return .symlink(action)
    default: return self
    }
  }
}
