import HostOS
import Synchronization
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Files that change while a build reads them.
@Suite(.enabled(if: Tool.builds)) struct ChangingContextTests {
  /// Rewrites a file with one of two contents of one length, over and over, in place: no name, size or inode ever changes.
  private final class Writer: Sendable {
    private let stop = Atomic(false)
    private let thread = Mutex<pthread_t?>(nil)
    let path: String
    let contents: [[UInt8]]
    init(path: String, contents: [[UInt8]]) { (self.path, self.contents) = (path, contents) }

    func run() throws {
      let file = try HostOS.Descriptor.open(path, flags: [.readWrite])
      var i = 0
      while !stop.load(ordering: .relaxed) {
        i += 1
        // In pieces, so that a reader may find the one before and the other behind.
        for offset in stride(from: 0, to: contents[0].count, by: 1 << 20) {
          try contents[i % 2][offset..<min(offset + 1 << 20, contents[0].count)].withUnsafeBytes { try file.write($0, at: Int64(offset)) }
        }
        // As tools do that keep a file's time.
        if i % 3 == 0 { try file.setTimes(accessed: nil, modified: 1_600_000_000_000_000_000) }
      }
    }
    func end() { stop.store(true, ordering: .relaxed) }
  }

  /// Whatever came of builds of a file that was being written, no cache record says that one content is the other.
  @Test(.timeLimit(.minutes(5)), arguments: ["COPY big /", "COPY . /all/\nRUN cp /all/big /big", "RUN --mount=type=bind,target=/c cp /c/big /big"])
  func noRecordOfAnOldHash(_ steps: String) async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let contents = [[UInt8](repeating: UInt8(ascii: "a"), count: 6 << 20), [UInt8](repeating: UInt8(ascii: "b"), count: 6 << 20)]
      let context = try environment.context("c", ["Dockerfile": "FROM \(base)\n\(steps)\n", ".dockerignore": "Dockerfile\n", "small": "1"])
      let path = context + "/big"
      try Files.writeAtomically(contents[0], to: path, durable: false)
      // The base is fetched before the race begins.
      #expect(try await environment.build(context).succeeded)

      let writer = Writer(path: path, contents: contents)
      async let writing: Void = try await Blocking.run { try writer.run() }
      var failures = 0
      for _ in 0..<8 {
        let output = try await environment.build(context)
        if output.succeeded { continue }
        failures += 1
        #expect(output.errorText.contains("big") && output.errorText.contains("changed"), "\(output.everything)")
      }
      writer.end()
      try await writing
      print("\(failures) of 8 builds of a changing file failed, as they must when they notice")

      for content in contents + contents {
        let file = try HostOS.Descriptor.open(path, flags: [.readWrite])
        try content.withUnsafeBytes { try file.write($0, at: 0) }
        try file.close()
        let destination = "\(environment.scratch)/out"
        try? Files.removeTree(destination)
        let output = try await environment.build(context, ["-o", destination])
        #expect(output.succeeded, "\(output.everything)")
        let built = try Files.read(destination + "/big", limit: 16 << 20)
        #expect(built == content, "the image has \(Set(built.map { Character(Unicode.Scalar($0)) })) instead of \(Character(Unicode.Scalar(content[0])))")
      }
    }
  }
}
