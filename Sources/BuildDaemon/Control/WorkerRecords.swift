package import BuildInterface
package import BuildKitProto
internal import HostOS
package import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// What this daemon says of itself as a place that runs builds.
package enum WorkerRecords {
  /// The BuildKit whose protocol this is, which clients compare, and our own version behind it.
  package static let protocolVersion = "v0.32.0"
  /// The Dockerfile syntax that our frontend knows.
  package static let dockerfileVersion = "1.24.0"

  package static func version(_ own: String) -> Moby_Buildkit_V1_Types_BuildkitVersion {
    var out = Moby_Buildkit_V1_Types_BuildkitVersion()
    out.package = "manifold"
    out.version = "\(protocolVersion)+manifold.\(own)"
    out.dockerfileVersion = dockerfileVersion
    return out
  }

  /// In the order that BuildKit shows them; the machine's own comes first.
  private static let candidates = [
    "linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4", "linux/arm64", "linux/riscv64", "linux/ppc64le", "linux/s390x", "linux/386", "linux/mips64le", "linux/mips64",
    "linux/loong64", "linux/arm/v7", "linux/arm/v6",
  ]

  /// Platforms whose steps run here, natively or emulated.
  package static func platforms(_ engine: any LocalEngine, host: Platform) async -> [Platform] {
    var platforms = candidates.compactMap { try? Platform(parsing: $0) }
    if !platforms.contains(host) { platforms.insert(host, at: 0) }
    let support = await engine.platformSupport(for: platforms)
    let usable = support.filter { if case .impossible = $0.kind { false } else { true } }.map(\.platform)
    let own = usable.filter { $0.architecture == host.architecture }
    let all = own + usable.filter { $0.architecture != host.architecture }
    return all.isEmpty ? [host] : all
  }

  package static func labels(snapshotter: String, extra: [String: String]) -> [String: String] {
    let prefix = "org.mobyproject.buildkit.worker."
    var out = [
      prefix + "executor": "oci", prefix + "snapshotter": snapshotter, prefix + "hostname": hostname, prefix + "network": "host", prefix + "oci.process-mode": "sandbox",
      prefix + "selinux.enabled": "false",
    ]
    out.merge(extra) { _, new in new }
    return out
  }

  private static var hostname: String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, 255) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The worker's name for as long as its root lives. Blocks.
  package static func identity(root: String) throws -> String {
    let path = root + "/workerid"
    if let text = Files.text(path, limit: 256), !text.isEmpty, text.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber) }) { return text }
    let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz")
    let id = String((0..<25).map { _ in letters[Int.random(in: 0..<letters.count)] })
    try Files.writeAtomically(Array(id.utf8), to: path)
    return id
  }

  package static func platform(_ platform: Platform) -> Pb_Platform {
    var out = Pb_Platform()
    out.os = platform.os
    out.architecture = platform.architecture
    out.variant = platform.variant
    out.osversion = platform.osVersion
    out.osfeatures = platform.osFeatures
    return out
  }

  package static func policy(_ rule: CollectionNote) -> Moby_Buildkit_V1_Types_GCPolicy {
    var out = Moby_Buildkit_V1_Types_GCPolicy()
    out.all = rule.all
    out.filters = rule.filters
    out.keepDuration = rule.keepDuration
    out.reservedSpace = rule.limits.reserved
    out.maxUsedSpace = rule.limits.maxUsed
    out.minFreeSpace = rule.limits.minFree
    return out
  }
}
