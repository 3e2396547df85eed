import Foundation
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// What a test of the whole program has: a scratch directory with a store of its own, a real registry, the program. All of it goes with the test.
struct Environment: Sendable {
  let scratch: String
  let registry: RegistryProcess
  let tool: Tool

  /// Names an image in the registry.
  func image(_ name: String) -> String { "\(registry.host)/\(name)" }

  /// Puts the base image into the registry, by skopeo, and answers its name.
  func base(_ platforms: [String] = BaseImage.usual) async throws -> String {
    let layout = try await BaseImage.shared.layout(platforms)
    let name = image("base:latest")
    try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:\(layout):latest", "docker://\(name)"])
    return name
  }

  /// A directory beneath the scratch directory with files of the given texts, by their paths: a build context.
  func context(_ name: String = "context", _ files: [String: String]) throws -> String {
    let path = "\(scratch)/\(name)"
    for (file, text) in files {
      try Files.makeDirectories((path + "/" + file as NSString).deletingLastPathComponent)
      try Files.writeAtomically(Array(text.utf8), to: "\(path)/\(file)", mode: 0o644, durable: false)
    }
    return path
  }

  /// The bytes of a manifest or index in the registry, as skopeo has them.
  func raw(_ image: String) async throws -> [UInt8] {
    try await checked("skopeo", ["inspect", "--raw", "--tls-verify=false", "docker://\(image)"]).output
  }

  /// The platforms of an OCI index in the registry, in its order.
  func platforms(_ image: String) async throws -> [String] {
    guard case .index(let index) = try ImageDocument(parsing: try await raw(image), mediaType: .ociIndex) else { return [] }
    return index.manifests.map { $0.platform?.description ?? "none" }
  }

  /// The tree of one platform's image, unpacked by umoci. Answers its directory.
  func unpacked(_ image: String, _ platform: String) async throws -> String {
    let parts = platform.split(separator: "/").map(String.init)
    let name = parts.joined(separator: "-")
    let layout = "\(scratch)/one-\(name)", bundle = "\(scratch)/bundle-\(name)"
    var choice = ["--override-os", parts[0], "--override-arch", parts[1]]
    if parts.count > 2 { choice += ["--override-variant", parts[2]] }
    try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--preserve-digests", "--src-tls-verify=false"] + choice + ["docker://\(image)", "oci:\(layout):latest"])
    try await checked("umoci", ["unpack"] + (HostFacts.isRoot ? [] : ["--rootless"]) + ["--image", "\(layout):latest", bundle])
    return bundle + "/rootfs"
  }

  /// An image of the registry as an OCI layout, all platforms, every digest checked by skopeo. Answers the layout's path.
  func pulled(_ image: String, as name: String = "pulled") async throws -> String {
    let path = "\(scratch)/\(name)"
    try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://\(image)", "oci:\(path):latest"])
    return path
  }
}

/// Runs `body` with an environment. Says aloud that it skips when one of the programs that it needs is missing.
func withEnvironment(needs programs: [String] = [], _ body: (Environment) async throws -> Void) async throws {
  guard let binary = Tool.binary else { return print("SKIPPED: the program is not built (swift build), nor named by MANIFOLD_BINARY") }
  for program in ["docker-registry", "skopeo", "jq"] + programs where Processes.executablePath(program) == nil {
    return print("SKIPPED: \(program) is not installed (make deps)")
  }
  let scratch = try Files.makeTemporaryDirectory(prefix: "manifold-it-")
  let registry: RegistryProcess
  do { registry = try await RegistryProcess.start(in: scratch) } catch {
    try? Files.removeTree(scratch)
    throw error
  }
  defer {
    registry.stop()
    removeScratch(scratch)
  }
  try await body(Environment(scratch: scratch, registry: registry, tool: Tool(binary: binary, root: scratch + "/root")))
}

/// Without root a store holds files of subordinate ids, which only a namespace that maps them can remove.
private func removeScratch(_ path: String) {
  if (try? Files.removeTree(path)) != nil { return }
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
  process.arguments = ["--user", "--map-root-user", "--map-auto", "rm", "-rf", path]
  guard (try? process.run()) != nil else { return }
  process.waitUntilExit()
}

/// Runs another program that must succeed.
@discardableResult
func checked(_ program: String, _ arguments: [String], limit: Int = 16 << 20, at location: SourceLocation = #_sourceLocation) async throws -> ProcessOutput {
  let output = try await Processes.run(program, arguments, limit: limit)
  try #require(output.succeeded, "\(program) \(arguments.joined(separator: " ")): \(output.status)\n\(output.errorText)", sourceLocation: location)
  return output
}

/// The package's directory.
let packageDirectory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
