import PathPatterns

/// An ignore file, a NUL, and paths a line.
enum PatternFuzz {
  static func run(_ bytes: [UInt8]) throws {
    let texts = FuzzInput(bytes).texts(2)
    let paths = texts[1].split(separator: "\n").prefix(16).map(String.init)
    for path in paths {
      let clean = SlashPath.clean(path)
      try FuzzFinding.check(SlashPath.clean(clean) == clean, "\(path) is cleaned to \(clean), and that to another")
    }
    guard let patterns = try? IgnoreFile.patterns(in: texts[0]) else { return }
    for pattern in patterns.prefix(8) { for path in paths.prefix(4) { _ = try? Wildcard.matches(pattern, path) } }
    guard let list = try? PatternList(patterns) else { return }
    for path in paths.map({ SlashPath.clean($0) }) where SlashPath.isLocal(path) && path != "." {
      try walk(path, list)
    }
  }

  /// A walk to the path: what it prunes must be excluded.
  private static func walk(_ path: String, _ list: PatternList) throws {
    var folder = PatternList.Folder()
    var at = ""
    var pruned: String?
    var visit: PatternList.Visit?
    // By bytes: a slash and a mark after it are one Character.
    for part in path.utf8.split(separator: UInt8(ascii: "/")) {
      let part = String(decoding: part, as: UTF8.self)
      at = at.isEmpty ? part : at + "/" + part
      let next = list.visit(at, in: folder)
      if next.isExcluded, pruned == nil, list.canPrune(excludedFolder: at) { pruned = at }
      folder = next.folder
      visit = next
    }
    if let pruned, let visit { try FuzzFinding.check(visit.isExcluded, "\(path) is included, but a walk stops at \(pruned)") }
    if !list.hasExceptions, let visit { try FuzzFinding.check(visit.isExcluded == list.matches(path), "a walk says otherwise of \(path) than a match") }
  }
}
