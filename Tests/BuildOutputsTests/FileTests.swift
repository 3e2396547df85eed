import BuildInterface
import BuildProgress
import BuildSnapshots
import ContentStore
import HostOS
import LayerArchive
import OCIModel
import TestSupport
import Testing

@testable import BuildOutputs

@Suite struct LocalTests {
  private func tree(_ bench: ExportBench, _ text: String = "x") async throws -> ExportSource.Target {
    let ref = try await bench.ref { root in
      try root.writeAtomically(Array(text.utf8), to: "file", mode: 0o640)
      try root.setTimes("file", accessed: nil, modified: 1_500_000_000_000_000_000)
      try root.hardlink(from: "file", to: "same")
      _ = try root.makeDirectories("dir/sub")
      try root.writeAtomically(Array("#!".utf8), to: "dir/sub/run", mode: 0o4755)
      try root.symlink(target: "../file", at: "dir/link")
      try root.makeNode("fifo", kind: .fifo, mode: 0o600)
      try root.makeNode("socket", kind: .socket, mode: 0o600)
      try root.setMode("dir/sub", 0o555)
      try root.setTimes("dir/sub", accessed: nil, modified: 1_400_000_000_000_000_000)
    }
    return try ExportSource.Target("linux/amd64", ref)
  }

  @Test func onePlatformIsTheRoot() async throws {
    try await ExportBench.run { bench in
      let target = try await tree(bench)
      let path = bench.scratch.file("deep/out")
      // What is there stays or gives way; nothing is written through its links.
      try bench.scratch.write("outside", "safe")
      try bench.scratch.write("deep/out/kept", "kept")
      try bench.scratch.write("deep/out/fifo/in/the/way", "x")
      let there = try Directory.open(path)
      try there.symlink(target: "../../outside", at: "file")
      try there.symlink(target: "../..", at: "dir")
      #expect(try await bench.export("local", [:], ExportSource(targets: [target], isMultiPlatform: false), to: .directory(path: path)).isEmpty)
      #expect(try bench.scratch.read("outside") == Array("safe".utf8))
      #expect(try bench.scratch.read("deep/out/kept") == Array("kept".utf8))
      let file = try there.status("file")
      #expect(file.kind == .regular && file.permissions == 0o640 && file.mtime == 1_500_000_000_000_000_000 && file.uid == HostFacts.userID)
      #expect(try there.status("same").inode == file.inode)
      #expect(try there.status("dir").kind == .directory)
      #expect(try there.status("dir/sub").permissions == 0o555)
      #expect(try there.status("dir/sub").mtime == 1_400_000_000_000_000_000)
      #expect(try there.status("dir/sub/run").permissions == 0o4755)
      #expect(try there.readLink("dir/link") == "../file")
      #expect(try there.status("fifo").kind == .fifo)
      #expect(try there.statusIfPresent("socket") == nil)
      #expect(try there.entries().map(\.name).sorted() == ["dir", "fifo", "file", "kept", "same"])
      #expect(bench.lines == ["copying files"])
      // Again, over itself: hard links are replaced by each other.
      try await bench.export("local", ["source-date-epoch": "7"], ExportSource(targets: [target], isMultiPlatform: false), to: .directory(path: path))
      #expect(try there.entries().map(\.name).sorted() == ["dir", "fifo", "file", "kept", "same"])
      #expect(try there.status("file").mtime == 7_000_000_000 && there.status("same").links == 2)
      await target.ref?.release()
    }
  }

  @Test func platformsHaveFolders() async throws {
    try await ExportBench.run { bench in
      let first = try await tree(bench, "one")
      var second = try await tree(bench, "two")
      (second.id, second.platform) = ("linux/arm/v7", Platform(os: "linux", architecture: "arm", variant: "v7"))
      let empty = try ExportSource.Target("linux/s390x", nil)
      let source = ExportSource(targets: [first, second, empty], isMultiPlatform: true)
      try await bench.export("local", [:], source, to: .directory(path: bench.scratch.file("out")))
      #expect(try bench.scratch.read("out/linux_amd64/file") == Array("one".utf8))
      #expect(try bench.scratch.read("out/linux_arm_v7/file") == Array("two".utf8))
      #expect(try Directory.open(bench.scratch.file("out/linux_s390x")).entries().isEmpty)
      let error = await #expect(throws: BuildError.self) {
        try await bench.export("local", ["platform-split": "false"], source, to: .directory(path: bench.scratch.file("flat")))
      }
      #expect(error?.message.contains("cannot overwrite") == true)
      #expect(try Directory.open(bench.scratch.file("flat")).entries().isEmpty)
      await first.ref?.release()
      await second.ref?.release()
    }
  }
}

