import HostOS

/// A real registry (docker-registry, from Debian) on a free loopback port.
final class RegistryProcess: Sendable {
  /// "localhost:PORT"
  let host: String
  /// Where it keeps its data.
  let storage: String
  private let child: Child

  private init(host: String, storage: String, child: Child) { (self.host, self.storage, self.child) = (host, storage, child) }

  /// `password`: for the user "me" with the password "secret".
  enum Access { case open, password }

  /// `name` tells several in one directory apart. `tls` is a folder with `server.pem` and `server.key`; `mirrored` the address of a registry that it is a pull-through mirror of.
  static func start(in directory: String, access: Access = .open, name: String = "registry", tls: String? = nil, mirrored: String? = nil) async throws -> RegistryProcess {
    let storage = directory + "/" + name
    let configuration = """
      version: 0.1
      storage: {filesystem: {rootdirectory: \(storage)}, delete: {enabled: true}}
      http: {addr: "127.0.0.1:0"\(tls.map { ", tls: {certificate: \($0)/server.pem, key: \($0)/server.key}" } ?? "")}
      \(mirrored.map { "proxy: {remoteurl: \"\($0)\"}" } ?? "")
      \(access == .password ? "auth: {htpasswd: {realm: tests, path: \(directory)/\(name).htpasswd}}" : "")
      """
    if access == .password { try Files.writeAtomically(Array("me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n".utf8), to: "\(directory)/\(name).htpasswd", durable: false) }
    try Files.writeAtomically(Array(configuration.utf8), to: "\(directory)/\(name).yml", durable: false)
    // The shell ends the registry when its input ends: when the test's process dies, however it dies.
    let script = #"docker-registry serve "$1" & child=$!; read -r line; kill "$child"; wait "$child""#
    let child = try Child("sh", ["-c", script, "sh", "\(directory)/\(name).yml"], environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"], outputPath: "\(directory)/\(name).log")
    guard try await child.says("listening on 127.0.0.1:"), let port = child.output.split(separator: "listening on 127.0.0.1:").dropFirst().first?.prefix(while: \.isNumber) else {
      let output = child.output
      Self.end(child)
      throw HostError(.system, operation: "start", path: "docker-registry", message: "the registry did not start: \(output)")
    }
    return RegistryProcess(host: "localhost:\(port)", storage: storage, child: child)
  }

  /// The lines of its log that contain `text`: requests, with method and path.
  func requests(_ text: String) -> [Substring] { child.output.split(separator: "\n").filter { $0.contains(text) } }

  func stop() { Self.end(child) }
  deinit { Self.end(child) }

  /// The shell ends the registry, waits for it and ends.
  private static func end(_ child: Child) {
    child.closeInput()
    child.wait()
  }
}
