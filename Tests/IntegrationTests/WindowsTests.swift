import Foundation
import HostOS
import LayerArchive
import OCIModel
import Testing

/// Images for Windows, built on Linux: on a Windows base made here, with layers as a real BuildKit makes them (LayerArchiveTests/Golden/windows).
@Suite(.serialized, .enabled(if: Tool.builds)) struct WindowsTests {
  private static let golden = URL(fileURLWithPath: packageDirectory).appending(path: "Tests/LayerArchiveTests/Golden/windows")
  private static let two = "windows(10.0.17763)/amd64,windows(10.0.20348)/amd64"

  private func base(_ environment: Environment) async throws -> String {
    let layout = environment.scratch + "/windows-base", name = environment.image("windows:latest")
    if Files.exists(layout) { return name }
    try WindowsBase.write(to: layout)
    try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:\(layout):latest", "docker://\(name)"])
    return name
  }

  /// What the golden was built from.
  private func context(_ environment: Environment, _ name: String, dockerfile: String) async throws -> String {
    let path = try environment.context(name, ["Dockerfile": dockerfile, "a.txt": "hello\n"])
    let long = "a long name that goes on and on so that no plain tar header can hold it, not even with its prefix split off 123456789.txt"
    try await checked(
      "sh",
      [
        "-euc",
        """
        umask 022; cd "$1"; mkdir -p tree/deep tree/empty; printf 'MZ app\\n' > tree/app.exe; chmod 755 tree/app.exe; ln tree/app.exe tree/same.exe; ln -s app.exe tree/link.exe
        printf x > "tree/deep/$2"; printf 'ü' > tree/deep/größe.txt; find . -exec touch -h -d @1710000000 {} +
        """, "sh", path, long,
      ])
    return path
  }

  private func build(_ environment: Environment, _ arguments: [String], _ context: String, root: Tool? = nil) async throws -> ProcessOutput {
    try await (root ?? environment.tool).run(["build", "--progress", "plain", "--provenance=false", "--build-arg", "BASE=\(base(environment))"] + arguments + [context])
  }

  private struct Entry: Equatable { var entry: TarEntry; var content: [UInt8] }

  /// A layer's entries; what depends on when it was made is cut to the epoch.
  private func entries(_ blob: [UInt8]) throws -> [Entry] {
    let epoch = Timestamp(seconds: 1_710_000_000), reader = TarReader(try DetectingSource(BytesSource(blob)))
    var out: [Entry] = []
    while var entry = try reader.next() {
      var content = [UInt8](repeating: 0, count: Int(entry.size))
      var done = 0
      while done < content.count { done += try content.withUnsafeMutableBytes { try reader.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[done...])) } }
      if ["Hives/", "Files/", "Hives", "Files"].contains(entry.path) { (entry.modified, entry.records["LIBARCHIVE.creationtime"]) = (epoch, Array("1710000000.0".utf8)) }
      entry.clampTimes(to: epoch)
      out.append(Entry(entry: entry, content: content))
    }
    return out
  }

  private struct Image { var platform: Platform?; var config: [UInt8]; var layers: [[UInt8]] }

  /// What a layout holds under its one name.
  private func images(_ layout: String) throws -> [Image] {
    func blob(_ json: JSONValue?) throws -> [UInt8] { try Files.read("\(layout)/blobs/sha256/" + Digest(parsing: json?["digest"]?.stringValue ?? "").hex, limit: 1 << 24) }
    let top = try #require(try JSONValue(parsing: Files.read(layout + "/index.json", limit: 1 << 20))["manifests"]?.arrayValue?.first)
    return try (JSONValue(parsing: blob(top))["manifests"]?.arrayValue ?? [top]).map { entry in
      let manifest = try JSONValue(parsing: blob(entry))
      return Image(platform: try entry["platform"].map { try Platform(json: $0) }, config: try blob(manifest["config"]), layers: try (manifest["layers"]?.arrayValue ?? []).map { try blob($0) })
    }
  }

  /// A config without what names the base's layers and those above them.
  private func withoutLayers(_ config: [UInt8]) throws -> String {
    var object = try #require(try JSONValue(parsing: config).objectValue)
    object["rootfs"] = nil
    return String(decoding: JSONValue.object(object).encoded(), as: UTF8.self)
  }

  @Test(.timeLimit(.minutes(10))) func layersAndConfigsAreBuildKits() async throws {
    try await withEnvironment { environment in
      let dockerfile = try String(contentsOf: Self.golden.appending(path: "Dockerfile"), encoding: .utf8)
      let context = try await context(environment, "context", dockerfile: dockerfile), name = environment.image("app:1")
      let output = try await build(environment, ["--build-arg", "SOURCE_DATE_EPOCH=1710000000", "--platform", Self.two, "-t", name, "--push"], context)
      #expect(output.succeeded, "\(output.everything)")
      // skopeo checks every digest on the way.
      let made = try images(try await environment.pulled(name))
      let platforms = try JSONValue(parsing: [UInt8](Data(contentsOf: Self.golden.appending(path: "index.json")))).arrayValue ?? []
      #expect(try made.map(\.platform) == platforms.map { try Platform(json: $0) })
      for (image, build) in zip(made, ["17763", "20348"]) {
        #expect(try withoutLayers(image.config) == withoutLayers([UInt8](Data(contentsOf: Self.golden.appending(path: "config-\(build).json")))))
        #expect(image.layers.count == 7)
        for (i, layer) in image.layers.dropFirst(2).enumerated() {
          let expected = try entries([UInt8](Data(contentsOf: Self.golden.appending(path: "layer-\(i).tar"))))
          #expect(try entries(layer) == expected, "layer \(i) of \(build)")
        }
      }
      // The same again, from another store: the same digests.
      let other = Tool(binary: environment.tool.binary, root: environment.scratch + "/other")
      let again = environment.image("app:2")
      for root in [environment.tool, other] {
        let output = try await build(
          environment, ["--build-arg", "SOURCE_DATE_EPOCH=1710000000", "--platform", Self.two, "-o", "type=image,name=\(again)-\(root.root.suffix(5).replacing("/", with: "")),push=true,rewrite-timestamp=true"], context, root: root)
        #expect(output.succeeded, "\(output.everything)")
      }
      #expect(try await environment.raw("\(again)-root") == environment.raw("\(again)-other"))
    }
  }

  @Test(.timeLimit(.minutes(10))) func linuxAndTwoVersionsUnderOneTag() async throws {
    try await withEnvironment { environment in
      let linux = try await environment.base(["linux/amd64"]), name = environment.image("all:1"), cache = environment.image("all:cache")
      let dockerfile = """
        # escape=`
        ARG BASE
        FROM \(linux) AS base-linux
        RUN touch /made-on-linux
        FROM $BASE AS base-windows
        COPY --from=\(environment.image("windows:latest")) C:\\Windows\\System32\\cmd.exe \\copied\\cmd.exe
        FROM base-$TARGETOS
        WORKDIR /app
        COPY tree\\ app/
        COPY --link a.txt /linked/
        """
      let context = try await context(environment, "context", dockerfile: dockerfile.replacing("tree\\ app/", with: "tree/ app/"))
      let arguments = ["--platform", "linux/amd64," + Self.two, "-t", name, "--push", "--cache-to", "type=registry,ref=\(cache),mode=max"]
      let output = try await build(environment, arguments, context)
      #expect(output.succeeded, "\(output.everything)")
      let made = try images(try await environment.pulled(name))
      #expect(made.map { $0.platform?.fullDescription } == ["linux/amd64", "windows(10.0.17763)/amd64", "windows(10.0.20348+win32k)/amd64"])
      for (i, image) in made.enumerated() {
        let tops = try image.layers.suffix(3).map { try entries($0).map(\.entry.path.text) }
        // Where a link's layer lies on Windows it is one of Windows', though another platform has the same files.
        #expect(tops.last == (i == 0 ? ["linked/", "linked/a.txt"] : ["Hives", "Files", "Files/linked/", "Files/linked/a.txt"]), "\(tops)")
        if i > 0 { #expect(try entries(image.layers[2]).last == entries(image.layers[2]).first { $0.entry.path == "Files/copied/cmd.exe" } && entries(image.layers[2]).last?.content == Array("MZ cmd \(WindowsBase.versions[i - 1])".utf8)) }
      }
      for arguments in [["verify", name], ["imagetools", "inspect", name], ["images", "--tree"], ["diff", "--platform", Self.two, name], ["pull", "--all-platforms", name], ["history", "--platform", "windows(10.0.17763)/amd64", name]] {
        let output = try await environment.tool.run(arguments)
        // What pass for programs here are none, which verify warns of.
        #expect(["diff", "verify"].contains(arguments[0]) ? (output.code ?? 9) <= 1 && !output.outputText.contains("error:") : output.succeeded, "\(arguments): \(output.everything)")
      }
      // Nothing runs again; nor does it elsewhere, with the cache.
      let again = try await build(environment, Array(arguments.prefix(4)), context)
      #expect(again.succeeded && again.errorText.split(separator: "\n").count { $0.hasSuffix("CACHED") } >= 12, "\(again.everything)")
      let other = Tool(binary: environment.tool.binary, root: environment.scratch + "/other")
      let imported = try await build(environment, ["--platform", Self.two, "-t", environment.image("all:2"), "--push", "--cache-from", "type=registry,ref=\(cache)"], context, root: other)
      #expect(imported.succeeded, "\(imported.everything)")
      let cached = imported.errorText.split(separator: "\n").count { $0.hasSuffix("CACHED") }
      #expect(cached >= 6, "\(imported.everything)")
      let theirs = try images(try await environment.pulled(environment.image("all:2"), as: "imported"))
      #expect(theirs.map(\.layers) == made.dropFirst().map(\.layers))
      // A step on imported layers sees their files, and makes one of Windows' again.
      let more = try await context_(environment, dockerfile.replacing("tree\\ app/", with: "tree/ app/") + "\nCOPY --from=base-windows \\copied\\cmd.exe \\twice.exe\n")
      let longer = try await build(environment, ["--platform", "windows(10.0.17763)/amd64", "-t", environment.image("all:3"), "--push", "--cache-from", "type=registry,ref=\(cache)"], more, root: Tool(binary: other.binary, root: environment.scratch + "/third"))
      #expect(longer.succeeded, "\(longer.everything)")
      let last = try #require(try images(try await environment.pulled(environment.image("all:3"), as: "longer")).first?.layers.last)
      #expect(try entries(last).map(\.entry.path.text) == ["Hives", "Files", "Files/twice.exe"])
      // Archives both ways, and an error where nothing of it can run.
      let archive = environment.scratch + "/all.tar"
      #expect(try await environment.tool.run("save", "-o", archive, name).succeeded)
      let loaded = try await other.run("load", "-i", archive)
      #expect(loaded.succeeded, "\(loaded.everything)")
      let run = try await environment.tool.run("run", "--platform", "windows/amd64", name, "cmd")
      #expect(run.code == 125 && run.errorText.contains("this machine runs linux programs only"), "\(run.everything)")
    }
  }

  private func context_(_ environment: Environment, _ dockerfile: String) async throws -> String { try await context(environment, "more", dockerfile: dockerfile) }

  @Test(.timeLimit(.minutes(10))) func otherOutputs() async throws {
    try await withEnvironment { environment in
      let dockerfile = "# escape=`\nARG BASE\nFROM $BASE\nWORKDIR C:\\app\nCOPY tree\\deep\\ .\\\nCOPY tree\\app.exe C:\\Users\\Public\\\nUSER ContainerUser\n"
      let context = try await context(environment, "context", dockerfile: dockerfile), out = environment.scratch + "/out"
      let archive = environment.scratch + "/docker.tar", tar = environment.scratch + "/files.tar"
      let output = try await build(
        environment,
        ["--platform", "windows(10.0.20348)/amd64", "-o", "type=local,dest=\(out)", "-o", "type=tar,dest=\(tar)", "-o", "type=docker,name=win:1,dest=\(archive)", "-o", "type=image,name=\(environment.image("z:1")),push=true,compression=zstd,force-compression=true"], context)
      #expect(output.succeeded, "\(output.everything)")
      // The files alone, as BuildKit on Linux gives them.
      for path in ["app/größe.txt", "Users/Public/app.exe", "Users/Public/new.txt", "Windows/System32/hard.exe", "License.txt"] { #expect(Files.exists("\(out)/\(path)"), "\(path)") }
      for path in ["Files", "Hives", "UtilityVM", "Users/Public/old.txt"] { #expect(!Files.exists("\(out)/\(path)"), "\(path)") }
      let listed = try await checked("tar", ["-tf", tar]).outputText
      #expect(listed.contains("Users/Public/app.exe\n") && !listed.contains("Hives"))
      let loaded = try await environment.tool.run("load", "-i", archive)
      #expect(loaded.succeeded, "\(loaded.everything)")
      let inspected = try await environment.tool.run("image", "inspect", "-f", "{{.Os}} {{.OsVersion}} {{.Config.User}} {{.Config.WorkingDir}}", "win:1")
      #expect(inspected.outputText == "windows 10.0.20348 ContainerUser \\app\n", "\(inspected.everything)")
      let packed = try images(try await environment.pulled(environment.image("z:1")))
      #expect(try packed.first.map { try $0.layers.map { try entries($0).first?.entry.path.text } } == ["Files/", "Hives/", "Hives", "Hives", "Hives"])
      let verified = try await environment.tool.run("verify", environment.image("z:1"))
      #expect((verified.code ?? 9) <= 1 && !verified.outputText.contains("error:"), "\(verified.everything)")
      // The other version, from the same store.
      let names = try await environment.tool.run(["build", "--progress", "plain", "-o", "type=local,dest=\(out)2", "--build-arg", "BASE=\(base(environment))", "--platform", "windows(10.0.17763)/amd64", context])
      #expect(names.succeeded && Files.exists("\(out)2/app/größe.txt"), "\(names.everything)")
    }
  }

  @Test(.timeLimit(.minutes(10))) func runIsRefusedBeforeAnythingRuns() async throws {
    try await withEnvironment { environment in
      let linux = try await environment.base(["linux/amd64"])
      let dockerfile = "ARG BASE\nFROM --platform=$BUILDPLATFORM \(linux) AS first\nRUN echo never\nFROM $BASE\nCOPY --from=first /etc /etc\nRUN dir\n"
      let context = try environment.context("context", ["Dockerfile": dockerfile])
      let output = try await build(environment, ["--platform", "windows(10.0.17763)/amd64"], context)
      #expect(output.code == 1, "\(output.everything)")
      for text in ["Dockerfile:6", "RUN for windows(10.0.17763)/amd64 needs a Windows machine", "BuildKit on Windows"] { #expect(output.errorText.contains(text), "\(output.everything)") }
      #expect(!output.errorText.contains("never\n#"), "\(output.everything)")
      let wrong = try await build(environment, ["--platform", "windows/amd64:10.0.17763"], context)
      #expect(wrong.code == 2 && wrong.errorText.contains("windows(10.0.20348)/amd64"), "\(wrong.everything)")
      let none = try await build(environment, ["--platform", "windows(10.0.14393)/amd64"], context)
      #expect(none.code == 3 && none.errorText.contains("has no image for") && none.errorText.contains("windows(10.0.17763.5329)/amd64"), "\(none.everything)")
    }
  }
}
