internal import BuildInterface
internal import HostOS
internal import LLB
internal import OCIRegistry

/// A repository on a server, and what is wanted of it. Works by the program `git`, with no configuration of the machine's or the user's, and none that a repository brings.
struct GitRepository: Sendable {
  var remote: String
  var ref: String
  var subdirectory: String
  var checksum: String
  var skipsSubmodules: Bool
  var usesCommitTime: Bool
  var fetchesByCommit: Bool
  var tokenSecret: String?
  var headerSecret: String?
  /// The value of the Authorization header.
  var authorization: String?
  /// The client's SSH agent, while it is needed.
  var ssh: SSHAccess?

  /// What a ref stands for.
  struct Resolved: Sendable {
    /// The full name, or the hash where a commit was asked for.
    var ref: String
    /// What it names: a commit, or an annotated tag.
    var hash: String
    /// The commit that an annotated tag is of.
    var commit: String?
  }

  var isSSH: Bool { remote.hasPrefix("ssh://") || !remote.contains("://") }
  /// With the port, as secrets are named after it.
  var host: String {
    let rest = remote.firstRange(of: "://").map { remote[$0.upperBound...] } ?? remote[...]
    let authority = rest.prefix { $0 != "/" }
    return String(authority[(authority.lastIndex(of: "@").map { authority.index(after: $0) } ?? authority.startIndex)...])
  }
  /// Without user and password.
  var shown: String { withoutLogin(remote) }

  private func withoutLogin(_ text: String) -> String {
    guard let mark = remote.firstRange(of: "://"), let at = remote[mark.upperBound...].prefix(while: { $0 != "/" }).lastIndex(of: "@") else { return text }
    return text.replacing(remote[mark.upperBound...at], with: "")
  }

  // MARK: What is there

  /// Asks the server what the ref is. A commit's hash is not asked for.
  func resolve() async throws -> Resolved {
    if GitAddress.isCommit(ref) {
      guard checksum.isEmpty || ref.hasPrefix(checksum) else { throw mismatch(ref) }
      return Resolved(ref: ref, hash: ref)
    }
    if fetchesByCommit {
      guard GitAddress.isCommit(checksum) else {
        throw BuildError(.invalidArgument, .usage, "fetch-by-commit requires a full commit SHA checksum, got \"\(checksum)\"", suggestion: "add commit=<the whole hash> to the query")
      }
      return Resolved(ref: ref.isEmpty ? checksum : ref.hasPrefix("refs/") ? ref : "refs/heads/" + ref, hash: checksum)
    }
    let wanted = ref.isEmpty ? try await defaultBranch() : ref
    let answer = try await git(["ls-remote", "--", remote, wanted, wanted + "^{}"], "ask")
    var found: [String: String] = [:]
    for line in answer.split(separator: "\n") {
      let parts = line.split(separator: "\t", maxSplits: 1)
      if parts.count == 2 { found[String(parts[1])] = String(parts[0]) }
    }
    func name(_ prefix: String) -> String { wanted.hasPrefix(prefix) ? wanted : prefix + wanted }
    // As git checks out: what is named in full, then branches before tags.
    let tag = name("refs/tags/")
    guard let full = [name("refs/"), name("refs/heads/"), tag].first(where: { found[$0] != nil }), let hash = found[full], GitAddress.isCommit(hash) else {
      throw BuildError(
        .notFound, .build, "the repository \(shown) has no branch and no tag \(wanted)",
        suggestion: "git ls-remote \(shown) lists them; a commit is named by its whole hash, of 40 digits")
    }
    let commit = full == tag ? found[tag + "^{}"] : nil
    guard checksum.isEmpty || hash.hasPrefix(checksum) || commit?.hasPrefix(checksum) == true else { throw mismatch(commit.map { "\(hash) or \($0)" } ?? hash) }
    return Resolved(ref: full, hash: hash, commit: commit)
  }

  private func mismatch(_ found: String) -> BuildError {
    BuildError(
      .failedPrecondition, .build, "\(shown)#\(ref): expected checksum to match \(checksum), got \(found)",
      suggestion: "the ref has moved, or the checksum is wrong: check what has changed, then correct it")
  }

  private func defaultBranch() async throws -> String {
    let answer = try await git(["ls-remote", "--symref", "--", remote, "HEAD"], "ask")
    for line in answer.split(separator: "\n") where line.hasPrefix("ref: ") && line.hasSuffix("\tHEAD") { return String(line.dropFirst(5).dropLast(5)) }
    throw BuildError(.notFound, .build, "the repository \(shown) does not say which branch is its default one", suggestion: "name a branch, a tag or a commit: \(shown)#main")
  }

  // MARK: Checking out

