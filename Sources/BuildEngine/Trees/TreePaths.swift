internal import HostOS

/// Paths inside a tree: symlinks stay inside, as after chroot.
enum TreePaths {
  static let maximumLinks = 255

  /// "" for the root; no slashes at either end, no "." and "..".
  static func clean(_ path: String) -> String {
    var out: [Substring] = []
    for part in split(path) where part != "." {
      if part == ".." { _ = out.popLast() } else { out.append(part) }
    }
    return out.joined(separator: "/")
  }

  /// The components, cut at the byte and not at the character: a combining mark after a slash hides it from `Character`.
  static func split(_ path: String) -> [Substring] { path.utf8.split(separator: UInt8(ascii: "/")).map { Substring($0) } }

  static func join(_ a: String, _ b: String) -> String { a.isEmpty ? b : b.isEmpty ? a : a + "/" + b }
  static func parent(_ path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
    return String(path[..<slash])
  }
  static func name(_ path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
    return String(path[path.utf8.index(after: slash)...])
  }

  static func precedes(_ a: String, _ b: String) -> Bool { PathText.precedes(a, b) }
  static func sorted(_ names: [String]) -> [String] { names.sorted { precedes($0, $1) } }

  /// Whether the path is the folder or something in it ("" is the root).
  static func isWithin(_ path: String, _ folder: String) -> Bool {
    guard path.utf8.starts(with: folder.utf8) else { return false }
    return folder.isEmpty || path.utf8.count == folder.utf8.count || path.utf8[path.utf8.index(path.utf8.startIndex, offsetBy: folder.utf8.count)] == UInt8(ascii: "/")
  }

  /// The path with every symlinked parent resolved, and the last component too if `followLast`. Components that do not
  /// exist are kept as they are. Throws when more than `maximumLinks` links are on the way.
  static func resolve(_ path: String, in tree: any TreeReader, followLast: Bool) throws -> String {
    var remaining = Array(split(clean(path)).reversed())
    var current = ""
    var links = 0
    while let part = remaining.popLast() {
      if part == "." { continue }
      if part == ".." { current = parent(current); continue }
      let next = join(current, String(part))
      guard followLast || !remaining.isEmpty, let status = try tree.status(next), status.kind == .symbolicLink else {
        current = next
        continue
      }
      links += 1
      guard links <= maximumLinks else { throw TreeError(.invalid, "too many symbolic links in \"/\(path)\"") }
      let target = try tree.readLink(next)
      if target.utf8.first == UInt8(ascii: "/") { current = "" }
      remaining += split(target).reversed()
    }
    return current
  }
}

/// A path compared byte by byte: Swift's String takes two spellings of one accented letter for the same.
struct ExactPath: Hashable, Sendable {
  let text: String
  init(_ text: String) { self.text = text }
  static func == (a: ExactPath, b: ExactPath) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }
  func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}
