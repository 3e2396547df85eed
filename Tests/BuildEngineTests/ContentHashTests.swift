import Foundation
import HostOS
import OCIModel
import Synchronization
import Testing

@testable import BuildEngine

@Suite struct ContentHashTests {
  static let trees: [GoldenTree] = (try? Golden.load("trees.json")) ?? []
  static let localTrees: [GoldenTree] = (try? Golden.load("local-trees.json")) ?? []

  @Test func theVectorsAreThere() {
    #expect(Self.trees.count > 100)
    #expect(Self.trees.map(\.checksums.count).reduce(0, +) > 1500)
    #expect(Self.localTrees.count > 30)
  }

  @Test func treesInMemory() throws {
    for tree in Self.trees + Self.localTrees {
      let mistakes = try withScratch { tree.mistakes(in: try MemoryTree(tree, scratch: $1)) }
      #expect(mistakes.isEmpty, "\(mistakes.joined(separator: "\n"))")
    }
  }

  /// The same on a real filesystem. Devices need more than root of a user namespace; where they cannot be made that is said.
  @Test(.enabled(if: HostFacts.isRoot, "skipped: owners and devices need root")) func treesOnDisk() throws {
    var skipped: [String] = []
    for tree in Self.trees {
      try withScratch { _, root in
        do { try tree.write(to: root) } catch let error as HostError where error.code == .permission || error.code == .notSupported || error.code == .invalid {
          skipped.append("\(tree.name) (\(error))")
          return
        }
        let mistakes = tree.mistakes(in: MountedTree(root))
        #expect(mistakes.isEmpty, "\(mistakes.joined(separator: "\n"))")
      }
    }
    if !skipped.isEmpty { print("SKIPPED on disk, for want of privilege: \(skipped.joined(separator: ", "))") }
    #expect(skipped.count < Self.trees.count)
  }

  @Test func scratchHasOnlyARoot() throws {
    let hash = ContentHash(EmptyTree())
    #expect(try hash.digest(of: ContentSelector(path: "/")) == .sha256(of: ""))
    #expect(try hash.digest(of: ContentSelector(path: "/", includePatterns: ["x"])) == .sha256(of: ""))
    #expect(throws: TreeError.self) { try hash.digest(of: ContentSelector(path: "/x")) }
  }

  @Test func aFileThatChangesMeanwhileIsAnError() throws {
    try withScratch { path, root in
      try root.openFile("f", flags: [.writeOnly, .create]).write("before")
      let tree = MountedTree(root)
      let status = try #require(try tree.status("f"))
      try root.openFile("f", flags: [.writeOnly, .append]).write(" and after")
      #expect(throws: TreeError.self) { try FileHash.digest("f", status: status, in: tree) }
    }
  }

  /// Two builds of one context: the second reads nothing.
  @Test func rememberedHashesAreNotReadAgain() throws {
    let golden = try #require(Self.localTrees.first { $0.name == "sizes" })
    try withScratch { _, scratch in
      let memory = HashMemory()
      let tree = try MemoryTree(golden, scratch: scratch, remembered: memory)
      #expect(golden.mistakes(in: tree).isEmpty)
      #expect(memory.misses.withLock { $0 } > 0)
      memory.misses.withLock { $0 = 0 }
      #expect(golden.mistakes(in: tree).isEmpty)
      #expect(memory.misses.withLock { $0 } == 0)
    }
  }

  @Test func workIsLinear() throws {
    func seconds(_ count: Int) throws -> Double {
      try withScratch { _, scratch in
        var entries: [GoldenTree.Entry] = []
        for folder in 0..<(count / 1000) {
          entries.append(.init(path: "d\(folder)", type: "dir", mode: 0o755))
          for file in 0..<1000 { entries.append(.init(path: "d\(folder)/l\(file)", type: "symlink", link: "../x\(file)")) }
        }
        let tree = try MemoryTree(GoldenTree(name: "", entries: entries, checksums: []), scratch: scratch)
        let start = ContinuousClock.now
        _ = try ContentHash(tree).digest(of: ContentSelector(path: "/"))
        _ = try ContentHash(tree).digest(of: ContentSelector(path: "/", excludePatterns: ["**/l9*", "!**/l99"]))
        return Double((ContinuousClock.now - start).components.attoseconds) / 1e18 + Double((ContinuousClock.now - start).components.seconds)
      }
    }
    _ = try seconds(1000)
    let small = try seconds(10_000), large = try seconds(100_000)
    print("content hash: 10 000 entries \(small) s, 100 000 entries \(large) s")
    #expect(large < small * 40 + 1)
  }
}

/// The same checksums by the way of a client's directory.
@Suite struct LocalTreeHashTests {
  @Test func treesOnDisk() throws {
    var skipped: [String] = []
    for tree in ContentHashTests.localTrees {
      try withScratch { _, root in
        do { try tree.write(to: root) } catch let error as HostError where error.code == .permission || error.code == .notSupported || error.code == .invalid {
          skipped.append("\(tree.name) (\(error))")
          return
        }
        let mistakes = tree.mistakes(in: try LocalTree(root, filter: LocalFilter()))
        #expect(mistakes.isEmpty, "\(mistakes.joined(separator: "\n"))")
      }
    }
    if !skipped.isEmpty { print("SKIPPED on disk, for want of privilege: \(skipped.joined(separator: ", "))") }
    #expect(skipped.count < ContentHashTests.localTrees.count)
  }
}
