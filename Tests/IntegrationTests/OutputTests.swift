import Foundation
import HostOS
import OCIModel
import Testing

/// Each form of output, taken by the programs that know it: skopeo, umoci, podman, bsdtar, a real Docker engine.
@Suite(.enabled(if: Tool.builds)) struct OutputTests {
  static let platforms = ["linux/amd64", "linux/arm64"]

  /// A small image on the base with a layer of files and one that deletes.
  private func context(_ environment: Environment) async throws -> [String] {
    let base = try await environment.base()
    let path = try environment.context(
      "context", ["Dockerfile": "ARG BASE\nFROM ${BASE}\nARG TARGETARCH\nCOPY data /data\nRUN rm /data/gone && echo $TARGETARCH > /arch\nCMD [\"cat\",\"/data/kept\"]\n", "data/kept": "kept\n", "data/gone": "gone\n"])
    return ["--build-arg", "BASE=\(base)", "--provenance=false", "--progress=plain", path]
  }

  private func built(_ environment: Environment, _ options: [String], _ context: [String], _ more: [String: String] = [:], at location: SourceLocation = #_sourceLocation) async throws -> ProcessOutput {
    let run = try await environment.tool.run(["build"] + options + context, environment: more)
    try #require(run.succeeded, "\(run.everything)", sourceLocation: location)
    return run
  }

  @Test(.timeLimit(.minutes(15)), arguments: ["gzip", "zstd", "estargz", "uncompressed"]) func archives(compression: String) async throws {
    try await withEnvironment(needs: ["umoci", "bsdtar"]) { environment in
      let context = try await context(environment), scratch = environment.scratch
      let form = "compression=\(compression),force-compression=true"
      _ = try await built(
        environment,
        ["--platform", Self.platforms.joined(separator: ","), "-t", "me/app:1", "-o", "type=oci,dest=\(scratch)/all.tar,\(form)", "-o", "type=oci,tar=false,dest=\(scratch)/layout,\(form)"], context)
      // Every digest is checked on the way.
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "oci-archive:\(scratch)/all.tar", "dir:\(scratch)/dir"])
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "oci:\(scratch)/layout:1", "dir:\(scratch)/dir2"])
      let listed = try await checked("bsdtar", ["-tf", "\(scratch)/all.tar"]).outputText
      #expect(listed.contains("index.json\n") && listed.contains("oci-layout\n"))
      // What others unpack is what was built. umoci knows no zstd.
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--override-arch", "amd64", "oci-archive:\(scratch)/all.tar", "oci:\(scratch)/one:latest"])
      if compression != "zstd" {
        try await checked("umoci", ["unpack"] + (HostFacts.isRoot ? [] : ["--rootless"]) + ["--image", "\(scratch)/one:latest", "\(scratch)/bundle"])
        #expect(Files.text("\(scratch)/bundle/rootfs/data/kept") == "kept\n" && Files.text("\(scratch)/bundle/rootfs/arch") == "amd64\n")
        #expect(!Files.exists("\(scratch)/bundle/rootfs/data/gone"))
      }
      try await layersAreOf(compression, scratch + "/layout")

      _ = try await built(environment, ["--platform", "linux/amd64", "-t", "me/app:1", "-t", "other:2", "-o", "type=docker,dest=\(scratch)/docker.tar,\(form)"], context)
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "docker-archive:\(scratch)/docker.tar:docker.io/me/app:1", "dir:\(scratch)/dir3"])
      try await podman(environment, compression)
    }
  }

  private func layersAreOf(_ compression: String, _ layout: String) async throws {
    let index = try JSONValue(parsing: try await checked("skopeo", ["inspect", "--raw", "oci:\(layout):1"]).output)
    for child in index["manifests"]?.arrayValue ?? [] {
      let hex = try #require(child["digest"]?.stringValue?.dropFirst(7))
      let layers = try JSONValue(parsing: Files.read("\(layout)/blobs/sha256/\(hex)", limit: 1 << 20))["layers"]?.arrayValue ?? []
      #expect(layers.count == 3)
      for layer in layers {
        let suffix = ["gzip": "+gzip", "zstd": "+zstd", "estargz": "+gzip", "uncompressed": "tar"][compression] ?? ""
        #expect(layer["mediaType"]?.stringValue?.hasSuffix(suffix) == true)
        #expect((layer["annotations"]?["containerd.io/snapshot/stargz/toc.digest"] != nil) == (compression == "estargz"))
      }
    }
  }

  /// podman with a store of its own.
  private func podman(_ environment: Environment, _ compression: String) async throws {
    guard Processes.executablePath("podman") != nil else { return print("SKIPPED: podman's part: it is not installed") }
    guard HostFacts.isRoot, HostFacts.idMap.count > 1 else { return print("SKIPPED: podman's part: as an ordinary user it needs a session of its own") }
    let scratch = environment.scratch
    let store = ["--root", "\(scratch)/podman", "--runroot", "\(scratch)/podman-run", "--storage-driver", "vfs", "--events-backend", "none"]
    let policy = scratch + "/policy.json"
    try Files.writeAtomically(Array(#"{"default":[{"type":"insecureAcceptAnything"}]}"#.utf8), to: policy, durable: false)
    for archive in ["docker-archive:\(scratch)/docker.tar", "oci-archive:\(scratch)/all.tar"] {
      let pulled = try await checked("podman", store + ["pull", "--quiet", "--signature-policy", policy, archive]).outputText
      let id = String(pulled.split(separator: "\n").last ?? "")
      let path = try await checked("podman", store + ["image", "mount", id]).outputText.trimmingCharacters(in: .whitespacesAndNewlines)
      #expect(Files.text(path + "/data/kept") == "kept\n" && !Files.exists(path + "/data/gone"), "\(archive)")
      try await checked("podman", store + ["image", "unmount", id])
    }
  }

  // MARK: Into an engine

  @Test(.timeLimit(.minutes(10))) func intoADockerEngine() async throws {
    try await withEnvironment { environment in
      guard let docker = try await DockerProcess.start(in: environment.scratch) else { return }
      defer { docker.stop() }
      let context = try await context(environment), scratch = environment.scratch
      let engine = ["DOCKER_HOST": docker.host]
      func id(_ name: String) async throws -> String? {
        let run = try await Processes.run("skopeo", ["inspect", "--daemon-host", docker.host, "--format", "{{.Architecture}}", "docker-daemon:\(name)"])
        return run.succeeded ? run.outputText : nil
      }
      let single = try await built(environment, ["--platform", "linux/amd64", "-t", "one:1", "-t", "two:2", "-o", "type=docker"], context, engine)
      #expect(single.errorText.contains("importing to docker") && single.errorText.contains("Loaded image: one:1"), "\(single.everything)")
      #expect(try await id("one:1")?.hasPrefix("amd64") == true)
      #expect(try await id("two:2") != nil)
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--src-daemon-host", docker.host, "docker-daemon:one:1", "dir:\(scratch)/loaded"])

      // The engine's store holds one platform: its own goes there, all stay here, and the user is told.
      let native = "linux/\(Platform.current.architecture)"
      for option in [["-o", "type=docker"], ["--load"]] {
        let name = option[0] == "-o" ? "many:1" : "many:2"
        let many = try await built(environment, ["--platform", Self.platforms.joined(separator: ","), "-t", name] + option, context, engine)
        let other = Self.platforms.filter { $0 != native }.joined(separator: ", ")
        #expect(many.errorText.contains("it gets \(native); \(other) stays in the local store"), "\(many.everything)")
        #expect(try await id(name)?.hasPrefix(Platform.current.architecture) == true)
        let images = try await environment.tool.run("images").outputText
        #expect(Self.platforms.allSatisfy(images.contains), "\(images)")
      }
      // An engine found by a Docker context.
      let home = environment.tool.root + "-home"
      let hash = Digest.sha256(of: "test").hex
      try Files.makeDirectories("\(home)/.docker/contexts/meta/\(hash)")
      try Files.writeAtomically(Array(#"{"Name":"test","Endpoints":{"docker":{"Host":"\#(docker.host)"}}}"#.utf8), to: "\(home)/.docker/contexts/meta/\(hash)/meta.json", durable: false)
      _ = try await built(environment, ["-t", "three:3", "-o", "type=docker,context=test"], context)
      #expect(try await id("three:3") != nil)
      // A build that fails loads nothing; an engine that refuses fails the build.
      let failing = try environment.context("failing", ["Dockerfile": "FROM scratch\nCOPY nothing /\n"])
      #expect(try await !environment.tool.run(["build", "-t", "four:4", "-o", "type=docker", failing], environment: engine).succeeded)
      #expect(try await id("four:4") == nil)
    }
  }

  /// What an engine with containerd's store answers (Debian 12 has none such), and what it is sent.
  private static let containerdEngine = """
    import http.server, json, socketserver, sys
    class Engine(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"
      def log_message(self, *a): pass
      def address_string(self): return ""
      def answer(self, text, status=200):
        self.send_response(status); self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text.encode())
      def do_GET(self):
        if self.path == "/version": self.answer(json.dumps({"Version": "28", "ApiVersion": "1.48", "Os": "linux", "Arch": "riscv64"}))
        elif self.path == "/info": self.answer(json.dumps({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}))
        else: self.answer("{}", 404)
      def do_POST(self):
        with open(sys.argv[2], "wb") as out:
          while True:
            n = int(self.rfile.readline(), 16)
            out.write(self.rfile.read(n)); self.rfile.readline()
            if n == 0: break
        self.answer(json.dumps({"stream": "Loaded image: all"}) + "\\n")
    class Server(socketserver.ThreadingUnixStreamServer):
      def get_request(self): return (super().get_request()[0], ("", 0))
    server = Server(sys.argv[1], Engine)
    print("ready", flush=True)
    import threading
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    """

  @Test(.timeLimit(.minutes(5))) func intoAnEngineThatKeepsIndexes() async throws {
    try await withEnvironment(needs: ["python3"]) { environment in
      let scratch = environment.scratch
      try Files.writeAtomically(Array(Self.containerdEngine.utf8), to: scratch + "/engine.py", durable: false)
      let engine = try Child("python3", [scratch + "/engine.py", scratch + "/d.sock", scratch + "/loaded.tar"], environment: environment.tool.environment(), outputPath: scratch + "/engine.log")
      defer {
        engine.closeInput()
        engine.wait()
      }
      try #require(try await engine.says("ready"), "\(engine.output)")
      let context = try environment.context("small", ["Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"])
      for option in [["-o", "type=docker"], ["--load"]] {
        let run = try await built(
          environment, ["--platform", Self.platforms.joined(separator: ","), "-t", "all"] + option, ["--provenance=false", "--progress=plain", context], ["DOCKER_HOST": "unix://\(scratch)/d.sock"])
        #expect(run.errorText.contains("Loaded image: all") && !run.errorText.contains("in the local store"), "\(run.everything)")
        try? Files.removeTree(scratch + "/dir")
        try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "oci-archive:\(scratch)/loaded.tar", "dir:\(scratch)/dir"])
        let index = try JSONValue(parsing: Files.read(scratch + "/dir/manifest.json", limit: 1 << 20))
        #expect(index["manifests"]?.arrayValue?.count == 2)
        try Files.removeTree(scratch + "/loaded.tar")
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func withoutADockerEngine() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("small", ["Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"])
      let nowhere = ["DOCKER_HOST": "unix://\(environment.scratch)/nowhere.sock"]
      let load = try await environment.tool.run(["build", "--progress=plain", "-t", "kept", "--load", context], environment: nowhere)
      #expect(load.succeeded && load.errorText.contains("it is kept in the local store"), "\(load.everything)")
      #expect(try await environment.tool.run("images").outputText.contains("kept"))
      let required = try await environment.tool.run(["build", "-t", "kept", "-o", "type=docker", context], environment: nowhere)
      #expect(required.status == .exited(2) && required.errorText.contains("nowhere.sock") && required.errorText.contains("dest=FILE"), "\(required.everything)")
    }
  }

  // MARK: Files

  @Test(.timeLimit(.minutes(5))) func filesOfSeveralPlatforms() async throws {
    try await withEnvironment(needs: ["bsdtar"]) { environment in
      let scratch = environment.scratch
      let path = try environment.context(
        "files", ["Dockerfile": "FROM scratch AS same\nCOPY a /a\nFROM scratch AS apart-amd64\nCOPY a /only-amd64\nFROM scratch AS apart-arm64\nCOPY a /dir/only-arm64\nARG TARGETARCH\nFROM apart-$TARGETARCH AS apart\n", "a": "a"])
      let build = ["--provenance=false", "--platform", Self.platforms.joined(separator: ","), path]
      _ = try await built(environment, ["--target", "same", "-o", "type=tar,dest=\(scratch)/x.tar", "-o", "type=local,dest=\(scratch)/x"], build)
      #expect(try await checked("bsdtar", ["-tf", "\(scratch)/x.tar"]).outputText == "linux_amd64/\nlinux_amd64/a\nlinux_arm64/\nlinux_arm64/a\n")
      for folder in ["linux_amd64", "linux_arm64"] { #expect(Files.text("\(scratch)/x/\(folder)/a") == "a") }
      // In one folder, when no file is another's.
      let merged = try await built(environment, ["--target", "apart", "-o", "type=tar,dest=-,platform-split=false", "-o", "type=local,platform-split=false,dest=\(scratch)/y"], build)
      try Files.writeAtomically(merged.output, to: "\(scratch)/y.tar", durable: false)
      #expect(Set(try await checked("bsdtar", ["-tf", "\(scratch)/y.tar"]).outputText.split(separator: "\n")) == ["only-amd64", "dir/", "dir/only-arm64"])
      #expect(Files.text("\(scratch)/y/only-amd64") == "a" && Files.text("\(scratch)/y/dir/only-arm64") == "a")
      for type in ["local", "tar"] {
        let clash = try await environment.tool.run(["build", "--target", "same", "-o", "type=\(type),platform-split=false,dest=\(scratch)/z-\(type)"] + build)
        #expect(!clash.succeeded && clash.errorText.contains("cannot overwrite a of linux/amd64"), "\(clash.everything)")
      }
    }
  }

  /// On standard output comes what would be in a file, and nothing else.
  @Test(.timeLimit(.minutes(5)), arguments: ["oci", "docker", "tar"]) func standardOutput(type: String) async throws {
    try await withEnvironment { environment in
      let context = try environment.context("small", ["Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"])
      let epoch = ["SOURCE_DATE_EPOCH": "1700000000"]
      let options = ["--provenance=false", "--progress=plain", context]
      _ = try await built(environment, ["-o", "type=\(type),dest=\(environment.scratch)/x"], options, epoch)
      let streamed = try await built(environment, ["-o", "type=\(type),dest=-"], options, epoch)
      #expect(try !streamed.output.isEmpty && streamed.output == Files.read(environment.scratch + "/x", limit: 1 << 24))
      let twice = try await environment.tool.run(["build", "-o", "type=\(type),dest=-", "-o", "-", context])
      #expect(twice.status == .exited(2) && twice.errorText.contains("two outputs are to go to standard output"), "\(twice.everything)")
    }
  }

  // MARK: What is said of an image

  @Test(.timeLimit(.minutes(5))) func annotations() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("small", ["Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"]), scratch = environment.scratch
      _ = try await built(
        environment,
        [
          "--platform", Self.platforms.joined(separator: ","), "-o", "type=oci,tar=false,dest=\(scratch)/l,annotation.attribute=1", "--annotation", "all=2", "--annotation", "index:top=3", "--annotation",
          "manifest[linux/arm64]:arm=4", "--annotation", "manifest-descriptor[linux/amd64]:named=5", "--annotation", "index-descriptor,manifest:both=6",
        ], ["--provenance=false", context])
      func document(_ descriptor: JSONValue?) throws -> JSONValue {
        try JSONValue(parsing: Files.read("\(scratch)/l/blobs/sha256/\(try #require(descriptor?["digest"]?.stringValue).dropFirst(7))", limit: 1 << 20))
      }
      let root = try JSONValue(parsing: Files.read(scratch + "/l/index.json", limit: 1 << 20))["manifests"]?.arrayValue?.first
      #expect(root?["annotations"]?["both"] == "6")
      let index = try document(root)
      #expect(index["annotations"]?["top"] == "3" && index["annotations"]?["all"] == nil)
      let children = index["manifests"]?.arrayValue ?? []
      #expect(children.map { $0["annotations"]?["named"]?.stringValue } == ["5", nil])
      let manifests = try children.map { try document($0)["annotations"] }
      #expect(manifests.map { $0?["arm"]?.stringValue } == [nil, "4"])
      for manifest in manifests { #expect(manifest?["all"] == "2" && manifest?["both"] == "6" && manifest?["attribute"] == "1") }
      for (option, says) in [(["--annotation", "index:a=b"], "annotations of the index need a multi-platform image"), (["--annotation", "manifest[linux/s390x]:a=b"], "not built"), (["--annotation", "a"], "expected key=value")] {
        let run = try await environment.tool.run(["build", "-t", "x", "--provenance=false"] + option + [context])
        #expect(!run.succeeded && run.errorText.contains(says), "\(run.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func severalOutputsAndWhatIsWrittenOfThem() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("small", ["Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"]), scratch = environment.scratch
      let name = environment.image("me/several")
      let run = try await built(
        environment,
        [
          "--progress=rawjson", "-t", name + ":1", "-t", name + ":2", "--push", "-o", "type=oci,dest=\(scratch)/o.tar", "-o", "type=docker,dest=\(scratch)/d.tar", "-o", "\(scratch)/files", "-o",
          "type=image,name=here,dangling-name-prefix=left,name-canonical=true", "--metadata-file", "\(scratch)/m.json",
        ], ["--provenance=false", context])
      for line in run.errorText.split(separator: "\n") { #expect(try JSONValue(parsing: String(line)).objectValue != nil) }
      let metadata = try JSONValue(parsing: Files.read(scratch + "/m.json", limit: 1 << 20))
      let digest = try #require(metadata["containerimage.digest"]?.stringValue)
      #expect(metadata["image.name"]?.stringValue?.contains("left@\(digest)") == true && metadata["containerimage.descriptor"]?["digest"]?.stringValue == digest)
      #expect(metadata["buildx.build.ref"]?.stringValue?.split(separator: "/").count == 3)
      for tag in ["1", "2"] { #expect(try await Digest.sha256(of: environment.raw(name + ":" + tag)).description == digest) }
      #expect(Files.text(scratch + "/files/a") == "a" && Files.exists(scratch + "/o.tar") && Files.exists(scratch + "/d.tar"))
      #expect(try await environment.tool.run("images").outputText.contains("left"))
      // By its digest alone.
      let bare = try await built(environment, ["-q", "-o", "type=image,name=\(environment.image("me/bare")),push=true,push-by-digest=true", "--iidfile", "\(scratch)/id"], ["--provenance=false", context])
      #expect(bare.errorText.isEmpty && bare.outputText == (Files.text(scratch + "/id") ?? "") + "\n")
      _ = try await environment.raw(environment.image("me/bare@\(digest)"))
      #expect(try await !Processes.run("skopeo", ["inspect", "--raw", "--tls-verify=false", "docker://\(environment.image("me/bare:latest"))"]).succeeded)
      // Docker's media types.
      _ = try await built(environment, ["-o", "type=image,name=\(environment.image("me/old")),push=true,oci-mediatypes=false"], ["--provenance=false", context])
      #expect(try await JSONValue(parsing: environment.raw(environment.image("me/old")))["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json")
    }
  }

  /// A name that a layer has another meaning for is refused where a layer is made, and fine in files; attributes of the user's own stay out of layers, as with BuildKit.
  @Test(.timeLimit(.minutes(5))) func whatALayerCannotHold() async throws {
    try await withEnvironment(needs: ["bsdtar"]) { environment in
      let context = try environment.context("odd", ["Dockerfile": "FROM scratch AS odd\nCOPY .wh.a /\nFROM scratch\nCOPY a /\n", "a": "a", ".wh.a": "b"]), scratch = environment.scratch
      let refused = try await environment.tool.run(["build", "--target", "odd", "-o", "type=oci,dest=\(scratch)/x.tar", context])
      #expect(!refused.succeeded && refused.errorText.contains(".wh.a: no layer can hold a name that begins with \".wh.\""), "\(refused.everything)")
      _ = try await built(environment, ["--target", "odd", "-o", "\(scratch)/out"], [context])
      #expect(Files.text(scratch + "/out/.wh.a") == "b")
      guard try await Processes.run("setfattr", ["-n", "user.colour", "-v", "blue", context + "/a"]).succeeded else { return print("SKIPPED: user attributes: setfattr cannot set one here") }
      let plain = try await built(environment, ["-o", "type=oci,dest=-,compression=uncompressed"], ["--provenance=false", context])
      #expect(!String(decoding: plain.output, as: UTF8.self).contains("user.colour"))
    }
  }
}
