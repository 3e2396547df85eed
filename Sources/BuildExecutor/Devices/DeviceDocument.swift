internal import HostOS
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// One specification of the Container Device Interface (its SPEC.md, versions 0.3 to 1.1), in JSON.
struct DeviceDocument {
  struct Device {
    var name: String
    var annotations: [String: String]
    var edits: ContainerEdits
  }
  let kind: String
  let annotations: [String: String]
  let edits: ContainerEdits
  private(set) var devices: [Device] = []

  struct Problem: Error, CustomStringConvertible {
    let description: String
    init(_ text: String) { description = text }
  }

  /// Throws `Problem` or `OCIError`.
  init(parsing bytes: [UInt8]) throws {
    let document = try JSONValue(parsing: bytes)
    guard let version = document["cdiVersion"]?.stringValue, ["0.", "1."].contains(where: version.hasPrefix) else { throw Problem("has no cdiVersion that is known") }
    guard let kind = document["kind"]?.stringValue, kind.split(separator: "/", omittingEmptySubsequences: false).filter({ !$0.isEmpty }).count == 2, !kind.contains("="), !kind.contains(" ") else {
      throw Problem("has no kind, VENDOR/CLASS")
    }
    self.kind = kind
    annotations = Self.texts(document["annotations"])
    edits = try Self.edits(document["containerEdits"])
    for device in document["devices"]?.arrayValue ?? [] {
      guard let name = device["name"]?.stringValue, !name.isEmpty, !name.contains("=") else { throw Problem("has a device without a name") }
      devices.append(Device(name: name, annotations: Self.texts(device["annotations"]), edits: try Self.edits(device["containerEdits"])))
    }
    if devices.isEmpty { throw Problem("has no devices") }
  }

  private static func texts(_ value: JSONValue?) -> [String: String] {
    Dictionary((value?.objectValue?.members ?? []).compactMap { member in member.value.stringValue.map { (member.key, $0) } }) { $1 }
  }

  private static func strings(_ value: JSONValue?, _ what: String) throws -> [String] {
    guard let value, !value.isNull else { return [] }
    guard let list = value.arrayValue, case let texts = list.compactMap(\.stringValue), texts.count == list.count else { throw Problem("\(what) is not a list of texts") }
    return texts
  }

  private static func edits(_ value: JSONValue?) throws -> ContainerEdits {
    var out = ContainerEdits()
    guard let value, !value.isNull else { return out }
    // Said, not left out: a step would be another than was meant.
    for name in ["intelRdt", "netDevices"] where value[name].map({ !$0.isNull }) == true { throw Problem("asks for \(name), which steps cannot have here") }
    out.environment = try strings(value["env"], "env")
    for variable in out.environment where variable.first == "=" || !variable.contains("=") { throw Problem("the variable \"\(variable)\" is not NAME=VALUE") }
    for node in value["deviceNodes"]?.arrayValue ?? [] {
      let (entry, rule) = try Self.node(node)
      out.nodes.append(entry)
      out.rules.append(rule)
    }
    for mount in value["mounts"]?.arrayValue ?? [] {
      guard let host = mount["hostPath"]?.stringValue, host.hasPrefix("/"), let container = mount["containerPath"]?.stringValue, container.hasPrefix("/") else {
        throw Problem("has a mount without a hostPath and a containerPath that are absolute")
      }
      if let type = mount["type"]?.stringValue, !["", "bind", "none"].contains(type) { throw Problem("has a mount of the type \(type); only bind can be") }
      out.mounts.append(.init(hostPath: host, containerPath: container, options: try strings(mount["options"], "options")))
    }
    for hook in value["hooks"]?.arrayValue ?? [] { out.hooks.append(try Self.hook(hook)) }
    for group in value["additionalGids"]?.arrayValue ?? value["additionalGIDs"]?.arrayValue ?? [] {
      guard let id = group.intValue.flatMap({ UInt32(exactly: $0) }) else { throw Problem("additionalGids is not a list of numbers") }
      out.groups.append(id)
    }
    return out
  }

  /// What is not said of a node is asked of the machine's own.
  private static func node(_ value: JSONValue) throws -> (JSONObject, JSONObject) {
    guard let path = value["path"]?.stringValue, path.hasPrefix("/") else { throw Problem("has a device node without an absolute path") }
    let hostPath = value["hostPath"]?.stringValue ?? path
    var type = value["type"]?.stringValue ?? "", major = value["major"]?.intValue ?? 0, minor = value["minor"]?.intValue ?? 0
    guard ["", "b", "c", "u", "p"].contains(type) else { throw Problem("the device node \(path) has the unknown type \(type)") }
    if type.isEmpty || (major == 0 && type != "p") {
      let status: FileStatus
      do { status = try Files.status(hostPath) } catch { throw Problem("the device node \(hostPath) is not there: \(error)") }
      let real: String
      switch status.kind {
      case .characterDevice: real = "c"
      case .blockDevice: real = "b"
      case .fifo: real = "p"
      default: throw Problem("\(hostPath) is no device")
      }
      if !type.isEmpty, type != real, !(type == "u" && real == "c") { throw Problem("\(hostPath) is a device of the type \(real), not \(type)") }
      if type.isEmpty { type = real }
      if major == 0 { (major, minor) = (Int64(status.rdev.major), Int64(status.rdev.minor)) }
    }
    var entry = JSONObject([("path", .string(path)), ("type", .string(type)), ("major", .int(major)), ("minor", .int(minor))])
    if let mode = value["fileMode"]?.intValue { entry["fileMode"] = .int(mode & 0o7777) }
    for key in ["uid", "gid"] { if let id = value[key]?.intValue, let id = UInt32(exactly: id) { entry[key] = .int(id) } }
    let access = value["permissions"]?.stringValue ?? ""
    let rule = JSONObject([
      ("allow", true), ("type", .string(type == "u" ? "c" : type)), ("major", .int(major)), ("minor", .int(minor)), ("access", .string(access.isEmpty ? "rwm" : access)),
    ])
    return (entry, rule)
  }

  private static func hook(_ value: JSONValue) throws -> ContainerEdits.Hook {
    let names = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    guard let name = value["hookName"]?.stringValue, names.contains(name), let path = value["path"]?.stringValue, path.hasPrefix("/") else {
      throw Problem("has a hook without a hookName of the runtime specification and an absolute path")
    }
    var json = JSONObject([("path", .string(path))])
    for key in ["args", "env"] {
      let list = try strings(value[key], key)
      if !list.isEmpty { json[key] = .array(list.map { .string($0) }) }
    }
    if let timeout = value["timeout"]?.intValue { json["timeout"] = .int(timeout) }
    return ContainerEdits.Hook(name: name, json: .object(json))
  }
}
