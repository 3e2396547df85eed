internal import BuildInterface
internal import HostOS

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

enum StandardInput {
  static let largestDockerfile = 16 << 20

  static let largestDefinition = 1 << 30

  /// All of it. Blocks.
  static func bytes() throws -> [UInt8] { try HostOS.Descriptor(owning: dup(STDIN_FILENO)).readToEnd(limit: largestDefinition) }

  /// Reads a Dockerfile to its end into a new directory. Blocks.
  static func dockerfileDirectory() throws -> String {
    let bytes: [UInt8]
    do { bytes = try HostOS.Descriptor(owning: dup(STDIN_FILENO)).readToEnd(limit: largestDockerfile) } catch let error as HostError {
      throw BuildError.usage("cannot read the Dockerfile from standard input: \(error)")
    }
    guard !bytes.isEmpty else { throw BuildError.usage("the Dockerfile from standard input is empty") }
    let directory = try Files.makeTemporaryDirectory(prefix: "manifold-dockerfile-")
    do { try Files.writeAtomically(bytes, to: directory + "/Dockerfile", durable: false) } catch {
      try? Files.removeTree(directory)
      throw error
    }
    return directory
  }
}
