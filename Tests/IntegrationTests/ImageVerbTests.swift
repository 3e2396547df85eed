import Foundation
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// pull, push, tag, images, image inspect, history, rmi, image prune on a real registry.
@Suite(.serialized, .enabled(if: Tool.builds)) struct ImageVerbTests {
  private func digest(_ environment: Environment, _ name: String) async throws -> String { Digest.sha256(of: try await environment.raw(name)).description }

  @Test(.timeLimit(.minutes(5))) func pullTagPush() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool
      let whole = try await digest(environment, base)
      let first = try await tool.run("pull", "--platform", "linux/amd64", base)
      #expect(first.outputText == "Digest: \(whole)\nStatus: Downloaded newer image for \(base)\n\(base)\n", "\(first.everything)")
      #expect(first.errorText.contains("note: \(base) is here for linux/amd64"))
      let again = try await tool.run("pull", "--platform=linux/amd64", base)
      #expect(again.outputText == "Digest: \(whole)\nStatus: Image is up to date for \(base)\n\(base)\n", "\(again.everything)")
      #expect(try await tool.run("pull", "-q", "--platform=linux/amd64", base).outputText == "\(base)\n")
      #expect(try await tool.run(["pull", "--progress=none", environment.image("base")]).outputText.hasPrefix("Using default tag: latest\nDigest: "))

      let lacking = try await tool.run("pull", "--platform=linux/arm/v6", base)
      #expect(lacking.code == 3 && lacking.errorText.contains("\(base) has no image for linux/arm/v6\nIt has linux/arm/v7, linux/amd64, linux/arm64. The nearest is linux/arm/v7."), "\(lacking.everything)")
      let nothing = try await tool.run("pull", environment.image("nothing:1"))
      #expect(nothing.code == 3 && nothing.outputText.isEmpty, "\(nothing.everything)")

      // What is here of it, and what not.
      let tree = try await tool.run("images", "--tree").outputText.split(separator: "\n")
      #expect(tree.count == 5 && tree[1].contains(base) && tree[2].hasPrefix("├─ linux/amd64") && tree[3].contains("not here") && tree[4].hasPrefix("└─ linux/arm/v7"), "\(tree)")
      #expect(try await tool.run("images", "--format", "{{.Platforms}}").outputText == "linux/amd64\n")
      #expect(try await tool.run("store", "verify").succeeded)

      // Push of a part says so, and what it pushes is whole; tags are set in any repository.
      let other = environment.image("other/app:1")
      #expect(try await tool.run("tag", base, other).succeeded)
      let part = try await tool.run("push", other)
      #expect(part.succeeded && part.outputText.hasPrefix("The push refers to repository [\(environment.image("other/app"))]\n1: digest: sha256:"), "\(part.everything)")
      #expect(part.errorText.contains("it is not here for linux/arm64, linux/arm/v7"), "\(part.everything)")
      _ = try await environment.pulled(other, as: "part")
      // Blobs are mounted from where they came from.
      #expect(environment.registry.requests("mount=").count > 0)
      #expect(try await tool.run("pull", "-q", "--all-platforms", base).succeeded)
      let all = try await tool.run("push", "-q", other)
      #expect(all.outputText == "\(other)\n" && all.succeeded, "\(all.everything)")
      #expect(try await digest(environment, other) == whole)
      _ = try await environment.pulled(other, as: "whole")

      #expect(try await tool.run("tag", other, environment.image("other/app:2")).succeeded)
      let tags = try await tool.run("push", "-a", environment.image("other/app"))
      #expect(tags.outputText.contains("\n1: digest: \(whole)") && tags.outputText.contains("\n2: digest: \(whole)"), "\(tags.everything)")
      let one = try await tool.run("push", "--platform=linux/arm64", environment.image("other/app:2"))
      #expect(one.succeeded)
      let manifest = try JSONValue(parsing: try await environment.raw(environment.image("other/app:2")))
      #expect(manifest["layers"] != nil)
      let unknown = try await tool.run("push", environment.image("other/app:9"))
      #expect(unknown.code == 2 && unknown.errorText.contains("An image does not exist locally with the tag: "), "\(unknown.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5))) func aDigestWorksWhereATagDoes() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool
      let name = "\(environment.image("base"))@\(try await digest(environment, base))"
      let pulled = try await tool.run("pull", "--platform=linux/amd64", name)
      #expect(pulled.succeeded && pulled.outputText.hasSuffix("\n\(name)\n"), "\(pulled.everything)")
      let row = try await tool.run("images", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
      #expect(row.outputText == "\(environment.image("base")) <none> \(name.split(separator: "@")[1])\n", "\(row.everything)")
      #expect(try await tool.run("run", "--rm", name, "echo", "hi").outputText == "hi\n")
      #expect(try await tool.run("image", "inspect", "-f", "{{.RepoDigests}} {{.RepoTags}}", name).outputText == "[\(name)] []\n")
      #expect(try await tool.run("history", "-q", name).outputText.split(separator: "\n").count > 0)
      #expect(try await tool.run("save", "-o", environment.scratch + "/d.tar", name).succeeded)
      #expect(try await tool.run("tag", name, "mine:1").succeeded)
      let push = try await tool.run("push", environment.image("base@" + name.split(separator: "@")[1]))
      #expect(push.code == 2 && push.errorText.contains("cannot push a digest reference"), "\(push.everything)")
      let removed = try await tool.run("rmi", name)
      #expect(removed.outputText == "Untagged: \(name)\n", "\(removed.everything)")
      let id = try await tool.run("images", "-q", "mine").outputText.trimmingCharacters(in: .whitespacesAndNewlines)
      let last = try await tool.run("rmi", id)
      #expect(last.outputText.hasPrefix("Untagged: mine:1\nDeleted: sha256:\(id)"), "\(last.everything)")
      let gone = try await tool.run("rmi", id)
      #expect(gone.code == 2 && gone.errorText.contains("No such image: \(id)"), "\(gone.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5))) func whatIsSaidOfAnImage() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try environment.context("said", ["Dockerfile": "FROM \(base)\nLABEL of=me\nENV A=1\nCOPY Dockerfile /d\nENTRYPOINT [\"/bin/sh\"]\n"])
      #expect(try await environment.build(context, ["--provenance=false", "-t", "said:1"]).succeeded)
      let inspected = try await tool.run("image", "inspect", "said:1")
      let document = try #require(try JSONValue(parsing: inspected.outputText).arrayValue?.first, "\(inspected.everything)")
      #expect(document.objectValue?.keys.filter { $0 != "Comment" } == ["Id", "RepoTags", "RepoDigests", "Created", "Config", "Architecture", "Os", "Size", "RootFS", "Metadata", "Descriptor", "Platforms"])
      #expect(document["Config"]?["Labels"] == ["of": "me"] && document["Config"]?["Entrypoint"] == ["/bin/sh"] && document["RepoTags"] == ["said:1"])
      #expect(inspected.outputText.hasPrefix("[\n    {\n        \"Id\": \"sha256:"))
      func value(_ format: String) async throws -> String { try await tool.run("image", "inspect", "-f", format, "said:1").outputText }
      #expect(try await value("{{.Architecture}}/{{.Os}} {{.Config.Cmd}} {{.Config.Volumes}} {{.ID}}") == "amd64/linux [] map[] \(document["Id"]?.stringValue ?? "")\n")
      #expect(try await value("{{json .Config.Env}} {{index .Config.Labels \"of\"}} {{len .RootFS.Layers}}").hasSuffix("\"A=1\"] me 2\n"))
      let missing = try await tool.run("image", "inspect", "said:1", "said:2")
      #expect(missing.code == 2 && missing.outputText.hasPrefix("[\n    {") && missing.errorText.contains("No such image: said:2"), "\(missing.everything)")
      #expect(try await tool.run("image", "inspect", "said:2").outputText == "[]\n")

      let history = try await tool.run("history", "--format", "{{.ID}}|{{.CreatedBy}}|{{.Size}}", "--no-trunc", "said:1").outputText.split(separator: "\n")
      #expect(history.count >= 5 && history[0] == "\(document["Id"]?.stringValue ?? "")|ENTRYPOINT [\"/bin/sh\"]|0B" && history[1].hasPrefix("<missing>|COPY Dockerfile /d # buildkit|"), "\(history)")
      #expect(try await tool.run("history", "said:1").outputText.hasPrefix("IMAGE          CREATED "))

      #expect(try await tool.run("tag", "said:1", "other/said:2").succeeded)
      for (filter, found) in [("reference=said", "said"), ("reference=other/*:2", "other/said"), ("label=of=me", "said\nother/said"), ("label=no", ""), ("dangling=true", ""), ("reference=*", "said")] {
        let output = try await tool.run("images", "--filter", filter, "--format", "{{.Repository}}")
        #expect(Set(output.outputText.split(separator: "\n")) == Set(found.split(separator: "\n")), "\(filter): \(output.everything)")
      }
      let several = try await tool.run("rmi", String(document["Id"]?.stringValue?.dropFirst(7).prefix(12) ?? ""))
      #expect(several.code == 2 && several.errorText.contains("must be forced"), "\(several.everything)")
      let pruned = try await tool.run("image", "prune", "-a", "-f")
      #expect(pruned.outputText.hasPrefix("Deleted Images:\nuntagged: ") && pruned.outputText.contains("\nTotal reclaimed space: "), "\(pruned.everything)")
      #expect(try await tool.run("images", "-q").outputText.isEmpty)
    }
  }

  /// `alias docker=manifold`, as scripts spell it.
  @Test(.timeLimit(.minutes(5))) func dockersSpellings() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try environment.context("spelt", ["Dockerfile": "FROM \(base)\nRUN echo hi > /hi\n"])
      #expect(try await tool.run("buildx", "build", "--load", "--progress=plain", "-t", "spelt", context).succeeded)
      #expect(try await tool.run("--log-level=warn", "container", "run", "--rm", "spelt", "cat", "/hi").outputText == "hi\n")
      #expect(try await tool.run("image", "tag", "spelt", environment.image("spelt:1")).succeeded)
      #expect(try await tool.run("image", "push", "-q", environment.image("spelt:1")).outputText == environment.image("spelt:1") + "\n")
      #expect(try await tool.run("image", "ls", "-q", "spelt").outputText.count == 13)
      #expect(try await tool.run("image", "rm", "spelt").succeeded)
      #expect(try await tool.run("image", "pull", "-q", environment.image("spelt:1")).succeeded)
      #expect(try await tool.run("info", "-f", "{{.OSType}} {{.DockerRootDir}}").outputText == "linux \(tool.root)\n")
      #expect(try await tool.run("version", "--format", "{{.Server.Version}}").outputText.split(separator: ".").count == 3)
      #expect(try await tool.run("system", "df", "--format", "{{.Type}}").outputText == "Images\nContainers\nLocal Volumes\nBuild Cache\n")
      let refused = try await tool.run("buildx", "bake")
      #expect(refused.code == 2 && refused.errorText.contains("manifold buildx bake: not yet supported"), "\(refused.everything)")
    }
  }

  /// A pull that is killed has named nothing; the next one goes on.
  @Test(.timeLimit(.minutes(5))) func aKilledPull() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64"]), tool = environment.tool
      let context = try environment.context("large", ["Dockerfile": "FROM \(base)\nRUN head -c 30000000 /dev/urandom > /big\n"])
      let name = environment.image("large:1")
      #expect(try await environment.build(context, ["--provenance=false", "--push", "-t", name]).succeeded)
      let other = Tool(binary: tool.binary, root: environment.scratch + "/other")
      for signal in [SIGKILL, SIGINT] {
        let child = try other.start(["pull", "--progress=plain", name], output: environment.scratch + "/out-\(signal)")
        // Whether it is at its beginning, in the middle or done already: nothing is named in part.
        _ = try await child.says("downloading")
        child.kill(signal)
        let status = child.wait()
        let images = try await other.run("images", "-q")
        if status != 0 { #expect(images.outputText.isEmpty, "\(child.output)\n\(images.everything)") }
        let verify = try await other.run("store", "verify")
        #expect(verify.succeeded, "\(verify.everything)")
      }
      #expect(try await other.run("pull", name).succeeded)
      #expect(try await other.run("run", "--rm", name, "stat", "-c", "%s", "/big").outputText == "30000000\n")
    }
  }
}