@Suite struct ArchiveTests {
  @Test func aFileAppearsWholeOrNotAtAll() async throws {
    try await ExportBench.run { bench in
      let lost = try await bench.refs.layer(
        parent: nil, descriptor: OCIModel.Descriptor(mediaType: .ociLayer, of: PushTests.tar("a", "b")), diffID: .sha256(of: "x"), provider: NoProvider())
      let source = ExportSource(targets: [try ExportSource.Target("linux/arm64", lost)], isMultiPlatform: false)
      try bench.scratch.write("out/old.tar", "old")
      let error = await #expect(throws: BuildError.self) { try await bench.export("oci", [:], source, to: .file(path: bench.scratch.file("out/old.tar"))) }
      #expect(error.map { "\($0)".contains("linux/arm64") } == true)
      #expect(try bench.scratch.read("out/old.tar") == Array("old".utf8))
      #expect(try Directory.open(bench.scratch.file("out")).entries().map(\.name) == ["old.tar"])
      await lost.release()
      let none = ExportSource(targets: [try ExportSource.Target("linux/arm64", nil)], isMultiPlatform: false)
      for path in ["nowhere/x.tar", "out"] {
        await #expect(throws: BuildError.self) { try await bench.export("oci", [:], none, to: .file(path: bench.scratch.file(path))) }
      }
      // A link stays, a device is written to.
      try Directory.open(bench.scratch.path).symlink(target: "out/old.tar", at: "link")
      try await bench.export("oci", [:], none, to: .file(path: bench.scratch.file("link")))
      #expect(try Files.status(bench.scratch.file("link"), followLast: false).kind == .symbolicLink)
      #expect(try ReadTar(bench.scratch.read("out/old.tar")).contents["oci-layout"] != nil)
      try await bench.export("oci", [:], none, to: .file(path: "/dev/null"))
      #expect(try Files.status("/dev/null").kind == .characterDevice)
    }
  }

  @Test func aDescriptorTakesTheArchive() async throws {
    try await ExportBench.run { bench in
      let source = try await PushTests.source(bench)
      let file = try HostOS.Descriptor.open(bench.scratch.file("out.tar"), flags: [.writeOnly, .create])
      try await bench.export("oci", ["name": "app:1"], source, to: .descriptor(file.raw))
      try file.write("")
      #expect(try ReadTar(bench.scratch.read("out.tar")).contents["index.json"] != nil)
    }
  }

  @Test func aLayoutIsADirectory() async throws {
    try await ExportBench.run { bench in
      let source = try await PushTests.source(bench)
      let path = bench.scratch.file("layout")
      for name in ["app:1", "app:2"] { try await bench.export("oci", ["name": name, "tar": "false"], source, to: .directory(path: path)) }
      let index = try OCILayout.open(path).index()
      #expect(index.manifests.map { $0.annotations["io.containerd.image.name"] } == ["docker.io/library/app:1", "docker.io/library/app:2"])
      #expect(try OCILayout.open(path).closure(of: index.manifests[0]).missing.isEmpty)
      await #expect(throws: BuildError.self) { try await bench.export("oci", ["tar": "false"], source, to: .file(path: path)) }
      await #expect(throws: BuildError.self) { try await bench.export("oci", [:], source, to: .directory(path: path)) }
    }
  }

  @Test func dockerHoldsOnePlatform() async throws {
    try await ExportBench.run { bench in
      let source = try await PushTests.source(bench)
      let error = await #expect(throws: BuildError.self) { try await bench.export("docker", [:], source, to: .file(path: bench.scratch.file("x.tar"))) }
      #expect(error?.suggestion == "use type=oci, or build one platform")
    }
  }

