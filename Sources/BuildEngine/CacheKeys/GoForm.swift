internal import BuildKitProto
internal import OCIModel

// LLB messages as Go's encoding/json writes BuildKit's generated structs: members in declaration order, named by their
// json tags, empty ones left out. Cache keys are digests over this form, so a byte here is a cache miss everywhere else.

/// Collects members the way `omitempty` does.
struct GoFields {
  private(set) var object = JSONObject()
  mutating func add(_ name: String, _ value: String) { if !value.isEmpty { object[name] = .string(value) } }
  mutating func add(_ name: String, _ value: Bool) { if value { object[name] = true } }
  mutating func add(_ name: String, _ value: some BinaryInteger) { if value != 0 { object[name] = .int(value) } }
  mutating func add(_ name: String, _ values: [String]) { if !values.isEmpty { object[name] = .array(values.map { .string($0) }) } }
  mutating func add(_ name: String, _ values: [JSONValue]) { if !values.isEmpty { object[name] = .array(values) } }
  mutating func add(_ name: String, _ value: JSONValue?) { if let value { object[name] = value } }
  var json: JSONValue { .object(object) }
}

extension Pb_ExecOp {
  var goForm: JSONValue {
    var f = GoFields()
    f.add("meta", hasMeta ? meta.goForm : nil)
    f.add("mounts", mounts.map(\.goForm))
    f.add("network", network.rawValue)
    f.add("security", security.rawValue)
    f.add("secretenv", secretenv.map(\.goForm))
    f.add("cdiDevices", cdiDevices.map(\.goForm))
    return f.json
  }
}

extension Pb_Meta {
  var goForm: JSONValue {
    var f = GoFields()
    f.add("args", args)
    f.add("env", env)
    f.add("cwd", cwd)
    f.add("user", user)
    if hasProxyEnv {
      var p = GoFields()
      p.add("http_proxy", proxyEnv.httpProxy)
      p.add("https_proxy", proxyEnv.httpsProxy)
      p.add("ftp_proxy", proxyEnv.ftpProxy)
      p.add("no_proxy", proxyEnv.noProxy)
      p.add("all_proxy", proxyEnv.allProxy)
      f.add("proxy_env", p.json)
    }
    f.add(
      "extraHosts",
      extraHosts.map { host in
        var h = GoFields()
        h.add("Host", host.host)
        h.add("IP", host.ip)
        return h.json
      })
    f.add("hostname", hostname)
    f.add(
      "ulimit",
      ulimit.map { limit in
        var u = GoFields()
        u.add("Name", limit.name)
        u.add("Soft", limit.soft)
        u.add("Hard", limit.hard)
        return u.json
      })
    f.add("cgroupParent", cgroupParent)
    f.add("removeMountStubsRecursive", removeMountStubsRecursive)
    f.add("validExitCodes", validExitCodes.map { .int($0) })
    return f.json
  }
}

extension Pb_SecretEnv {
  var goForm: JSONValue {
    var f = GoFields()
    f.add("ID", id)
    f.add("name", name)
    f.add("optional", optional)
    return f.json
  }
}

extension Pb_CDIDevice {
  var goForm: JSONValue {
    var f = GoFields()
    f.add("name", name)
    f.add("optional", optional)
    return f.json
  }
}

extension Pb_Mount {
  var goForm: JSONValue {
    var f = GoFields()
    f.add("input", input)
    f.add("selector", selector)
    f.add("dest", dest)
    f.add("output", output)
    f.add("readonly", readonly)
    f.add("mountType", mountType.rawValue)
    if hasTmpfsOpt {
      var t = GoFields()
      t.add("size", tmpfsOpt.size)
      f.add("TmpfsOpt", t.json)
    }
    if hasCacheOpt {
      var c = GoFields()
      c.add("ID", cacheOpt.id)
      c.add("sharing", cacheOpt.sharing.rawValue)
      f.add("cacheOpt", c.json)
    }
    if hasSecretOpt {
      f.add("secretOpt", Pb_Mount.accessForm(secretOpt.id, secretOpt.uid, secretOpt.gid, secretOpt.mode, secretOpt.optional))
    }
    if hasSshopt {
      f.add("SSHOpt", Pb_Mount.accessForm(sshopt.id, sshopt.uid, sshopt.gid, sshopt.mode, sshopt.optional))
    }
    f.add("resultID", resultID)
    f.add("contentCache", contentCache.rawValue)
    return f.json
  }
  private static func accessForm(_ id: String, _ uid: UInt32, _ gid: UInt32, _ mode: UInt32, _ optional: Bool) -> JSONValue {
    var f = GoFields()
    f.add("ID", id)
    f.add("uid", uid)
    f.add("gid", gid)
    f.add("mode", mode)
    f.add("optional", optional)
    return f.json
  }
}

