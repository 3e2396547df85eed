import HostOS
import OCIModel
import Testing

/// The options of `manifold build`, as a person types them.
@Suite(.enabled(if: Tool.builds)) struct OptionTests {
  @Test(.timeLimit(.minutes(2))) func whatStepsSee() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context(
        "see",
        [
          "Dockerfile": """
            ARG GLOBAL=from-file
            FROM \(base) AS first
            ARG GLOBAL
            ARG HANDED
            RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=VARIABLE \\
              echo "$GLOBAL/$HANDED/$(cat /run/secrets/file)/$VARIABLE"; cat /etc/hosts; echo "shm $(df -k /dev/shm | tail -n 1)"; \\
              echo "files $(ulimit -Sn):$(ulimit -Hn)"; echo "net $(echo /sys/class/net/*)"
            FROM scratch
            """, "secret.txt": "first-secret",
        ])
      let run = "RUN --mount=type=secret"
      let build = ["--target", "first", "--build-arg", "HANDED"]
      let full = try await environment.build(
        context,
        build + [
          "--build-arg", "GLOBAL=from-command", "--secret", "id=file,src=\(context)/secret.txt", "--secret", "id=variable,env=SECOND", "--add-host", "one:1.2.3.4",
          "--add-host", "two=::2", "--shm-size", "3m", "--ulimit", "nofile=100:200", "--network", "host",
        ], environment: ["HANDED": "by-environment", "SECOND": "second-secret"])
      try #require(full.succeeded, "\(full.everything)")
      let log = full.steps.log(run)
      #expect(log.contains("from-command/by-environment/first-secret/second-secret"), "\(full.everything)")
      #expect(log.contains("1.2.3.4\tone") && log.contains("::2\ttwo"), "\(log)")
      #expect(log.contains { $0.hasPrefix("shm ") && $0.contains(" 3072 ") }, "\(log)")
      #expect(log.contains("files 100:200"), "\(log)")
      let none = try await environment.build(context, build + ["--network", "none"])
      // What it says of the missing file comes by another stream, in either order.
      #expect(none.steps.log(run).contains("from-file///"), "\(none.everything)")
      #expect(none.steps.log(run).contains("net /sys/class/net/lo"), "\(none.everything)")

      let missing = try environment.context("missing", ["Dockerfile": "FROM \(base)\nRUN --mount=type=secret,id=needed,required=true true\n"])
      let required = try await environment.build(missing)
      #expect(required.code == 2 && required.errorText.contains("--secret id=needed,src=FILE") && required.errorText.contains("Dockerfile:2"), "\(required.everything)")
      let unset = try await environment.build(missing, ["--secret", "id=needed,env=NOT_SET"])
      #expect(unset.code == 2 && unset.errorText.contains("the variable NOT_SET is not set"), "\(unset.everything)")
      let absent = try await environment.build(missing, ["--secret", "id=needed,src=/nonexistent"])
      #expect(absent.code == 2 && absent.errorText.contains("/nonexistent"), "\(absent.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func filesAndNames() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("c", ["Other.Dockerfile": "FROM \(base)\nRUN echo inside\n", "data": "d"])
      let outside = try environment.context("elsewhere", ["My.Dockerfile": "FROM \(base)\nCOPY data /data\nLABEL own=1\n"]) + "/My.Dockerfile"
      let id = environment.scratch + "/id", metadata = environment.scratch + "/metadata.json"
      let quiet = try await environment.tool.run([
        "build", "-q", "-f", outside, "-t", "named", "--label", "a=b", "--label", "c=d e", "--iidfile", id, "--metadata-file", metadata, "--provenance=false",
        "--sbom=false", context,
      ])
      try #require(quiet.succeeded, "\(quiet.everything)")
      #expect(quiet.errorText.isEmpty, "\(quiet.errorText)")
      let digest = try #require(Files.text(id))
      #expect(quiet.outputText == digest + "\n" && Digest(digest) != nil)
      let json = try JSONValue(parsing: try #require(Files.text(metadata)))
      #expect(json["containerimage.config.digest"]?.stringValue == digest && json["image.name"]?.stringValue == "named", "\(json)")

      let archive = environment.scratch + "/labels.tar"
      let labelled = try await environment.tool.run(["build", "-q", "-f", outside, "--label", "a=b", "-o", "type=oci,dest=\(archive)", context])
      try #require(labelled.succeeded, "\(labelled.everything)")
      let labels = try await checked("skopeo", ["inspect", "--format", "{{.Labels}}", "oci-archive:\(archive)"]).outputText
      #expect(labels.contains("a:b") && labels.contains("own:1"), "\(labels)")

      // The Dockerfile inside the context by its name, and from standard input.
      let inside = try await environment.tool.run(["build", "-q", "-f", "Other.Dockerfile", "-t", "x", "."], in: context)
      #expect(inside.succeeded, "\(inside.everything)")
      let stdin = try await environment.build(context, ["-f", "-", "-t", "x"], input: Array("FROM \(base)\nCOPY data /from-stdin\n".utf8))
      #expect(stdin.succeeded && stdin.steps["COPY data /from-stdin"] == "DONE", "\(stdin.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func outputs() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("c", ["Dockerfile": "FROM \(base) AS b\nRUN uname -m > /machine\nFROM scratch\nCOPY --from=b /machine /\n"])
      let out = environment.scratch + "/out"
      let names = [environment.image("many:1"), environment.image("other/name:2")]
      let again = try await environment.tool.run(
        ["build", "-q", "--platform", "linux/amd64,linux/arm64"] + names.flatMap { ["-t", $0] } + [
          "--push", "-o", "\(out)/plain", "-o", "type=local,dest=\(out)/local", "-o", "type=oci,dest=\(out)/oci.tar", "-o",
          "type=oci,dest=\(out)/layout,tar=false", "-o", "type=tar,dest=\(out)/files.tar", context,
        ])
      try #require(again.succeeded, "\(again.everything)")
      for folder in ["plain", "local"] {
        #expect(Files.text("\(out)/\(folder)/linux_amd64/machine") == "x86_64\n" && Files.text("\(out)/\(folder)/linux_arm64/machine") == "aarch64\n")
      }
      let digest = again.outputText.trimmingNewline
      for name in names { #expect(try await Digest.sha256(of: environment.raw(name)).description == digest) }
      for transport in ["oci-archive:\(out)/oci.tar:1", "oci:\(out)/layout:2"] {
        let raw = try await checked("skopeo", ["inspect", "--raw", transport]).output
        #expect(Digest.sha256(of: raw).description == digest, "\(transport)")
      }
      let listed = try await checked("tar", ["tf", "\(out)/files.tar"]).outputText
      #expect(listed.contains("linux_amd64/machine") && listed.contains("linux_arm64/machine"))

      // One platform needs no folders; - is standard output.
      let tar = try await environment.tool.run("build", "--progress=plain", "-o", "-", context)
      try #require(tar.succeeded, "\(tar.errorText)")
      try Files.writeAtomically(tar.output, to: "\(out)/stdout.tar", durable: false)
      #expect(try await checked("tar", ["xOf", "\(out)/stdout.tar", "machine"]).outputText == Host.machine + "\n")
      let image = try await environment.tool.run("build", "--progress=plain", "-o", "type=oci", context)
      #expect(image.succeeded && image.output.count > 1000, "\(image.errorText)")

      let push = try await environment.build(context, ["--push"])
      #expect(push.code == 2 && push.errorText.contains("-t"), "\(push.everything)")
      let unknown = try await environment.build(context, ["-o", "type=odd"])
      #expect(unknown.code == 2 && unknown.errorText.contains("registry, oci"), "\(unknown.everything)")
      let nothing = try await environment.build(context)
      #expect(nothing.succeeded && nothing.errorText.contains("WARNING: No output specified"), "\(nothing.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func environmentAndRoots() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("c", ["Dockerfile": "FROM \(base)\nARG TARGETPLATFORM\nRUN echo for $TARGETPLATFORM\n"])
      let run = "RUN echo for"
      #expect(try await environment.build(context, environment: ["DOCKER_DEFAULT_PLATFORM": Host.other]).steps.log(run) == ["for \(Host.other)"])
      #expect(try await environment.build(context, ["--platform", "local"], environment: ["DOCKER_DEFAULT_PLATFORM": Host.other]).steps.log(run) == ["for \(Host.platform)"])

      let quiet = try await environment.tool.run(["build", "-t", "x", context], environment: ["BUILDKIT_PROGRESS": "quiet"])
      #expect(quiet.succeeded && quiet.errorText.isEmpty, "\(quiet.everything)")
      let raw = try await environment.tool.run(["build", "-t", "x", context], environment: ["BUILDKIT_PROGRESS": "rawjson"])
      let lines = (raw.outputText + raw.errorText).split(separator: "\n")
      #expect(!lines.isEmpty && lines.allSatisfy { (try? JSONValue(parsing: String($0)))?.objectValue != nil }, "\(raw.everything)")
      let odd = try await environment.tool.run(["build", "-t", "x", context], environment: ["BUILDKIT_PROGRESS": "odd"])
      #expect(odd.code == 2 && odd.errorText.contains("rawjson"), "\(odd.everything)")

      // The store before and after the verb.
      let other = environment.scratch + "/other-root"
      #expect(try await environment.tool.run(["--root", other, "build", "-q", "-t", "elsewhere", context]).succeeded)
      for arguments in [["images", "--root", other], ["--root=\(other)", "images"]] {
        #expect(try await environment.tool.run(arguments).outputText.contains("elsewhere"))
      }
      #expect(try await environment.tool.run(["images"], environment: ["MANIFOLD_ROOT": other]).outputText.contains("elsewhere"))
      #expect(try await !environment.tool.run("images").outputText.contains("elsewhere"))
      #expect(try await environment.tool.run("--debug", "images").succeeded)
      #expect(try await environment.tool.run("images", "--debug").succeeded)
    }
  }
}

extension String {
  var trimmingNewline: String { hasSuffix("\n") ? String(dropLast()) : self }
}
