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

  /// Reads a Dockerfile to its end into a new directory, after what was read of it already. Blocks.
  static func dockerfileDirectory(_ head: [UInt8] = []) throws -> String {
    let bytes: [UInt8]
    do { bytes = head + (try HostOS.Descriptor(owning: dup(STDIN_FILENO)).readToEnd(limit: largestDockerfile)) } catch let error as HostError {
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

  /// Up to `count` bytes: fewer only at the end. Blocks.
  static func start(_ count: Int) throws -> [UInt8] {
    let input = try HostOS.Descriptor.duplicate(of: STDIN_FILENO)
    var bytes = [UInt8](repeating: 0, count: count), filled = 0
    do {
      while filled < count {
        let n = try bytes.withUnsafeMutableBytes { try input.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[filled...])) }
        if n == 0 { break }
        filled += n
      }
    } catch let error as HostError { throw BuildError.usage("cannot read the build context from standard input: \(error)") }
    return Array(bytes[..<filled])
  }

  /// What follows is read when the build asks for it.
  static func upload(_ head: [UInt8]) -> ClientUpload { ClientUpload(head: head, descriptor: STDIN_FILENO) }
}
