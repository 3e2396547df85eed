/// A git repository as Dockerfiles and build contexts name one, with what is wanted of it: `https://host/repo.git#ref:subdir`, `git@host:repo.git?branch=main`
/// (BuildKit's frontend/dockerfile/dfgitutil and util/gitutil).
public struct GitAddress: Hashable, Sendable {
  /// What git is given: the address without query and fragment.
  public var remote: String
  /// In lower case; `ssh` for `user@host:path`.
  public var scheme: String
  /// With the port, without user and password.
  public var host: String
  /// Percent-decoded.
  public var path: String
  /// A branch, a tag, a full ref or a commit; empty is the default branch.
  public var ref = ""
  /// Without slashes at its ends; empty is the whole repository.
  public var subdirectory = ""
  /// What the commit's hash must begin with; empty is any.
  public var checksum = ""
  /// Whether `.git` stays in the tree (`keep-git-dir`); nil where the address does not say, which is no.
  public var keepsGitDirectory: Bool?
  /// Whether submodules are checked out, too (`submodules`); nil where the address does not say, which is yes.
  public var fetchesSubmodules: Bool?
  /// `checkout` or `commit`; empty is `checkout`.
  public var modificationTime = ""
  /// Whether the checksum, a whole commit hash, is what is fetched, and not `ref` (`fetch-by-commit`). Off: the ref is fetched and compared.
  public var fetchesByCommit = false

  /// nil: not an address of a git repository, but perhaps of something else. Throws `LLBError.invalidOption` for one that is, with a query that is wrong.
  /// - Parameter context: a build context, where `github.com/…` is one, too.
  public init?(parsing text: String, context: Bool = false) throws(LLBError) {
    if text.hasPrefix("./") || text.hasPrefix("../") { return nil }
    if context, text.hasPrefix("github.com/") {
      try self.init(url: "https://" + text, isAnyPath: true)
      return
    }
    var found = try GitAddress(url: text)
    if found == nil { found = try GitAddress(scp: text) }
    guard let address = found else { return nil }
    self = address
  }

  /// Of `http`, `https`, `ssh` or `git`.
  private init?(url text: String, isAnyPath: Bool = false) throws(LLBError) {
    guard let mark = text.firstRange(of: "://") else { return nil }
    let scheme = text[..<mark.lowerBound].lowercased()
    guard ["http", "https", "ssh", "git"].contains(scheme) else { return nil }
    let (address, query, fragment) = GitAddress.split(text)
    let rest = address[address.index(address.startIndex, offsetBy: scheme.count + 3)...]
    let authority = rest.prefix { $0 != "/" }
    guard let path = GitAddress.decoded(rest[authority.endIndex...], plusIsSpace: false) else { return nil }
    // What is behind http may be anything.
    if !isAnyPath, scheme.hasPrefix("http"), !path.hasSuffix(".git") { return nil }
    (remote, self.scheme, self.path) = ("\(scheme)://\(rest)", scheme, path)
    host = String(authority[(authority.lastIndex(of: "@").map { authority.index(after: $0) } ?? authority.startIndex)...])
    guard let fragment = GitAddress.decoded(fragment, plusIsSpace: false) else { throw LLBError(.invalidOption, "\(text): the part behind # is not well formed") }
    try take(query: query, fragment: fragment, of: text)
  }

