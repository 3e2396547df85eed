internal import BuildInterface
internal import DockerfileSyntax
internal import HostOS
internal import OCIModel

/// Says why a path that a step reads is not in the build context, and what was perhaps meant.
enum MissingPath {
  /// Blocks.
  static func error(_ error: TreeError, _ selectors: [ContentSelector], in tree: LocalTree) -> BuildError {
    BuildError(.notFound, .usage, error.description + " in the build context", suggestion: selectors.lazy.compactMap { suggestion($0.path, tree) }.first)
  }

  private static func suggestion(_ path: String, _ tree: LocalTree) -> String? {
    guard let resolved = try? TreePaths.resolve(path, in: tree, followLast: true), (try? tree.status(resolved)) == nil else { return nil }
    // Not filtered: what is there and was left out.
    if !resolved.isEmpty, (try? tree.root.statusIfPresent(resolved)) ?? nil != nil {
      return "\(resolved) is there, but .dockerignore leaves it out"
    }
    var parent = ""
    for part in resolved.split(separator: "/") {
      let next = TreePaths.join(parent, String(part))
      if let status = try? tree.status(next) {
        guard status.kind == .directory else { return "/\(next) is not a directory" }
        parent = next
        continue
      }
      let names = (try? tree.children(parent)) ?? []
      let wanted = String(part)
      let meant = names.first { $0.lowercased() == wanted.lowercased() } ?? Suggestion.nearest(to: wanted, among: names)
      return meant.map { "did you mean /\(TreePaths.join(parent, $0))?" }
    }
    return nil
  }
}
