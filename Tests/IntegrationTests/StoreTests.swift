import Foundation
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// What the store takes, what is removed from it and when, and what it is like after bad luck.
@Suite(.serialized, .enabled(if: Tool.builds)) struct StoreTests {
  /// Blocks on the disk, as du(1) counts them.
  private func onDisk(_ root: String) throws -> Int64 { try Files.usage(root).bytes }

  private func records(_ tool: Tool, _ more: [String] = []) async throws -> [[String: Any]] {
    let output = try await tool.run(["du", "--format", "{{json .}}"] + more)
    try #require(output.succeeded, "\(output.everything)")
    return try output.outputText.split(separator: "\n").map { try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]) }
  }
  private func bytes(_ records: [[String: Any]]) -> Int64 { records.reduce(0) { $0 + Int64($1["Bytes"] as? Int ?? 0) } }

  private func expectClean(_ tool: Tool, _ comment: String = "", at location: SourceLocation = #_sourceLocation) async throws {
    let verify = try await tool.run("store", "verify")
    #expect(verify.succeeded, "\(comment): \(verify.everything)", sourceLocation: location)
  }

  /// A build that leaves `size` MB that do not compress, another for each `N`.
  private func heavy(_ environment: Environment, _ base: String, megabytes size: Int = 5) throws -> String {
    try environment.context("heavy", ["Dockerfile": "FROM \(base)\nARG N\nRUN head -c \(size)000000 /dev/urandom > /big$N\nRUN echo $N > /n\n"])
  }

  @Test(.timeLimit(.minutes(3))) func duAgreesWithTheDiskAndPruneLeavesImages() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try environment.context(
        "du",
        [
          "Dockerfile": """
            FROM \(base)
            RUN head -c 3000000 /dev/urandom > /big && ln /big /twin && mkdir /many && for i in $(seq 300); do echo $i > /many/$i; done
            RUN --mount=type=cache,target=/c head -c 2000000 /dev/urandom > /c/x
            COPY Dockerfile /d
            """
        ])
      for more in [["-t", "kept"], ["--no-cache"], ["--no-cache"]] { #expect(try await environment.build(context, more).succeeded) }
      let all = try await records(tool)
      let disk = try onDisk(tool.root)
      #expect(abs(bytes(all) - disk) <= disk / 100, "\(bytes(all)) \(disk)")
      let system = try await checked("du", ["-s", "--block-size=1", tool.root])
      #expect(abs((Int64(system.outputText.prefix { $0.isNumber }) ?? 0) - disk) <= disk / 100)
      let types = Set(all.compactMap { $0["Type"] as? String })
      #expect(types == ["regular", "internal", "image", "exec.cachemount"])
      #expect(bytes(try await records(tool, ["--filter", "type=exec.cachemount"])) >= 2_000_000)
      let table = try await tool.run("du")
      #expect(table.outputText.hasPrefix("ID ") && table.outputText.contains("\nReclaimable:\t") && table.outputText.contains("\nTotal:\t"), "\(table.outputText)")
      try await expectClean(tool)

      let asked = try await tool.run("prune")
      #expect(asked.code == 2 && asked.errorText.contains("--force"))
      // Cache that images have too stays without -a.
      let some = try await tool.run("prune", "-f")
      #expect(some.succeeded && some.outputText.hasPrefix("ID\t") && some.outputText.contains("\nTotal:\t"), "\(some.everything)")
      let cached = try await environment.build(context, ["-t", "kept"])
      #expect(cached.steps["RUN head"] == "CACHED", "\(cached.everything)")
      let everything = try await tool.run("prune", "--all", "--force")
      #expect(everything.succeeded)
      let left = try await records(tool)
      #expect(left.allSatisfy { $0["Reclaimable"] as? Bool == false }, "\(left)")
      let now = try onDisk(tool.root)
      #expect(abs(bytes(left) - now) <= now / 100)
      try await expectClean(tool, "after prune -a")
      let run = try await tool.run("run", "--rm", "kept", "sh", "-c", "wc -c < /big")
      #expect(run.outputText == "3000000\n", "\(run.everything)")
      // Nothing of the cache is left: the step runs again, and finds nothing amiss.
      let again = try await environment.build(context, ["-t", "kept"])
      #expect(again.succeeded && again.steps["RUN head"] == "DONE", "\(again.everything)")

      let removed = try await tool.run("rmi", "kept")
      #expect(removed.outputText.hasPrefix("Untagged: kept:latest\nDeleted: sha256:") && removed.succeeded, "\(removed.everything)")
      #expect(try await tool.run("prune", "-af").succeeded)
      let rest = try await records(tool)
      #expect(try onDisk(tool.root) < 3_000_000, "\(rest)")
      try await expectClean(tool, "empty")
    }
  }

  /// Whatever is sampled while builds of far more than the limit go by, there is never more than the limit and what one step writes and exports.
  @Test(.timeLimit(.minutes(5))) func aLimitHolds() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try heavy(environment, base, megabytes: 10)
      let sampler = Sampler(tool.root)
      let sampling = Task.detached { await sampler.run() }
      for n in 0..<10 {
        let output = try await environment.build(context, ["--build-arg", "N=\(n)", "--store-limit=32m", "-t", "last"])
        #expect(output.succeeded, "\(n): \(output.everything)")
        #expect(try onDisk(tool.root) <= 32 << 20, "after \(n)")
      }
      sampling.cancel()
      let most = await sampler.most
      #expect(most > 20 << 20 && most <= (32 << 20) + 2 * 10_000_000 + (1 << 20), "\(most)")
      // The last is the most recently used: it is what is left.
      let last = try await environment.build(context, ["--build-arg", "N=9", "--store-limit=32m", "-t", "last"])
      #expect(last.steps["RUN head"] == "CACHED", "\(last.everything)")
      try await expectClean(tool)
    }
  }

  @Test(.timeLimit(.minutes(3))) func whatImagesNeedPassesTheLimit() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try heavy(environment, base)
      for n in 0..<3 { #expect(try await environment.build(context, ["--build-arg", "N=\(n)", "-t", "held:\(n)"]).succeeded) }
      let before = try await records(tool, ["--filter", "type=image"]).count
      let output = try await tool.run(
        ["build", "--progress=plain", "--build-arg", "N=new", "-t", "held:new", context], environment: ["MANIFOLD_STORE_LIMIT": "12m"])
      #expect(output.code == 1, "\(output.everything)")
      for word in [tool.root, "held:0", "held:1", "held:2", "limit of 12.6MB", "MANIFOLD_STORE_LIMIT", "manifold rmi"] { #expect(output.errorText.contains(word), "\(word): \(output.errorText)") }
      #expect(!output.errorText.contains("DONE 0.0s\n#6 exporting"))
      #expect(try await records(tool, ["--filter", "type=image"]).count == before)
      #expect(try await tool.run("rmi", "held:0", "held:1", "held:2").succeeded)
      let after = try await tool.run(["build", "--progress=plain", "--build-arg", "N=new", "-t", "held:new", "--store-limit", "20m", context])
      #expect(after.succeeded, "\(after.everything)")
      try await expectClean(tool)
    }
  }

  @Test(.timeLimit(.minutes(3))) func pruneChooses() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try heavy(environment, base, megabytes: 4)
      for n in 0..<4 { #expect(try await environment.build(context, ["--build-arg", "N=\(n)"]).succeeded) }
      // 1 is used again: 0 and 2 are older.
      #expect(try await environment.build(context, ["--build-arg", "N=1"]).steps["RUN head"] == "CACHED")
      #expect(try await tool.run("prune", "-f", "--max-used-space", "12m").succeeded)
      #expect(try onDisk(tool.root) <= 12 << 20)
      #expect(try await environment.build(context, ["--build-arg", "N=1"]).steps["RUN head"] == "CACHED")
      #expect(try await environment.build(context, ["--build-arg", "N=0"]).steps["RUN head"] == "DONE")
      let nothing = try await tool.run("prune", "-f", "--filter", "until=1h")
      #expect(nothing.outputText == "Total:\t0B\n", "\(nothing.everything)")
      // A clock that jumped: what was used tomorrow was used just now, and the order of uses is not the clock's.
      try await sql(tool, "UPDATE ref SET last_used = last_used + 86400000000000000, created = created + 86400000000000000; UPDATE blob SET last_used = 1, created = 1")
      try await expectClean(tool, "times of another clock")
      #expect(try await tool.run("prune", "-f", "--filter", "until=1h").outputText == "Total:\t0B\n")
      #expect(try await environment.build(context, ["--build-arg", "N=0"]).steps["RUN head"] == "CACHED")
      #expect(try await tool.run("prune", "-f", "--max-used-space", "12m").succeeded)
      #expect(try await environment.build(context, ["--build-arg", "N=0"]).steps["RUN head"] == "CACHED")
      // The records that led to what is gone are gone too.
      #expect(try await tool.run("prune", "-af").succeeded)
      for table in ["cache_result", "cache_link", "ref", "blob", "content_key", "ref_claim", "lease_item"] {
        let count = try await sql(tool, "SELECT count(*) FROM \(table)")
        #expect(count == "" || count == "0" || table == "cache_result" && count == "1", "\(table): \(count)")
      }
    }
  }

  /// By Python's sqlite3: the program has no such command. Empty where there is none.
  @discardableResult
  private func sql(_ tool: Tool, _ text: String) async throws -> String {
    let script = "import sqlite3,sys\nd=sqlite3.connect(sys.argv[1])\nfor s in sys.argv[2].split(';'):\n  r=d.execute(s).fetchone()\nd.commit()\nprint('' if r is None else r[0])"
    guard Processes.executablePath("python3") != nil else { return "" }
    return try await checked("python3", ["-c", script, tool.root + "/manifold.db", text]).outputText.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  @Test(.timeLimit(.minutes(3))) func damageIsFoundAndMended() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try environment.context("hurt", ["Dockerfile": "FROM \(base)\nRUN echo precious > /precious && head -c 300000 /dev/urandom > /big\nRUN cp /precious /copy\n"])
      #expect(try await environment.build(context, ["-t", "hurt"]).succeeded)
      try await expectClean(tool, "before")

      // A byte of the largest blob.
      let blobs = try FileManager.default.contentsOfDirectory(atPath: tool.root + "/blobs/sha256").map { tool.root + "/blobs/sha256/" + $0 }
      let largest = try #require(try blobs.max { try Files.status($0).size < Files.status($1).size })
      try flip(largest)
      let blob = try await tool.run("store", "verify")
      #expect(blob.code == 1 && blob.outputText.contains("sha256:" + (largest as NSString).lastPathComponent) && blob.outputText.contains("damaged"), "\(blob.everything)")
      let mended = try await tool.run("store", "verify", "--repair")
      #expect(mended.code == 1 && mended.outputText.contains("removed") && mended.outputText.contains("image hurt:latest"), "\(mended.everything)")
      try await expectClean(tool, "mended")
      #expect(try await environment.build(context, ["-t", "hurt"]).succeeded)
      try await expectClean(tool, "built again")

      // A file in the middle of a chain, changed behind the store's back; and a snapshot that is gone.
      let precious = try #require(find("precious", below: tool.root + "/snapshots"))
      try Files.writeAtomically(Array("poisoned\n".utf8), to: precious)
      let changed = try await tool.run("store", "verify")
      #expect(changed.code == 1 && changed.outputText.contains("has been changed") && changed.outputText.contains("echo precious"), "\(changed.everything)")
      #expect(try await tool.run("store", "verify", "--repair").code == 1)
      try await expectClean(tool, "snapshot mended")
      let redone = try await environment.build(context, ["-t", "hurt"])
      #expect(redone.steps["RUN echo"] == "DONE" || redone.steps["RUN echo"] == "CACHED", "\(redone.everything)")
      #expect(try await tool.run("run", "--rm", "hurt", "cat", "/precious", "/copy").outputText == "precious\nprecious\n")
      let copy = try #require(find("copy", below: tool.root + "/snapshots"))
      try Files.removeTree((copy as NSString).deletingLastPathComponent)
      let missing = try await tool.run("store", "verify", "--repair")
      #expect(missing.code == 1 && missing.outputText.contains("missing"), "\(missing.everything)")
      try await expectClean(tool, "all mended")
      #expect(try await environment.build(context, ["-t", "hurt"]).succeeded)
      #expect(try await tool.run("run", "--rm", "hurt", "cat", "/precious", "/copy").outputText == "precious\nprecious\n")
    }
  }

  private func flip(_ path: String) throws {
    chmod(path, 0o644)
    let file = try HostOS.Descriptor.open(path, flags: [.readWrite])
    let offset = try file.size / 2
    var byte: UInt8 = 0
    _ = withUnsafeMutableBytes(of: &byte) { pread(file.raw, $0.baseAddress, 1, off_t(offset)) }
    byte ^= 0xff
    _ = withUnsafeBytes(of: &byte) { pwrite(file.raw, $0.baseAddress, 1, off_t(offset)) }
  }
  private func find(_ name: String, below path: String) -> String? {
    FileManager.default.enumerator(atPath: path)?.compactMap { $0 as? String }.first { $0.hasSuffix("/fs/" + name) }.map { path + "/" + $0 }
  }

  /// kill -9 at fifty random moments of one build: whenever it is let alone it succeeds, and nothing is wrong with the store.
  @Test(.timeLimit(.minutes(8))) func killedFiftyTimes() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool
      let context = try environment.context(
        "kill",
        [
          "Dockerfile": """
            FROM \(base)
            ARG ROUND
            RUN head -c 400000 /dev/urandom > /r && sha256sum /r > /sum
            COPY f /f
            RUN --mount=type=cache,target=/c sha256sum -c /sum && date >> /c/log && mkdir /d && echo $ROUND > /d/round
            """,
          "f": String(repeating: "0123456789", count: 30_000),
        ])
      var random = SystemRandomNumberGenerator()
      for round in 0..<50 {
        let build = ["build", "--platform=linux/amd64,linux/arm64", "--progress=plain", "--build-arg=ROUND=\(round / 10)", "--store-limit=40m", "-t", "killed", context]
        let child = try tool.start(build, output: environment.scratch + "/log")
        try await Task.sleep(for: .seconds(Double.random(in: 0.02...1.6, using: &random)))
        child.kill(SIGKILL)
        child.wait()
        guard round % 10 == 9 else { continue }
        let next = try await tool.run(build)
        try #require(next.succeeded, "\(round): \(next.everything)")
        try await expectClean(tool, "\(round)")
        let run = try await tool.run("run", "--rm", "killed", "sh", "-c", "sha256sum -c /sum && cat /d/round && wc -c < /f")
        #expect(run.outputText == "/r: OK\n\(round / 10)\n300000\n", "\(round): \(run.everything)")
        let all = try await records(tool), disk = try onDisk(tool.root)
        #expect(abs(bytes(all) - disk) <= disk / 100, "\(bytes(all)) \(disk)")
      }
      // Nothing that the dead have left stays.
      #expect(try await tool.run("rmi", "killed").succeeded)
      #expect(try await tool.run("prune", "-af").succeeded)
      // Trials of overlay mounts are left alone for a minute: another process may be at it.
      #expect(try FileManager.default.contentsOfDirectory(atPath: tool.root + "/snapshots").filter { Int64($0, radix: 36) != nil } == [])
      #expect(try FileManager.default.contentsOfDirectory(atPath: tool.root + "/blobs/sha256") == [])
    }
  }

  /// Three at once, of several steps and platforms, beside a fourth that removes what it can: each step runs once.
  @Test(.timeLimit(.minutes(3))) func threeBuildsAndACollectorAtOnce() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool
      let steps = 4
      let context = try environment.context(
        "three", ["Dockerfile": "FROM \(base)\n" + (1...steps).map { "RUN sleep 0.3; date +%N > /s\($0); echo step\($0)-$((1+1))\n" }.joined()])
      let builds = try (0..<3).map { i in
        try tool.start(["build", "--platform=linux/amd64,linux/arm64", "--progress=plain", "-t", "three\(i)", context], output: "\(environment.scratch)/three\(i).log")
      }
      while builds.contains(where: { !$0.hasEnded }) { _ = try await tool.run("prune", "-af") }
      for build in builds { #expect(build.wait() == 0, "\(build.output)") }
      for step in 1...steps {
        let count = builds.reduce(0) { $0 + $1.output.components(separatedBy: " step\(step)-2\n").count - 1 }
        #expect(count == 2, "step \(step) ran \(count) times for two platforms: \(builds.map(\.output))")
      }
      try await expectClean(tool)
      for i in 0..<3 { #expect(try await tool.run("run", "--rm", "three\(i)", "cat", "/s4").succeeded) }
    }
  }

  @Test(.timeLimit(.minutes(3)), .enabled(if: HostFacts.isRoot)) func aFullDiskOf64MB() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"])
      let disk = environment.scratch + "/small", image = environment.scratch + "/small.img"
      try Files.makeDirectories(disk)
      try await checked("truncate", ["-s", "64M", image])
      guard Processes.executablePath("mkfs.ext4") != nil, try await Processes.run("sh", ["-c", "mkfs.ext4 -q -F '\(image)' && mount -o loop '\(image)' '\(disk)'"]).succeeded || mount("tmpfs", disk, "tmpfs", 0, "size=64m") == 0
      else { return print("SKIPPED aFullDiskOf64MB: cannot mount a disk here") }
      defer { umount2(disk, Int32(MNT_DETACH)) }
      let tool = Tool(binary: environment.tool.binary, root: disk + "/root")
      let context = try environment.context("full", ["Dockerfile": "FROM \(base)\nARG N\nRUN head -c ${N}000000 /dev/urandom > /big && test $(stat -c %s /big) = ${N}000000\n"])
      func build(_ size: Int) async throws -> ProcessOutput { try await tool.run(["build", "--progress=plain", "--build-arg=N=\(size)", "-t", "full", context]) }
      // The step itself finds no room; the layer made of it finds none.
      for size in [90, 35] {
        let failed = try await build(size)
        #expect(failed.code == 1 && failed.errorText.contains(tool.root) && failed.errorText.contains("--root"), "\(failed.everything)")
        #expect(failed.errorText.contains("needs more than") || failed.errorText.contains("needs at least"), "\(failed.everything)")
        try await expectClean(tool, "\(size)")
      }
      let small = try await build(3)
      #expect(small.succeeded, "\(small.everything)")
      // Not a byte is left, and still cache can be removed.
      try await Processes.run("sh", ["-c", "dd if=/dev/zero of='\(disk)/filler' bs=64k; dd if=/dev/zero of='\(disk)/filler2' bs=512; true"])
      let full = try await build(5)
      #expect(full.code == 1 && full.errorText.contains(disk), "\(full.everything)")
      let prune = try await tool.run("prune", "-af")
      #expect(prune.succeeded, "\(prune.everything)")
      try Files.removeTree(disk + "/filler")
      try await expectClean(tool, "room again")
      let again = try await build(5)
      #expect(again.succeeded, "\(again.everything)")
      #expect(try await tool.run("run", "--rm", "full", "stat", "-c", "%s", "/big").outputText == "5000000\n")
    }
  }
}

/// The most that a root takes while it is looked at.
private actor Sampler {
  private let root: String
  private(set) var most: Int64 = 0
  init(_ root: String) { self.root = root }

  func run() async {
    while !Task.isCancelled {
      if let now = try? Files.usage(root).bytes { most = max(most, now) }
      try? await Task.sleep(for: .milliseconds(20))
    }
  }
}
