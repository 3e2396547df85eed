internal import HostOS
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// Runs a network's plugins by the CNI specification: the command in the environment, the configuration as JSON on standard input, a result or an error as
/// JSON on standard output.
struct NetworkPlugins: Sendable {
  let configuration: NetworkConfiguration
  /// Where their programs are.
  let directories: [String]
  /// Seconds that one plugin may take.
  var deadline = 120.0

  /// The container's end of the network, as every step sees it.
  static let interface = "eth0"

  struct Attachment: Sendable {
    var id: String
    /// A path to the namespace; empty when it is gone.
    var namespace: String
    var hostname: String?
  }

  /// Throws when a program is missing. Blocks a little.
  func check() throws {
    for type in configuration.allTypes where program(type) == nil {
      throw ExecutorError(
        .network,
        "the network plugin \"\(type)\" is not in \(directories.joined(separator: " or ")); install the CNI plugins (Debian, Ubuntu: sudo apt-get install containernetworking-plugins, which puts them into /usr/lib/cni), and name their folder: cniBinaryPath in buildkitd.toml, or --oci-cni-binary-dir")
    }
  }

  private func program(_ type: String) -> String? { directories.lazy.compactMap { Processes.executablePath("\($0)/\(type)") }.first }

  /// The last plugin's result. When one fails, those that were run are undone.
  func add(_ attachment: Attachment) async throws -> JSONValue {
    var result: JSONValue?
    for plugin in configuration.plugins {
      do { result = try await run("ADD", plugin, attachment, previous: result) } catch {
        await delete(attachment, result: result, problem: { _ in })
        throw error
      }
    }
    return result ?? .null
  }

  /// In reverse order; one that fails keeps no other from being run.
  func delete(_ attachment: Attachment, result: JSONValue?, problem: (any Error) -> Void) async {
    for plugin in configuration.plugins.reversed() {
      do { _ = try await run("DEL", plugin, attachment, previous: result) } catch { problem(error) }
    }
  }

  private func run(_ command: String, _ plugin: JSONObject, _ attachment: Attachment, previous: JSONValue?) async throws -> JSONValue? {
    let type = plugin["type"]?.stringValue ?? ""
    guard let program = program(type) else { throw ExecutorError(.network, "the network plugin \"\(type)\" is not in \(directories.joined(separator: " or "))") }
    var input = plugin
    input["name"] = .string(configuration.name)
    input["cniVersion"] = .string(configuration.version)
    if let previous, !previous.isNull { input["prevResult"] = previous }
    var environment = NetworkPlugins.inherited()
    environment["CNI_COMMAND"] = command
    environment["CNI_CONTAINERID"] = attachment.id
    environment["CNI_NETNS"] = attachment.namespace
    environment["CNI_IFNAME"] = Self.interface
    environment["CNI_PATH"] = directories.joined(separator: ":")
    environment["CNI_ARGS"] = attachment.hostname.map { "K8S_POD_NAME=\($0);IgnoreUnknown=1" } ?? ""
    let document = JSONValue.object(input).encoded(escapeHTML: false), deadline = deadline, variables = environment
    let output = try await withThrowingTaskGroup(of: ProcessOutput?.self) { group in
      group.addTask { try await Processes.run(program, environment: variables, input: document) }
      group.addTask {
        try await Task.sleep(for: .seconds(deadline))
        return nil
      }
      defer { group.cancelAll() }
      return try await group.next() ?? nil
    }
    guard let output else { throw ExecutorError(.network, "the network plugin \"\(type)\" did not end within \(Int(deadline)) seconds") }
    let answer = try? JSONValue(parsing: output.output)
    guard output.status == .exited(0) else { throw ExecutorError(.network, "the network plugin \"\(type)\" failed (\(command)): \(Self.reason(answer, output))") }
    if command != "ADD" { return nil }
    guard let answer, answer.objectValue != nil else { throw ExecutorError(.network, "the network plugin \"\(type)\" gave no result in JSON") }
    return answer
  }

  private static func reason(_ answer: JSONValue?, _ output: ProcessOutput) -> String {
    let said = [answer?["msg"]?.stringValue, answer?["details"]?.stringValue].compactMap { $0 }.filter { !$0.isEmpty }
    if !said.isEmpty { return said.joined(separator: ": ") }
    let text = output.errorText.split(separator: "\n").suffix(3).joined(separator: " ")
    return text.isEmpty ? "it said nothing" : text
  }

  /// This process's own variables, in which plugins find the programs that they need.
  private static func inherited() -> [String: String] {
    var out: [String: String] = [:]
    for name in ["PATH", "HOME", "TMPDIR", "LANG", "XDG_RUNTIME_DIR"] { if let value = getenv(name) { out[name] = String(cString: value) } }
    let places = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    out["PATH"] = out["PATH"].map { "\($0):\(places)" } ?? places
    return out
  }
}
