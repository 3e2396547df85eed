internal import BuildInterface
internal import DockerfileSyntax
internal import HostOS
internal import OCIModel

/// Says why a path that a step reads is not there, and what was perhaps meant.
enum MissingPath {
  /// In a build context. Blocks.
  static func error(_ error: TreeError, _ selectors: [ContentSelector], in tree: LocalTree, context: String = "context") -> BuildError {
    // The filter has let through only what steps ask for: what else there is, is in the directory itself.
    let directory = MountedTree(tree.root)
    let suggestion = selectors.lazy.compactMap { selector -> String? in
      guard let path = missing(selector, in: tree) else { return nil }
      if !path.isEmpty, (try? directory.status(path)) ?? nil != nil { return "\(path) is there, but .dockerignore leaves it out" }
      return meant(by: path, in: directory, root: "")
    }.first
    return BuildError(.notFound, .usage, error.description + " in the build context" + (context == "context" ? "" : " " + context), suggestion: suggestion)
  }

  /// In the files of a stage or an image. Blocks.
  static func error(_ error: TreeError, _ selectors: [ContentSelector], in tree: MountedTree) -> BuildError {
    let suggestion = selectors.lazy.compactMap { selector in missing(selector, in: tree).flatMap { meant(by: $0, in: tree, root: "/") } }.first
    return BuildError(.notFound, .build, error.description, suggestion: suggestion)
  }

  private static func missing(_ selector: ContentSelector, in tree: any TreeReader) -> String? {
    guard let resolved = try? TreePaths.resolve(selector.path, in: tree, followLast: true), (try? tree.status(resolved)) ?? nil == nil else { return nil }
    return resolved
  }

  static func meant(by path: String, in tree: any TreeReader, root: String) -> String? {
    var parent = ""
    for part in path.split(separator: "/") {
      let next = TreePaths.join(parent, String(part))
      if let status = try? tree.status(next) {
        guard status.kind == .directory else { return "\(root)\(next) is not a directory" }
        parent = next
        continue
      }
      let names = (try? tree.children(parent)) ?? []
      let wanted = String(part)
      let meant = names.first { $0 != wanted && $0.lowercased() == wanted.lowercased() } ?? Suggestion.nearest(to: wanted, among: names)
      return meant.map { "did you mean \(root)\(TreePaths.join(parent, $0))?" }
    }
    return nil
  }
}
