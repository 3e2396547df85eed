import HostOS

/// A real Docker engine (dockerd 20.10 of Debian's docker.io) with its own folders and socket, of the classic image store.
final class DockerProcess: Sendable {
  /// As DOCKER_HOST.
  let host: String
  private let child: Child

  private init(host: String, child: Child) { (self.host, self.child) = (host, child) }

  /// nil, said aloud, where there can be none.
  static func start(in directory: String) async throws -> DockerProcess? {
    guard Processes.executablePath("dockerd") != nil || Files.exists("/usr/sbin/dockerd") else {
      print("SKIPPED: what needs a Docker engine: dockerd is not installed (docker.io)")
      return nil
    }
    guard HostFacts.isRoot, HostFacts.idMap.count > 1 else {
      print("SKIPPED: what needs a Docker engine: dockerd runs as root only")
      return nil
    }
    let folder = directory + "/docker", socket = folder + "/d.sock"
    try Files.makeDirectories(folder)
    // The shell ends the engine when its input ends: when the test's process dies, however it dies.
    let script = #"dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" -H "unix://$1/d.sock" --iptables=false --bridge=none --storage-driver=vfs & child=$!; read -r line; kill "$child"; wait "$child""#
    let child = try Child(
      "sh", ["-c", script, "sh", folder], environment: ["PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": folder], outputPath: folder + "/log")
    guard try await child.says("API listen on") else {
      print("SKIPPED: what needs a Docker engine: dockerd does not start here: \(child.output.split(separator: "\n").last ?? "")")
      child.closeInput()
      _ = child.wait()
      return nil
    }
    return DockerProcess(host: "unix://\(socket)", child: child)
  }

  func stop() {
    child.closeInput()
    child.wait()
  }
}