  /// `user@host:path`
  private init?(scp text: String) throws(LLBError) {
    func isName(_ c: UInt8) -> Bool { (c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c == UInt8(ascii: "-") }
    let (address, query, fragment) = GitAddress.split(text)
    let user = address.utf8.prefix { isName($0) || $0 == UInt8(ascii: "_") }
    guard !user.isEmpty, address.utf8[user.endIndex...].first == UInt8(ascii: "@") else { return nil }
    let rest = address.utf8[user.endIndex...].dropFirst()
    let host = rest.prefix { isName($0) || $0 == UInt8(ascii: ".") }
    guard !host.isEmpty, rest[host.endIndex...].first == UInt8(ascii: ":") else { return nil }
    (remote, scheme, self.host, path) = (String(address), "ssh", String(Substring(host)), String(Substring(rest[host.endIndex...].dropFirst())))
    try take(query: query, fragment: String(fragment), of: text)
  }

  private mutating func take(query: Substring, fragment: String, of text: String) throws(LLBError) {
    let parts = fragment.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    ref = parts.first.map(String.init) ?? ""
    subdirectory = parts.count > 1 ? GitAddress.cleaned(parts[1]) : ""
    var values: [String: [String]] = [:]
    for pair in query.split(separator: "&") {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = GitAddress.decoded(sides[0], plusIsSpace: true), let value = sides.count > 1 ? GitAddress.decoded(sides[1], plusIsSpace: true) : "" else {
        throw LLBError(.invalidOption, "\(text): the query \"\(pair)\" is not well formed")
      }
      values[name, default: []].append(value)
    }
    for (name, all) in values.sorted(by: { $0.key < $1.key }) {
      guard let value = all.first, all.count == 1 else { throw LLBError(.invalidOption, "query \"\(name)\" has multiple values") }
      try set(name, value)
    }
    if let tag = values["tag"]?.first { try setRef("refs/tags/", tag) }
    if let branch = values["branch"]?.first {
      guard values["tag"] == nil else { throw LLBError(.invalidOption, "branch conflicts with tag") }
      try setRef("refs/heads/", branch)
    }
  }

  private mutating func set(_ name: String, _ value: String) throws(LLBError) {
    func flag() throws(LLBError) -> Bool {
      switch value {
      case "", "1", "t", "T", "TRUE", "true", "True": return true
      case "0", "f", "F", "FALSE", "false", "False": return false
      default: throw LLBError(.invalidOption, "invalid \(name) value: \"\(value)\"")
      }
    }
    let flags: Set = ["keep-git-dir", "submodules", "fetch-by-commit"], texts: Set = ["ref", "tag", "branch", "subdir", "checksum", "commit", "mtime"]
    guard flags.contains(name) || texts.contains(name) else { throw LLBError(.invalidOption, "unexpected query \"\(name)\"") }
    if value.isEmpty, !flags.contains(name) { throw LLBError(.invalidOption, "query \"\(name)\" has no value") }
    switch name {
    case "ref": try setRef("", value)
    case "subdir":
      guard subdirectory.isEmpty || subdirectory == value else { throw LLBError(.invalidOption, "subdir conflicts: \"\(subdirectory)\" vs \"\(value)\"") }
      subdirectory = GitAddress.cleaned(value[...])
    case "checksum", "commit": checksum = value
    case "keep-git-dir": keepsGitDirectory = try flag()
    case "submodules": fetchesSubmodules = try flag()
    case "fetch-by-commit": fetchesByCommit = try flag()
    case "mtime":
      guard ["checkout", "commit"].contains(value) else { throw LLBError(.invalidOption, "invalid mtime value: \"\(value)\" (must be \"checkout\" or \"commit\")") }
      modificationTime = value
    default: break
    }
  }

  private mutating func setRef(_ prefix: String, _ value: String) throws(LLBError) {
    let full = value.hasPrefix(prefix) ? value : prefix + value
    guard ref.isEmpty || ref == full else { throw LLBError(.invalidOption, "ref conflicts: \"\(ref)\" vs \"\(full)\"") }
    ref = full
  }

  /// Whether it is a whole commit hash, of either length.
  public static func isCommit(_ ref: String) -> Bool {
    [40, 64].contains(ref.utf8.count) && ref.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) }
  }

  private static func split(_ text: String) -> (address: Substring, query: Substring, fragment: Substring) {
    let whole = text.prefix { $0 != "#" }
    let address = whole.prefix { $0 != "?" }
    return (address, whole[address.endIndex...].dropFirst(), text[whole.endIndex...].dropFirst())
  }

  /// Within the repository, whatever it says.
  private static func cleaned(_ path: Substring) -> String {
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return parts.joined(separator: "/")
  }

  private static func decoded(_ text: Substring, plusIsSpace: Bool) -> String? {
    var out: [UInt8] = [], bytes = Array(text.utf8)[...]
    while let byte = bytes.popFirst() {
      switch byte {
      case UInt8(ascii: "+") where plusIsSpace: out.append(UInt8(ascii: " "))
      case UInt8(ascii: "%"):
        let digits = bytes.prefix(2)
        guard digits.count == 2, digits.first != UInt8(ascii: "+"), digits.first != UInt8(ascii: "-"), let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) else { return nil }
        out.append(value)
        bytes = bytes.dropFirst(2)
      default: out.append(byte)
      }
    }
    return String(decoding: out, as: UTF8.self)
  }
}

extension Graph {
  /// A checkout of a git repository. Of one address by several protocols comes one identifier, so that the cache finds it by each.
  ///
  /// Secrets by the names `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`, alone or with `.HOST` behind them, are offered to servers that ask.
  public func git(_ address: GitAddress, options: VertexOptions = VertexOptions()) -> State {
    var options = options
    options.capabilities.formUnion([.sourceGit, .sourceGitFullURL])
    let path = address.path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    var identifier = address.host + "/" + path
    if !address.ref.isEmpty || !address.subdirectory.isEmpty { identifier += "#" + address.ref }
    if !address.subdirectory.isEmpty { identifier += ":" + address.subdirectory }
    var attributes = [SourceAttribute.gitFullURL: address.remote, SourceAttribute.gitAuthToken: "GIT_AUTH_TOKEN", SourceAttribute.gitAuthHeader: "GIT_AUTH_HEADER"]
    func set(_ key: String, _ value: String?, _ capability: Capability) {
      guard let value else { return }
      attributes[key] = value
      options.capabilities.insert(capability)
    }
    set(SourceAttribute.gitKeepDirectory, address.keepsGitDirectory == true ? "true" : nil, .sourceGitKeepDirectory)
    set(SourceAttribute.gitChecksum, address.checksum.isEmpty ? nil : address.checksum, .sourceGitChecksum)
    set(SourceAttribute.gitSkipSubmodules, address.fetchesSubmodules == false ? "true" : nil, .sourceGitSkipSubmodules)
    set(SourceAttribute.gitModificationTime, address.modificationTime.isEmpty ? nil : address.modificationTime, .sourceGitModificationTime)
    set(SourceAttribute.gitFetchByCommit, address.fetchesByCommit ? "true" : nil, .sourceGitFetchByCommit)
    if address.scheme == "ssh" {
      set(SourceAttribute.gitSSHSocket, "default", .sourceGitSSHSocket)
      options.capabilities.insert(.sourceGitKnownHosts)
    }
    return source("git://" + identifier, attributes, options)
  }
}
