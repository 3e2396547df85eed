/// Docker's ignore patterns: the later of two patterns that match decides, and `!` makes a pattern an exception.
///
/// A pattern also matches everything below what it matches. Patterns are compiled once; matching takes time proportional to the path.
/// Paths are slash-separated, relative and clean, with no slash at their ends.
public struct PatternList: Sendable {
  private let patterns: [CompiledPattern]
  /// Whether there is a `!` pattern.
  public let hasExceptions: Bool

  /// Compiles patterns, as ``IgnoreFile/patterns(in:)`` gives them; blanks around one go, empty ones are left out.
  ///
  /// - Throws: ``PathPatternError`` for the first malformed one. (Docker notices some only when it first tries them on a path.)
  public init(_ patterns: [String]) throws(PathPatternError) {
    var compiled: [CompiledPattern] = []
    for written in patterns {
      let trimmed = written.trimmedSpace
      if trimmed.isEmpty { continue }
      var pattern = SlashPath.clean(trimmed)
      let isException = pattern.utf8.first == UInt8(ascii: "!")
      if isException {
        pattern = String(pattern.unicodeScalars.dropFirst())
        guard !pattern.isEmpty else { throw PathPatternError(.emptyException, pattern: written, reason: "there is nothing after the !") }
      }
      _ = try Wildcard.matches(pattern, ".")
      compiled.append(try CompiledPattern(pattern, isException: isException))
    }
    self.patterns = compiled
    hasExceptions = compiled.contains(where: \.isException)
  }

  /// Whether there are no patterns.
  public var isEmpty: Bool { patterns.isEmpty }

  /// The patterns as they are used: cleaned, with `!` before exceptions.
  public var texts: [String] { patterns.map { ($0.isException ? "!" : "") + $0.text } }

  /// Whether the path is excluded, by itself or with a folder above it.
  public func matches(_ path: String) -> Bool {
    var path = path
    return path.withUTF8 { path in
      var isExcluded = false
      for pattern in patterns where pattern.isException == isExcluded {
        if pattern.matches(path) || matchesParent(pattern, path) { isExcluded = !pattern.isException }
      }
      return isExcluded
    }
  }

  private func matchesParent(_ pattern: CompiledPattern, _ path: UnsafeBufferPointer<UInt8>) -> Bool {
    for index in path.indices where path[index] == UInt8(ascii: "/") {
      if pattern.matches(UnsafeBufferPointer(rebasing: path[..<index])) { return true }
    }
    return false
  }

  /// What a walk knows of a folder: the patterns that match it or a folder above it.
  public struct Folder: Sendable, Hashable {
    fileprivate var low: UInt64 = 0
    fileprivate var rest: [UInt64] = []

    /// The root of a walk.
    public init() {}

    fileprivate subscript(index: Int) -> Bool {
      get {
        if index < 64 { return low >> UInt64(index) & 1 == 1 }
        let word = index / 64 - 1
        return word < rest.count && rest[word] >> UInt64(index % 64) & 1 == 1
      }
      set {
        guard newValue else { return }
        if index < 64 {
          low |= 1 << UInt64(index)
        } else {
          while rest.count < index / 64 { rest.append(0) }
          rest[index / 64 - 1] |= 1 << UInt64(index % 64)
        }
      }
    }
  }

  /// What a walk is told of one entry.
  public struct Visit: Sendable {
    /// Whether the entry is excluded.
    public var isExcluded: Bool
    /// For a folder: what to pass on for the entries in it.
    public var folder: Folder
  }

  /// Judges an entry of a tree that is walked from its root: quicker than ``matches(_:)``, as what is known of its folder is used. This is
  /// how BuildKit filters a build context. The two can differ when an exception for a folder stands after a pattern for an entry in
  /// it (`dir/f`, `!dir`): a walk has passed the exception over by then, and excludes the entry.
  ///
  /// - Parameters:
  ///   - path: the entry's path from the root.
  ///   - folder: what the visit of its folder gave, or `Folder()` for an entry of the root. nil when its folder was not visited: then
  ///     the folders above it are tried here, as ``matches(_:)`` does.
  public func visit(_ path: String, in folder: Folder?) -> Visit {
    var path = path
    return path.withUTF8 { path in
      var visit = Visit(isExcluded: false, folder: Folder())
      for index in patterns.indices {
        let pattern = patterns[index]
        var isMatch = folder?[index] ?? false
        if !isMatch {
          guard pattern.isException == visit.isExcluded else { continue }
          isMatch = pattern.matches(path) || (folder == nil && matchesParent(pattern, path))
        }
        guard isMatch else { continue }
        visit.folder[index] = true
        visit.isExcluded = !pattern.isException
      }
      return visit
    }
  }

  /// Whether an excluded folder need not be walked: no exception can match anything below it. It may say no where it could say yes,
  /// never the reverse.
  public func canPrune(excludedFolder path: String) -> Bool {
    guard hasExceptions else { return true }
    var path = path
    return path.withUTF8 { path in !patterns.contains { $0.isException && $0.couldMatch(below: path) } }
  }
}