  /// `bare` and `tree` are empty directories; the first is of no use afterwards.
  func checkOut(_ wanted: Resolved, keepingGitDirectory keeps: Bool, repository bare: String, into tree: String) async throws {
    let form = wanted.hash.utf8.count == 64 ? ["--object-format=sha256"] : []
    _ = try await git(["-c", "init.defaultBranch=master", "init", "--quiet", "--bare"] + form, "make a repository for", directory: bare)
    _ = try await git(["remote", "add", "origin", remote], "make a repository for", directory: bare)
    try await fetch(wanted, into: bare)
    var folder = tree
    var work = (directory: bare, tree: tree)
    if keeps, subdirectory.isEmpty {
      work.directory = tree + "/.git"
      try await clone(wanted, from: bare, form, work)
    } else {
      if !subdirectory.isEmpty { folder = try await Blocking.run { try Files.makeTemporaryDirectory(in: tree, prefix: "checkout") } }
      work.tree = folder
      // A tree without files has nothing to check out.
      if try await !git(["ls-tree", "--name-only", wanted.hash], "read", directory: bare).isEmpty {
        _ = try await git(["checkout", "--no-overlay", wanted.hash, "--", "."], "check out", directory: bare, tree: folder)
      }
    }
    if !skipsSubmodules, Files.exists(folder + "/.gitmodules") {
      _ = try await git(["submodule", "update", "--init", "--recursive", "--depth=1"], "fetch the submodules of", directory: work.directory, tree: work.tree)
    }
    let time = usesCommitTime ? Int64(try await git(["log", "-1", "--format=%ct", wanted.hash + "^{commit}"], "read", directory: bare).filter { $0.isNumber }) : nil
    let (subdirectory, shown, name) = (subdirectory, shown, folder)
    try await Blocking.run {
      let root = try Directory.open(tree)
      if !subdirectory.isEmpty { try GitTree.lift(subdirectory, of: String(name.dropFirst(tree.count + 1)), in: root, repository: shown) }
      if let time { try GitTree.setTimes(root, ".", time * 1_000_000_000) }
    }
  }

  /// One commit deep where the server gives that.
  private func fetch(_ wanted: Resolved, into bare: String) async throws {
    let byHash = fetchesByCommit || GitAddress.isCommit(wanted.ref)
    let target = "refs/manifold/wanted"
    let first = ["fetch", "--quiet", "--depth=1", "--no-tags", "--force", "origin", (byHash ? wanted.hash : wanted.ref) + ":" + target]
    do { _ = try await git(first, "fetch", directory: bare) } catch is BuildError where byHash {
      // A server that gives no single commits: all branches and tags, which may have it.
      _ = try await git(["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/heads/*"], "fetch", directory: bare)
    }
    // Between the question and the fetch the ref may have moved.
    if try await !has(wanted.hash, bare) { _ = try? await git(["fetch", "--quiet", "--depth=1", "--no-tags", "origin", wanted.hash], "fetch", directory: bare) }
    guard try await has(wanted.hash, bare) else {
      throw BuildError(.notFound, .build, "\(shown) has no commit \(wanted.hash)", suggestion: byHash ? "check the hash, and that the commit was pushed" : "\(wanted.ref) changed while it was fetched: build again")
    }
    if !checksum.isEmpty {
      let commit = try await git(["rev-parse", wanted.hash + "^{}"], "read", directory: bare).filter { !$0.isWhitespace }
      guard wanted.hash.hasPrefix(checksum) || commit.hasPrefix(checksum) else { throw mismatch(commit == wanted.hash ? commit : "\(wanted.hash) or \(commit)") }
    }
    _ = try await git(["update-ref", target, wanted.hash], "read", directory: bare)
  }

  private func has(_ hash: String, _ bare: String) async throws -> Bool {
    try await run(["cat-file", "-e", hash], directory: bare).succeeded
  }

  /// A repository of its own beside the files, with this one commit, its ref, and the server as its origin.
  private func clone(_ wanted: Resolved, from bare: String, _ form: [String], _ work: (directory: String, tree: String)) async throws {
    func at(_ arguments: [String], _ what: String = "check out") async throws { _ = try await git(arguments, what, directory: work.directory, tree: work.tree) }
    try await at(["-c", "init.defaultBranch=master", "init", "--quiet"] + form)
    // By a protocol, not by paths: git's shortcuts between directories have been abused.
    try await at(["remote", "add", "origin", "file://" + bare])
    let name = GitAddress.isCommit(wanted.ref) ? "" : ":" + wanted.ref
    try await at(["fetch", "--quiet", "-u", "--depth=1", "--", "origin", "refs/manifold/wanted" + name])
    try await at(["checkout", "--quiet", "FETCH_HEAD"])
    try await at(["remote", "set-url", "origin", shown])
    try await at(["reflog", "expire", "--all", "--expire=now"])
    try await Blocking.run {
      for file in ["FETCH_HEAD", "ORIG_HEAD"] where Files.exists(work.directory + "/" + file) { try Files.removeTree(work.directory + "/" + file) }
    }
  }