  /// Other people's programs read what is written.
  @Test func skopeoAndUmociReadIt() async throws {
    guard Processes.executablePath("skopeo") != nil, Processes.executablePath("umoci") != nil else {
      return print("SKIPPED: BuildOutputs skopeoAndUmociReadIt: skopeo or umoci is not installed")
    }
    guard HostFacts.isRoot else { return print("SKIPPED: BuildOutputs skopeoAndUmociReadIt: umoci unpacks as root only") }
    try await ExportBench.run { bench in
      let ref = try await bench.ref { root in
        _ = try root.makeDirectories("etc")
        try root.writeAtomically(Array("name\n".utf8), to: "etc/hostname")
      }
      let source = ExportSource(
        targets: [try ExportSource.Target("linux/amd64", ref), try ExportSource.Target("linux/arm/v7", ref)], isMultiPlatform: true)
      let tar = bench.scratch.file("out.tar"), layout = bench.scratch.file("layout")
      try await bench.export("oci", ["name": "me/app:1", "compression": "gzip"], source, to: .file(path: tar))
      let raw = try await Processes.run("skopeo", ["inspect", "--raw", "oci-archive:\(tar)"])
      #expect(raw.succeeded, "\(raw.errorText)")
      #expect(try JSONValue(parsing: raw.output)["manifests"]?.arrayValue?.count == 2)
      let copy = try await Processes.run("skopeo", ["copy", "--all", "oci-archive:\(tar)", "oci:\(layout):1"])
      #expect(copy.succeeded, "\(copy.errorText)")
      let one = try await Processes.run("skopeo", ["copy", "--override-arch", "arm", "--override-variant", "v7", "oci-archive:\(tar)", "oci:\(layout):one"])
      #expect(one.succeeded, "\(one.errorText)")
      let unpack = try await Processes.run("umoci", ["unpack", "--image", "\(layout):one", bench.scratch.file("bundle")])
      #expect(unpack.succeeded, "\(unpack.errorText)")
      #expect(try bench.scratch.read("bundle/rootfs/etc/hostname") == Array("name\n".utf8))
      let docker = bench.scratch.file("docker.tar")
      try await bench.export("docker", ["name": "me/app:1"], ExportSource(targets: [source.targets[0]], isMultiPlatform: false), to: .file(path: docker))
      let inspect = try await Processes.run("skopeo", ["inspect", "docker-archive:\(docker)"])
      #expect(inspect.succeeded, "\(inspect.errorText)")
      await ref.release()
    }
  }
}

/// The registry that people run.
@Suite struct RealRegistryTests {
  @Test func skopeoReadsWhatWasPushed() async throws {
    guard let program = Processes.executablePath("docker-registry"), Processes.executablePath("skopeo") != nil else {
      return print("SKIPPED: BuildOutputs skopeoReadsWhatWasPushed: docker-registry or skopeo is not installed")
    }
    try await ExportBench.run { bench in
      let port = Int.random(in: 20000..<30000), host = "127.0.0.1:\(port)"
      let configuration = try bench.scratch.write(
        "registry.yml", "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: \(bench.scratch.file("registry"))}}\nhttp: {addr: \"\(host)\"}\n")
      let server = Task { _ = try? await Processes.run(program, ["serve", configuration]) }
      defer { server.cancel() }
      let source = try await PushTests.source(bench, ["linux/amd64", "linux/arm64", "linux/arm/v7"])
      var response: [String: String] = [:]
      for attempt in 0... {
        do {
          response = try await bench.export("registry", ["name": "\(host)/me/hello:1,\(host)/me/hello", "annotation-index.a": "b"], source)
          break
        } catch where attempt < 20 { try await Task.sleep(for: .milliseconds(100)) }
      }
      let raw = try await Processes.run("skopeo", ["inspect", "--raw", "--tls-verify=false", "docker://\(host)/me/hello:1"])
      #expect(raw.succeeded, "\(raw.errorText)")
      #expect(Digest.sha256(of: raw.output).description == response["containerimage.digest"])
      #expect(try JSONValue(parsing: raw.output)["manifests"]?.arrayValue?.count == 3)
      let copy = try await Processes.run(
        "skopeo", ["copy", "--all", "--src-tls-verify=false", "docker://\(host)/me/hello", "oci:\(bench.scratch.file("layout")):1"])
      #expect(copy.succeeded, "\(copy.errorText)")
    }
  }
}