extension Pb_ChownOpt {
  var goForm: JSONValue {
    var f = GoFields()
    f.add("user", hasUser ? user.goForm : nil)
    f.add("group", hasGroup ? group.goForm : nil)
    return f.json
  }
}

extension Pb_UserOpt {
  /// BuildKit's own MarshalJSON: a struct named `User` with `byName` or `byId`.
  var goForm: JSONValue {
    var f = GoFields()
    switch user {
    case .byName(let named):
      var n = GoFields()
      n.add("name", named.name)
      n.add("input", named.input)
      f.add("byName", n.json)
    case .byID(let id): f.add("byId", id)
    case nil: break
    }
    return .object(JSONObject([("User", f.json)]))
  }
}

extension Pb_FileAction.OneOf_Action {
  /// The message inside the action, as `json.Marshal` of that message alone.
  var goForm: JSONValue {
    var f = GoFields()
    switch self {
    case .copy(let a):
      f.add("src", a.src)
      f.add("dest", a.dest)
      f.add("owner", a.hasOwner ? a.owner.goForm : nil)
      f.add("mode", a.mode)
      f.add("followSymlink", a.followSymlink)
      f.add("dirCopyContents", a.dirCopyContents)
      f.add("attemptUnpackDockerCompatibility", a.attemptUnpackDockerCompatibility)
      f.add("createDestPath", a.createDestPath)
      f.add("allowWildcard", a.allowWildcard)
      f.add("allowEmptyWildcard", a.allowEmptyWildcard)
      f.add("timestamp", a.timestamp)
      f.add("include_patterns", a.includePatterns)
      f.add("exclude_patterns", a.excludePatterns)
      f.add("alwaysReplaceExistingDestPaths", a.alwaysReplaceExistingDestPaths)
      f.add("modeStr", a.modeStr)
      f.add("required_paths", a.requiredPaths)
    case .mkfile(let a):
      f.add("path", a.path)
      f.add("mode", a.mode)
      if !a.data.isEmpty { f.add("data", Base64.encoded(Array(a.data))) }
      f.add("owner", a.hasOwner ? a.owner.goForm : nil)
      f.add("timestamp", a.timestamp)
    case .mkdir(let a):
      f.add("path", a.path)
      f.add("mode", a.mode)
      f.add("makeParents", a.makeParents)
      f.add("owner", a.hasOwner ? a.owner.goForm : nil)
      f.add("timestamp", a.timestamp)
    case .rm(let a):
      f.add("path", a.path)
      f.add("allowNotFound", a.allowNotFound)
      f.add("allowWildcard", a.allowWildcard)
    case .symlink(let a):
      f.add("oldpath", a.oldpath)
      f.add("newpath", a.newpath)
      f.add("owner", a.hasOwner ? a.owner.goForm : nil)
      f.add("timestamp", a.timestamp)
    }
    return f.json
  }
}

/// Standard base64 with padding: how Go writes a byte slice into JSON.
enum Base64 {
  static func encoded(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var out = [UInt8]()
    out.reserveCapacity((bytes.count + 2) / 3 * 4)
    var i = 0
    while i < bytes.count {
      let n = min(3, bytes.count - i)
      let a = UInt32(bytes[i]) << 16 | (n > 1 ? UInt32(bytes[i + 1]) << 8 : 0) | (n > 2 ? UInt32(bytes[i + 2]) : 0)
      out.append(alphabet[Int(a >> 18)])
      out.append(alphabet[Int(a >> 12 & 63)])
      out.append(n > 1 ? alphabet[Int(a >> 6 & 63)] : 0x3d)
      out.append(n > 2 ? alphabet[Int(a & 63)] : 0x3d)
      i += 3
    }
    return String(decoding: out, as: UTF8.self)
  }
}
