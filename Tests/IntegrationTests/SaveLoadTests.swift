import Foundation
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// What `save` writes others take, and `load` what others write.
@Suite(.serialized, .enabled(if: Tool.builds)) struct SaveLoadTests {
  /// An image of three platforms, called app:1, in the store and in the registry.
  private func app(_ environment: Environment) async throws {
    let base = try await environment.base()
    let context = try environment.context("app", ["Dockerfile": "FROM \(base)\nCOPY Dockerfile /d\nCMD [\"cat\", \"/d\"]\n"])
    let output = try await environment.build(context, ["--platform=" + BaseImage.usual.joined(separator: ","), "-t", "app:1"])
    try #require(output.succeeded, "\(output.everything)")
    try #require(try await environment.tool.run("tag", "app:1", environment.image("app:1")).succeeded)
    let push = try await environment.tool.run("push", "-q", environment.image("app:1"))
    try #require(push.succeeded, "\(push.everything)")
  }

  private func id(_ tool: Tool, _ name: String) async throws -> String { try await tool.run("image", "inspect", "-f", "{{.Id}}", name).outputText }

  @Test(.timeLimit(.minutes(5))) func skopeoAndUmociTakeIt() async throws {
    try await withEnvironment(needs: ["umoci", "tar"]) { environment in
      try await app(environment)
      let tool = environment.tool, folder = environment.scratch + "/saved"
      try Files.makeDirectories(folder)
      for (file, options) in [("both", []), ("oci", ["--format=oci"]), ("docker", ["--format=docker", "--platform=linux/amd64"]), ("one", ["--platform=linux/arm64"])] {
        let output = try await tool.run(["save"] + options + ["-o", "\(folder)/\(file).tar", "app:1"])
        try #require(output.succeeded && output.outputText.isEmpty, "\(output.everything)")
      }
      #expect(try Files.status(folder + "/both.tar").permissions == 0o600)
      for (source, all) in [("oci-archive:\(folder)/both.tar", true), ("oci-archive:\(folder)/oci.tar", true), ("oci-archive:\(folder)/one.tar", false), ("docker-archive:\(folder)/both.tar", false), ("docker-archive:\(folder)/docker.tar", false)] {
        let place = "\(folder)/copy-\(UInt64.random(in: 0...UInt64.max))"
        try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--override-os=linux", "--override-arch=\(source.contains("one") ? "arm64" : "amd64")"] + (all ? ["--all"] : []) + [source, "oci:\(place):x"])
      }
      // As a layout on the disk, for whoever reads layouts.
      try await checked("sh", ["-c", "mkdir '\(folder)/layout' && tar -C '\(folder)/layout' -xf '\(folder)/one.tar'"])
      try await checked("umoci", ["unpack"] + (HostFacts.isRoot ? [] : ["--rootless"]) + ["--image", "\(folder)/layout:1", folder + "/bundle"])
      #expect(Files.exists(folder + "/bundle/rootfs/d"))
      // To a pipe, and back into another store: the same image.
      let other = Tool(binary: tool.binary, root: environment.scratch + "/other")
      let piped = try await tool.run("save", "app:1")
      #expect(piped.output == (try Files.read(folder + "/both.tar", limit: 1 << 28)))
      let loaded = try await other.run(["load", "--progress=none"], input: piped.output)
      #expect(loaded.outputText == "Loaded image: app:1\n" && loaded.succeeded, "\(loaded.everything)")
      #expect(try await id(other, "app:1") == id(tool, "app:1"))
      #expect(try await other.run("images", "--format", "{{.Platforms}}").outputText == "linux/amd64,linux/arm64,linux/arm/v7\n")
      #expect(try await other.run("run", "--rm", "app:1").outputText.hasPrefix("FROM "))
      let broken = try await other.run(["load"], input: Array(piped.output.prefix(piped.output.count / 2)))
      #expect(broken.code == 2 && broken.errorText.contains("the archive is not one of images"), "\(broken.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5))) func whatSkopeoWritesIsTaken() async throws {
    try await withEnvironment { environment in
      try await app(environment)
      let image = environment.image("app:1"), folder = environment.scratch + "/skopeo"
      try Files.makeDirectories(folder)
      func copy(_ destination: String, _ more: [String] = []) async throws {
        try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--override-os=linux", "--override-arch=amd64"] + more + ["docker://\(image)", destination])
      }
      try await copy("docker-archive:\(folder)/docker.tar:given/docker:1")
      try await copy("oci-archive:\(folder)/oci.tar:given/oci:1")
      try await copy("oci-archive:\(folder)/all.tar:given/all:1", ["--all", "--preserve-digests"])
      try await copy("docker-archive:\(folder)/nameless.tar")
      let other = Tool(binary: environment.tool.binary, root: environment.scratch + "/other")
      for (file, name) in [("docker", "given/docker:1"), ("oci", "given/oci:1"), ("all", "given/all:1")] {
        let output = try await other.run("load", "-i", "\(folder)/\(file).tar")
        #expect(output.outputText == "Loaded image: \(name)\n" && output.succeeded, "\(output.everything)")
        #expect(try await other.run("run", "--rm", name).outputText.hasPrefix("FROM "), "\(file)")
      }
      #expect(try await id(other, "given/all:1") == "\(Digest.sha256(of: try await environment.raw(image)))\n")
      #expect(try await other.run("rmi", "given/docker:1", "given/oci:1").succeeded)
      let nameless = try await other.run("load", "-q", "-i", folder + "/nameless.tar")
      let id = nameless.outputText.dropFirst("Loaded image ID: ".count).trimmingCharacters(in: .whitespacesAndNewlines)
      #expect(nameless.outputText.hasPrefix("Loaded image ID: sha256:") && nameless.succeeded, "\(nameless.everything)")
      #expect(try await other.run("images", "--format", "{{.Repository}}").outputText == "given/all\n")
      #expect(try await other.run("images", "-f", "dangling=true", "--format", "{{.Repository}}:{{.Tag}}").outputText == "<none>:<none>\n")
      #expect(try await other.run("image", "prune", "-f").outputText.contains("deleted: \(id)\n"))
      #expect(try await other.run("store", "verify").succeeded)
    }
  }

  @Test(.timeLimit(.minutes(5))) func podman() async throws {
    guard Processes.executablePath("podman") != nil, HostFacts.isRoot else { return print("SKIPPED: podman is not installed, or this is not root") }
    try await withEnvironment { environment in
      try await app(environment)
      let folder = environment.scratch
      let podman = ["--root", folder + "/podman", "--runroot", folder + "/podman-run", "--storage-driver=vfs"]
      guard try await Processes.run("podman", podman + ["images", "-q"]).succeeded else { return print("SKIPPED: podman does not work here") }
      let other = Tool(binary: environment.tool.binary, root: folder + "/other")
      for form in ["both", "oci", "docker"] {
        let file = "\(folder)/\(form).tar"
        #expect(try await environment.tool.run("save", "--format", form, "--platform=linux/amd64", "-o", file, "app:1").succeeded)
        let output = try await checked("podman", podman + ["load", "-q", "-i", file])
        #expect(output.outputText.contains("app:1"), "\(form): \(output.everything)")
      }
      try await checked("podman", podman + ["pull", "-q", "--tls-verify=false", environment.image("app:1")])
      for form in ["oci-archive", "docker-archive"] {
        let file = "\(folder)/podman-\(form).tar"
        try await checked("podman", podman + ["save", "-q", "--format", form, "-o", file, environment.image("app:1")])
        let loaded = try await other.run("load", "-q", "-i", file)
        #expect(loaded.outputText == "Loaded image: \(environment.image("app:1"))\n", "\(form): \(loaded.everything)")
        #expect(try await other.run("run", "--rm", environment.image("app:1")).outputText.hasPrefix("FROM "))
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func docker() async throws {
    guard Processes.executablePath("docker") != nil else { return print("SKIPPED: the docker client is not installed") }
    try await withEnvironment { environment in
      guard let engine = try await DockerProcess.start(in: environment.scratch) else { return }
      defer { engine.stop() }
      try await app(environment)
      let docker = ["--host", engine.host], folder = environment.scratch
      let other = Tool(binary: environment.tool.binary, root: folder + "/other")
      for form in ["both", "docker"] {
        let file = "\(folder)/\(form).tar"
        #expect(try await environment.tool.run("save", "--format", form, "-o", file, "app:1").succeeded)
        let output = try await checked("docker", docker + ["load", "-i", file])
        #expect(output.outputText.contains("Loaded image: app:1"), "\(form): \(output.everything)")
      }
      try await checked("docker", docker + ["pull", "-q", environment.image("app:1")])
      let file = "\(folder)/from-docker.tar"
      try await checked("docker", docker + ["save", "-o", file, "app:1", environment.image("app:1")])
      let loaded = try await other.run("load", "-q", "-i", file)
      #expect(Set(loaded.outputText.split(separator: "\n")) == ["Loaded image: app:1", "Loaded image: \(Substring(environment.image("app:1")))"], "\(loaded.everything)")
      // What both say of the image.
      let format = "{{.Architecture}} {{.Os}} {{json .Config.Cmd}} {{json .Config.Env}} {{json .RootFS}} {{.Created}} {{.Author}}|{{json .RepoTags}}"
      let theirs = try await checked("docker", docker + ["image", "inspect", "-f", format, "app:1"]), ours = try await other.run("image", "inspect", "-f", format, "app:1")
      #expect(ours.outputText == theirs.outputText, "\(ours.everything)")
      let history = ["history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}|{{.CreatedAt}}", "app:1"]
      #expect(try await other.run(history).outputText == checked("docker", docker + history).outputText)
    }
  }

  /// Interrupted in the middle, or without room: no file, no name, nothing half-written.
  @Test(.timeLimit(.minutes(5))) func interruptedOrWithoutRoom() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try environment.context("large", ["Dockerfile": "FROM \(base)\nRUN head -c 20000000 /dev/urandom > /big\n"])
      #expect(try await environment.build(context, ["--provenance=false", "-t", "large:1"]).succeeded)
      let archive = environment.scratch + "/large.tar"
      #expect(try await tool.run("save", "-o", archive, "large:1").succeeded)
      // A pipe that nobody ends: load waits for the rest.
      let other = Tool(binary: tool.binary, root: environment.scratch + "/other")
      let fifo = environment.scratch + "/fifo"
      mkfifo(fifo, 0o600)
      let child = try other.start(["load", "--progress=none", "-i", fifo], output: environment.scratch + "/load.out")
      let pipe = try await Blocking.run { try HostOS.Descriptor.open(fifo, flags: .writeOnly) }
      try await Blocking.run { try pipe.write(Files.read(archive, limit: 5 << 20 | 1 << 30).prefix(5 << 20).map { $0 }) }
      child.kill(SIGINT)
      child.wait()
      try pipe.close()
      #expect(try await other.run("images", "-q", "-a").outputText.isEmpty)
      #expect(try Directory.open(other.root + "/ingest").entries().isEmpty)

      guard HostFacts.isRoot else { return print("SKIPPED: a full disk for save and load: this is not root") }
      let disk = environment.scratch + "/disk"
      try Files.makeDirectories(disk)
      guard mount("tmpfs", disk, "tmpfs", 0, "size=10m") == 0 else { return print("SKIPPED: cannot mount a disk here") }
      defer { umount2(disk, Int32(MNT_DETACH)) }
      let full = try await tool.run("save", "-o", disk + "/large.tar", "large:1")
      #expect(full.code == 1 && full.errorText.contains("No space left"), "\(full.everything)")
      #expect(try Directory.open(disk).entries().isEmpty)
      let small = Tool(binary: tool.binary, root: disk + "/root")
      let gzip = try await checked("gzip", ["-1", "-c", archive], limit: 1 << 28)
      for (arguments, input) in [(["load", "-i", archive], [UInt8]()), (["load"], gzip.output)] {
        let failed = try await small.run(arguments, input: input)
        #expect(failed.code == 1 && failed.errorText.contains("no space left") && failed.errorText.contains("--root"), "\(failed.everything)")
        #expect(try await small.run("images", "-q", "-a").outputText.isEmpty)
        #expect(try Directory.open(small.root + "/ingest").entries().isEmpty)
        let verify = try await small.run("store", "verify")
        #expect(verify.succeeded, "\(verify.everything)")
      }
    }
  }
}
