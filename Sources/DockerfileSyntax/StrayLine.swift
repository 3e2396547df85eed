/// What a line that begins with no instruction may have been meant to be.
enum StrayLine {
  private static let commands: Set<String> = [
    "apk", "apt", "apt-get", "bash", "bundle", "cargo", "cat", "cd", "chmod", "chown", "cmake", "composer", "cp", "curl", "dnf", "dotnet", "echo", "export", "gem", "git", "go",
    "gradle", "groupadd", "adduser", "useradd", "install", "java", "ln", "ls", "make", "microdnf", "mkdir", "mv", "mvn", "node", "npm", "npx", "pip", "pip3", "pnpm", "poetry", "python",
    "python3", "rm", "ruby", "sed", "set", "sh", "source", "sudo", "tar", "touch", "uv", "wget", "yarn", "yum", "zypper",
  ]
  private static let operators: Set<String> = ["&&", "||", "|", ";", "&", ">", ">>", "<", "-", "then", "fi", "do", "done", "else", "elif"]

  /// What to do about a line with the unknown word `node.keyword` that follows `before`.
  static func advice(for node: InstructionNode, after before: InstructionNode?, escape: Unicode.Scalar) -> String? {
    let word = node.keyword, mark = String(Character(escape))
    if let before, before.range.end.line + 1 == node.range.start.line, let last = before.original.unicodeScalars.lastIndex(of: escape) {
      let rest = before.original.unicodeScalars[before.original.unicodeScalars.index(after: last)...]
      // `make \ # why`: the comment took the place of the line's end.
      if rest.first(where: { !$0.isSpace }) == "#" {
        return "if it belongs to the \(before.keyword.asciiUppercased) above: \(mark) continues a line only as its last character; move the comment to a line of its own"
      }
    }
    let isArgument = operators.contains(word) || word.hasPrefix("&&") || word.hasPrefix("--")
    if let before, isArgument || (before.range.end.line + 1 == node.range.start.line && node.keywordRange.start.column > before.keywordRange.start.column) {
      return "if it belongs to the \(before.keyword.asciiUppercased) above, end line \(before.range.end.line) with \(mark)"
    }
    if commands.contains(word) { return "a command is run by RUN: RUN \(word) …" }
    return "instructions are \(InstructionBuilder.keywords.filter { $0 != "MAINTAINER" }.joined(separator: ", "))"
  }
}