  // MARK: The program

  private func git(_ arguments: [String], _ what: String, directory: String? = nil, tree: String? = nil) async throws -> String {
    let output: ProcessOutput
    do { output = try await run(arguments, directory: directory, tree: tree) } catch let error as HostError where error.code == .notFound {
      throw BuildError(.unavailable, .build, "cannot \(what) \(shown): git is not installed", suggestion: "install it: apt-get install git", cause: error)
    }
    if output.succeeded { return output.outputText }
    let said = withoutLogin(output.errorText.split(separator: "\n").filter { !$0.hasPrefix("hint:") }.joined(separator: "\n"))
    let asksForLogin = ["could not read Username", "Authentication failed", "terminal prompts disabled", "403"].contains { said.contains($0) }
    if said.contains("Permission denied (") || said.contains("Host key verification failed") || said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
      let advice = said.contains("Permission denied (")
        ? "the server takes none of the agent's keys: ssh-add -l lists those, ssh-add FILE adds one" : "the server's key is not the one that known_hosts has: find out why, then correct it with ssh-keygen -R HOST"
      throw BuildError(.permissionDenied, .build, "cannot \(what) \(shown): \(said)", suggestion: advice)
    }
    throw BuildError(
      .unavailable, .build, "cannot \(what) \(shown)\(ref.isEmpty ? "" : "#" + ref): \(said.isEmpty ? "git ended with \(output.status)" : said)",
      suggestion: asksForLogin
        ? "the server asks for a login: give a token with --secret id=GIT_AUTH_TOKEN,env=NAME (or id=GIT_AUTH_TOKEN.\(host))" : "check the address, and this machine's network and proxy")
  }

  private func run(_ arguments: [String], directory: String? = nil, tree: String? = nil) async throws -> ProcessOutput {
    // No submodule of a stranger's may be a directory of this machine.
    var all = ["-c", "protocol.file.allow=user", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", "-c", "advice.detachedHead=false"]
    if let tree { all += ["--work-tree", tree] }
    if let directory { all += ["--git-dir", directory] }
    var environment = [
      "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/dev/null", "GIT_CONFIG_GLOBAL": "/dev/null",
      // For submodules: no key of this machine's is theirs.
      "GIT_SSH_COMMAND": "ssh -F /dev/null -o IdentityFile=none -o BatchMode=yes",
    ]
    environment.merge(ssh?.environment ?? [:]) { $1 }
    // Not on the command line, which others on this machine can read.
    if let authorization, let mark = remote.firstRange(of: "://") {
      let scope = remote[..<mark.upperBound] + host + "/"
      environment["GIT_CONFIG_COUNT"] = "1"
      environment["GIT_CONFIG_KEY_0"] = "http.\(scope).extraheader"
      environment["GIT_CONFIG_VALUE_0"] = "Authorization: " + authorization
    }
    let own = RegistryConfiguration.processEnvironment
    for name in ["PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "SSL_CERT_FILE", "GIT_SSL_CAINFO"] {
      if let value = own[name] { environment[name == "SSL_CERT_FILE" ? "GIT_SSL_CAINFO" : name] = value }
    }
    // Modes of files are the image's, whatever this process would have them be; and what is around the person's own directory does not matter.
    return try await Processes.run(
      "sh", ["-c", #"umask 022 && command -v git >/dev/null || exit 127; exec git "$@""#, "sh"] + all + arguments, environment: environment, workingDirectory: tree ?? directory ?? "/", limit: 16 << 20)
  }
}

/// A checked out tree, changed in place. Blocks.
enum GitTree {
  /// Makes what is in `folder/subdirectory` the whole tree.
  static func lift(_ subdirectory: String, of folder: String, in root: Directory, repository: String) throws {
    var path = folder
    for part in subdirectory.split(separator: "/") {
      path += "/" + part
      // A link could lead out of the repository.
      guard try root.statusIfPresent(path)?.kind == .directory else {
        throw BuildError(.notFound, .build, "the repository \(repository) has no directory \(subdirectory)", suggestion: "it is written behind the ref: #ref:directory")
      }
    }
    for entry in try root.entries(path) { try root.rename(path + "/" + entry.name, to: entry.name == folder ? folder + "-" : entry.name) }
    try root.removeTree(folder)
    if try root.statusIfPresent(folder + "-") != nil { try root.rename(folder + "-", to: folder) }
  }

  /// Directories after what is in them.
  static func setTimes(_ root: Directory, _ path: String, _ time: Int64) throws {
    for entry in try root.entries(path) {
      let child = path == "." ? entry.name : path + "/" + entry.name
      if try root.status(child).kind == .directory { try setTimes(root, child, time) } else { try root.setTimes(child, accessed: time, modified: time) }
    }
    try root.setTimes(path, accessed: time, modified: time)
  }
}
