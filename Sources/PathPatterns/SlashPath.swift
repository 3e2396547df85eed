/// Slash-separated paths by the rules of Go's `path` and `path/filepath` (on Unix): purely by their text, no file is looked at.
public enum SlashPath {
  private static let slash = UInt8(ascii: "/")
  private static let dot = UInt8(ascii: ".")

  /// The shortest path that means the same: no empty, `.` or inner `..` elements, no trailing slash; `.` for the empty path.
  public static func clean(_ path: String) -> String {
    let source = path.utf8
    guard !source.isEmpty else { return "." }
    if isClean(source) { return path }
    let isRooted = source.first == slash
    var elements: [Substring.UTF8View] = []
    for element in source.split(separator: slash) {
      if element.count == 1, element.first == dot { continue }
      let isParent = element.count == 2 && element.allSatisfy { $0 == dot }
      guard isParent else {
        elements.append(Substring(element).utf8)
        continue
      }
      if let last = elements.last, !(last.count == 2 && last.allSatisfy { $0 == dot }) {
        elements.removeLast()
      } else if !isRooted {
        elements.append(Substring(element).utf8)
      }
    }
    let joined = elements.map { String(Substring($0)) }.joined(separator: "/")
    if isRooted { return "/" + joined }
    return joined.isEmpty ? "." : joined
  }

  /// Whether a non-empty path has nothing to clean: no `//`, no trailing slash, no element that begins with a dot.
  private static func isClean(_ path: String.UTF8View) -> Bool {
    var previous: UInt8 = 0
    var atElement = true
    for byte in path {
      if byte == slash, previous == slash { return false }
      if byte == dot, atElement { return false }
      atElement = byte == slash
      previous = byte
    }
    return previous != slash || path.count == 1
  }

  /// The elements joined by slashes and cleaned; empty ones are ignored, and nothing at all gives the empty string.
  public static func join(_ elements: String...) -> String {
    let parts = elements.filter { !$0.isEmpty }
    return parts.isEmpty ? "" : clean(parts.joined(separator: "/"))
  }

  /// Whether the path begins with a slash.
  public static func isAbsolute(_ path: String) -> Bool { path.utf8.first == slash }

  /// The last element: without trailing slashes, `.` for the empty path, `/` for nothing but slashes.
  public static func base(_ path: String) -> String {
    guard !path.isEmpty else { return "." }
    var text = Substring(path)
    while text.utf8.last == slash { text = text.dropLast() }
    if text.isEmpty { return "/" }
    guard let index = text.utf8.lastIndex(of: slash) else { return String(text) }
    return String(text[text.utf8.index(after: index)...])
  }

  /// All but the last element, cleaned: `.` when there is none.
  public static func directory(_ path: String) -> String {
    guard let index = path.utf8.lastIndex(of: slash) else { return "." }
    return clean(String(path[...index]))
  }

  /// Whether the path stays below the folder it is relative to: not empty, not absolute, no way out by `..`.
  public static func isLocal(_ path: String) -> Bool {
    if path.isEmpty || isAbsolute(path) { return false }
    let cleaned = clean(path)
    return cleaned != ".." && !cleaned.hasPrefix("../")
  }
}
