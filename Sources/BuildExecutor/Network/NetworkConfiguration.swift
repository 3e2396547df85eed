internal import OCIModel

/// A CNI network: plugins that are run one after the other (the specification's network configuration list, or a single plugin's configuration as older files have it).
struct NetworkConfiguration: Sendable, Equatable {
  var name: String
  var version: String
  /// Their own members, as they stand in the file.
  var plugins: [JSONObject]

  static let limit = 1 << 20

  /// `path` is for messages. Throws `ExecutorError.network`.
  init(parsing bytes: [UInt8], path: String) throws {
    func wrong(_ text: String) -> ExecutorError { ExecutorError(.network, "the network configuration \(path) \(text)") }
    let document: JSONValue
    do { document = try JSONValue(parsing: bytes) } catch { throw wrong("cannot be read: \(error.message)") }
    guard let object = document.objectValue else { throw wrong("is not a JSON object") }
    guard let name = object["name"]?.stringValue, Self.isName(name) else { throw wrong("has no \"name\" of letters, digits, dots, dashes and underscores") }
    self.name = name
    version = object["cniVersion"]?.stringValue ?? "0.1.0"
    if let list = object["plugins"] {
      guard let plugins = list.arrayValue?.compactMap(\.objectValue), !plugins.isEmpty, plugins.count == list.arrayValue?.count else { throw wrong("has no list of \"plugins\"") }
      self.plugins = plugins
    } else {
      plugins = [object]
    }
    for plugin in plugins {
      // It is a program's name in a directory, never a path.
      guard let type = plugin["type"]?.stringValue, Self.isName(type) else { throw wrong("has a plugin without a \"type\", which is the name of its program") }
    }
  }

  init(name: String, version: String, plugins: [JSONObject]) { (self.name, self.version, self.plugins) = (name, version, plugins) }

  /// What BuildKit's bridge mode asks for, but for the loopback device, which is up already. `prefix` stands before the plugins' names.
  static func bridge(_ bridge: String, subnet: String, prefix: String = "") -> NetworkConfiguration {
    let ipam: JSONValue = ["type": .string(prefix + "host-local"), "ranges": [[["subnet": .string(subnet)]]]]
    return NetworkConfiguration(
      name: "buildkit", version: "1.0.0",
      plugins: [
        JSONObject([("type", .string(prefix + "bridge")), ("bridge", .string(bridge)), ("isDefaultGateway", true), ("ipMasq", true), ("ipam", ipam)]),
        JSONObject([("type", .string(prefix + "firewall")), ("backend", ""), ("ingressPolicy", "same-bridge")]),
      ])
  }

  var json: JSONValue { ["cniVersion": .string(version), "name": .string(name), "plugins": .array(plugins.map { .object($0) })] }

  var types: [String] { plugins.compactMap { $0["type"]?.stringValue } }

  /// Programs that plugins run themselves: address management.
  var allTypes: [String] { plugins.flatMap { [$0["type"]?.stringValue, $0["ipam"]?["type"]?.stringValue].compactMap { $0 } } }

  private static func isName(_ text: String) -> Bool {
    !text.isEmpty && text.first != "." && text.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7a) || [0x2e, 0x2d, 0x5f].contains($0) }
  }
}
