/// Slash-separated paths as Go's `path` package treats them; digests depend on the exact results. (PathPatterns has more of it for front ends; LLB stands alone.)
enum SlashPath {
  /// The shortest path that means the same, by text alone: no `.`, no inner `..`, no double slashes; `.` for nothing.
  static func clean(_ path: String) -> String {
    let rooted = path.utf8.first == UInt8(ascii: "/")
    var parts: [Substring] = []
    for part in path.split(separator: "/", omittingEmptySubsequences: true) where part != "." {
      if part == ".." {
        if let last = parts.last, last != ".." { parts.removeLast() } else if !rooted { parts.append(part) }
      } else {
        parts.append(part)
      }
    }
    let joined = parts.joined(separator: "/")
    return rooted ? "/" + joined : joined.isEmpty ? "." : joined
  }

  /// The elements joined by slashes, empty ones left out, and cleaned; empty for none.
  static func join(_ elements: String...) -> String {
    let used = elements.filter { !$0.isEmpty }
    return used.isEmpty ? "" : clean(used.joined(separator: "/"))
  }

  static func isAbsolute(_ path: String) -> Bool { path.utf8.first == UInt8(ascii: "/") }

  /// The last element: `.` for an empty path, `/` for slashes alone.
  static func base(_ path: String) -> String {
    if path.isEmpty { return "." }
    return path.split(separator: "/", omittingEmptySubsequences: true).last.map(String.init) ?? "/"
  }

  /// All but the last element, cleaned.
  static func directory(_ path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return clean(String(path[...slash]))
  }
}

extension String {
  /// Byte order, as Go sorts strings.
  func precedesInBytes(_ other: String) -> Bool { utf8.lexicographicallyPrecedes(other.utf8) }
}
