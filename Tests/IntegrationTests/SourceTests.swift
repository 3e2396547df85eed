import Foundation
import HostOS
import OCIModel
import Testing

/// Build contexts of every kind, as a person names them: from git, from the web, from standard input, and those with names.
@Suite struct SourceTests {
  /// Serves `root`: repositories by git http-backend, all else as files.
  private func withServer(_ root: String, _ tool: Tool, _ body: (_ address: String) async throws -> Void) async throws {
    try Files.makeDirectories(root + "/files")
    let program = GitTests.server.replacing(
      "    path, _, query = self.path.partition('?')\n",
      with: """
            path, _, query = self.path.partition('?')
            if path.startswith('/files/'):
              try: data = open(sys.argv[1] + path, 'rb').read()
              except OSError: self.send_response(404); self.end_headers(); return
              self.send_response(200); self.send_header('Content-Length', str(len(data)))
              if 'modified' in query: self.send_header('Last-Modified', 'Tue, 14 Nov 2023 22:13:21 GMT')
              self.end_headers(); self.wfile.write(data); return

        """)
    try Files.writeAtomically(Array(program.utf8), to: root + "/server.py")
    let server = try Child("python3", [root + "/server.py", root], environment: tool.environment(), outputPath: root + "/server.log")
    defer {
      server.kill(SIGTERM)
      server.wait()
    }
    for _ in 0..<600 where !Files.exists(root + "/port") { try await Task.sleep(for: .milliseconds(100)) }
    try await body("http://127.0.0.1:\(try #require(Files.text(root + "/port")))")
  }

  private func lines(_ path: String) -> [String] { (Files.text(path) ?? "").split(separator: "\n").map(String.init) }

  @Test(.timeLimit(.minutes(5))) func fromGit() async throws {
    guard Processes.executablePath("python3") != nil, Processes.executablePath("git") != nil else { return print("SKIPPED: python3 and git are needed to serve a repository") }
    try await withEnvironment { environment in
      let root = environment.scratch + "/git", tool = environment.tool
      try Files.makeDirectories(root)
      let script =
        GitTests.repository.replacing("mkdir -p sub/deep;", with: #"mkdir -p sub/deep; printf 'FROM scratch\nCOPY . /\n' > Dockerfile; printf 'FROM scratch\nCOPY x /lower\n' > sub/deep/dockerfile; echo file > .dockerignore;"#)
      let made = try await Processes.run("sh", ["-c", script], workingDirectory: root)
      try #require(made.succeeded, "\(made.everything)")
      let hashes = made.outputText.split(separator: "\n").map(String.init)
      try await withServer(root, tool) { at in
        func build(_ words: [String], to name: String = "out") async throws -> (ProcessOutput, String) {
          let directory = environment.scratch + "/" + name
          if Files.exists(directory) { try Files.removeTree(directory) }
          return (try await tool.run(["build", "--progress=plain", "-o", directory] + words), directory)
        }
        let (main, files) = try await build(["\(at)/work.git"])
        #expect(main.succeeded && main.everything.contains("[internal] load git source \(at)/work.git"), "\(main.everything)")
        // What is fetched is taken whole, whatever .dockerignore says.
        #expect(Files.text(files + "/file") == "two\n" && Files.text(files + "/part/part.txt") == "part\n" && !Files.exists(files + "/.git"))
        let (old, oldFiles) = try await build(["\(at)/work.git#old"])
        #expect(old.succeeded && Files.text(oldFiles + "/file") == "one\n")
        let (sub, subFiles) = try await build(["\(at)/work.git?branch=main&subdir=sub/deep"])
        #expect(sub.succeeded && Files.text(subFiles + "/lower") == "deep\n", "\(sub.everything)")
        let (kept, keptFiles) = try await build(["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", "\(at)/work.git#v1"])
        #expect(kept.succeeded && Files.exists(keptFiles + "/.git/HEAD"), "\(kept.everything)")
        // The Dockerfile from here, the context from there.
        let own = try environment.context("own", ["Dockerfile": "FROM scratch\nCOPY sub/deep/x /own\n"])
        let (mixed, mixedFiles) = try await build(["-f", own + "/Dockerfile", "\(at)/work.git"])
        #expect(mixed.succeeded && Files.text(mixedFiles + "/own") == "deep\n", "\(mixed.everything)")
        let piped = try await tool.run(["build", "-f", "-", "-o", environment.scratch + "/piped", "\(at)/work.git"], input: Array("FROM scratch\nCOPY run /piped\n".utf8))
        #expect(piped.succeeded && Files.exists(environment.scratch + "/piped/piped"), "\(piped.everything)")
        // What is missing is said, with what there is.
        let (absent, _) = try await build(["-f", "nothing", "\(at)/work.git#:sub"])
        #expect(absent.code == 2 && absent.errorText.contains("open nothing") && absent.errorText.contains("deep/"), "\(absent.everything)")
        let (locked, _) = try await build(["\(at)/private/work.git"])
        #expect(locked.code == 1 && locked.errorText.contains("GIT_AUTH_TOKEN"), "\(locked.everything)")
        let token = try environment.context("token", ["t": "t0ken"])
        let (open, _) = try await build(["--secret", "id=GIT_AUTH_TOKEN,src=\(token)/t", "\(at)/private/work.git"])
        #expect(open.succeeded && !open.everything.contains("t0ken"), "\(open.everything)")
        // Its time, and what is recorded of it.
        let metadata = environment.scratch + "/metadata.json"
        let timed = try await tool.run(
          ["build", "--build-arg", "SOURCE_DATE_EPOCH=context", "--provenance=mode=max", "-t", "timed", "--metadata-file", metadata, "\(at)/work.git#main:"], environment: ["BUILDX_METADATA_PROVENANCE": "max"])
        #expect(timed.succeeded, "\(timed.everything)")
        #expect(try await tool.run("image", "inspect", "-f", "{{.Created}}", "timed").outputText.hasPrefix("2023-11-14T22:13:20"))
        let record = try JSONValue(parsing: Array((Files.text(metadata) ?? "").utf8))["buildx.build.provenance"]
        #expect(record?["invocation"]?["configSource"]?["digest"]?["sha1"]?.stringValue == hashes[0], "\(record.map { $0.encodedString() } ?? "none")")
        #expect(record?["materials"]?.arrayValue?.contains { $0["uri"]?.stringValue == "\(at)/work.git#main" } == true)
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func fromTheWebAndStandardInput() async throws {
    guard Processes.executablePath("python3") != nil else { return print("SKIPPED: python3 is needed to serve files") }
    try await withEnvironment { environment in
      let root = environment.scratch + "/web", tool = environment.tool, out = environment.scratch + "/out"
      try await withServer(root, tool) { at in
        let source = try environment.context("source", ["Dockerfile": "FROM scratch\nCOPY a /b\n", "other/Dockerfile": "FROM scratch\nCOPY a /c\n", "a": "content\n"])
        try await checked("sh", ["-c", "cd \(source) && tar cf ../plain.tar . && gzip -k ../plain.tar && bzip2 -k ../plain.tar && xz -k ../plain.tar && zstd -q ../plain.tar && cp ../plain.tar* \(root)/files/ && cp other/Dockerfile \(root)/files/"])
        func build(_ words: [String], _ input: String? = nil) async throws -> ProcessOutput {
          if Files.exists(out) { try Files.removeTree(out) }
          let bytes = try input.map { [UInt8](try Data(contentsOf: URL(fileURLWithPath: $0))) }
          return try await tool.run(["build", "--progress=plain", "-o", out] + words, input: bytes ?? [])
        }
        for ending in ["", ".gz", ".bz2", ".xz", ".zst"] {
          let fetched = try await build(["\(at)/files/plain.tar\(ending)"])
          #expect(fetched.succeeded && Files.text(out + "/b") == "content\n" && fetched.everything.contains("[internal] load remote build context"), "\(ending): \(fetched.everything)")
          let piped = try await build(["-"], environment.scratch + "/plain.tar" + ending)
          #expect(piped.succeeded && Files.text(out + "/b") == "content\n", "\(ending): \(piped.everything)")
        }
        let within = try await build(["-f", "other/Dockerfile", "-"], environment.scratch + "/plain.tar.gz")
        #expect(within.succeeded && Files.text(out + "/c") == "content\n", "\(within.everything)")
        let again = try await build(["-"], environment.scratch + "/plain.tar")
        #expect(again.succeeded && again.everything.contains("CACHED"), "\(again.everything)")
        // A Dockerfile alone: by its address, and from standard input.
        try Files.writeAtomically(Array("FROM scratch\nADD \(at)/files/Dockerfile /d\n".utf8), to: root + "/files/alone")
        let alone = try await build(["\(at)/files/alone"])
        #expect(alone.succeeded && Files.exists(out + "/d"), "\(alone.everything)")
        let text = try await build(["-"], root + "/files/alone")
        #expect(text.succeeded && Files.exists(out + "/d"), "\(text.everything)")
        let named = try await build(["-f", "\(at)/files/Dockerfile", source])
        #expect(named.succeeded && Files.text(out + "/c") == "content\n" && named.everything.contains("[internal] load \(at)/files/Dockerfile"), "\(named.everything)")
        // A folder's Dockerfile.dockerignore counts wherever the Dockerfile lies; .dockerignore where it has none.
        let elsewhere = try environment.context("elsewhere", ["App": "FROM scratch\nCOPY . /\n", "App.dockerignore": "other\n"])
        #expect(try await build(["-f", elsewhere + "/App", source]).succeeded && !Files.exists(out + "/other") && Files.exists(out + "/a"))
        // Times: of the server's word, else of the newest file.
        for (query, time) in [("?modified", "2023-11-14T22:13:21"), ("", "2001-09-09T01:46:40")] {
          try await checked("sh", ["-c", "cd \(source) && find . -exec touch -h -d @1000000000 {} + && tar cf \(root)/files/timed.tar ."])
          let timed = try await tool.run("build", "--build-arg", "SOURCE_DATE_EPOCH=context", "-t", "timed", "\(at)/files/timed.tar\(query)")
          #expect(timed.succeeded, "\(timed.everything)")
          #expect(try await tool.run("image", "inspect", "-f", "{{.Created}}", "timed").outputText.hasPrefix(time))
        }
        // Mistakes.
        #expect(try await build(["-f", "App", "-"], root + "/files/alone").errorText.contains("ambiguous Dockerfile source"))
        #expect(try await build(["-"]).errorText.contains("standard input is empty"))
        let gone = try await build(["\(at)/files/none.tar"])
        #expect(gone.code == 1 && gone.errorText.contains("404"), "\(gone.everything)")
        let hostile = environment.scratch + "/hostile.tar"
        try await checked("python3", ["-c", "import tarfile,io,sys\nt=tarfile.open(sys.argv[1],'w')\nfor n in ['Dockerfile','../../../../\(environment.scratch)/escaped']:\n  i=tarfile.TarInfo(n); d=b'FROM scratch\\nCOPY . /\\n'; i.size=len(d); t.addfile(i,io.BytesIO(d))\nt.close()", hostile])
        _ = try await build(["-"], hostile)
        #expect(!Files.exists(environment.scratch + "/escaped"))
        let cut = environment.scratch + "/cut.tgz"
        try await checked("sh", ["-c", "head -c 100 \(environment.scratch)/plain.tar.gz > \(cut)"])
        #expect(try await build(["-"], cut).code != 0)
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func named() async throws {
    try await withEnvironment { environment in
      let tool = environment.tool, base = try await environment.base(), scratch = environment.scratch
      let library = try environment.context("library", ["Dockerfile": "FROM \(base)\nENV FROM_LIBRARY=yes\nWORKDIR /library\nRUN uname -m > machine\nONBUILD RUN echo triggered > /triggered\n"])
      let layout = scratch + "/layout"
      let both = "linux/amd64,linux/arm64"
      let made = try await tool.run(["build", "--platform", both, "-t", environment.image("library:1"), "--push", "-o", "type=oci,tar=false,dest=\(layout)", library])
      try #require(made.succeeded, "\(made.everything)")
      let assets = try environment.context("assets", ["a": "a\n", "deep/b": "b\n", "secret.log": "no\n", ".dockerignore": "*.log\n"])
      let app = try environment.context(
        "app",
        [
          "Dockerfile": """
            FROM golang:absent AS build
            RUN false
            FROM unknown/library:latest
            COPY --from=build /library/machine /from-stage
            COPY --from=assets a deep /assets/
            RUN --mount=from=assets,target=/m ls /m > /listed; echo $FROM_LIBRARY $PWD $(cat /library/machine) > /result
            """
        ])
      for source in ["oci-layout://\(layout):1", "docker-image://\(environment.image("library:1"))"] {
        let name = environment.image("app:1")
        let built = try await tool.run([
          "build", "--progress=plain", "--platform", both, "--build-context", "docker.io/unknown/library=\(source)", "--build-context", "build=\(source)", "--build-context", "assets=\(assets)", "-t", name, "--push", app,
        ])
        try #require(built.succeeded, "\(built.everything)")
        #expect(built.everything.contains("[context unknown/library] load metadata for") && built.everything.contains("[context assets] load from client"), "\(built.everything)")
        for (platform, machine) in [("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")] {
          let shown = try await tool.run("run", "--rm", "--platform", platform, name, "sh", "-c", "cat /result /from-stage /triggered; ls /assets; cat /listed")
          #expect(shown.outputText == "yes /library \(machine)\n\(machine)\ntriggered\na\nb\na\ndeep\n", "\(shown.everything)")
        }
        // Nothing of a layout is imported under a name, and what a push takes from it is whole.
        #expect(try await tool.run("images").outputText.contains("unknown/library") == false)
        let pulled = try await environment.pulled(name, as: source.hasPrefix("oci") ? "pulled-layout" : "pulled-image")
        #expect(Files.exists(pulled + "/index.json"))
      }
      // For one platform only.
      let one = try environment.context("one", ["Dockerfile": "FROM \(base)\nRUN test -e /library && echo library > /which || echo base > /which\n"])
      let name = environment.image("one:1")
      let single = try await tool.run(["build", "--platform", both, "--build-context", "\(base)::linux/arm64=oci-layout://\(layout)", "-t", name, "--push", one])
      #expect(single.succeeded, "\(single.everything)")
      for (platform, which) in [("linux/amd64", "base"), ("linux/arm64", "library")] {
        #expect(try await tool.run("run", "--rm", "--platform", platform, name, "cat", "/which").outputText == which + "\n")
      }
      // What a layout lacks is said with what it has; what is damaged is not used.
      let lacking = try await tool.run(["build", "--platform", "linux/s390x", "--build-context", "build=oci-layout://\(layout)", "--target", "build", app])
      #expect(lacking.code != 0 && lacking.errorText.contains("linux/s390x") && lacking.errorText.contains("linux/arm64"), "\(lacking.everything)")
      try await checked("sh", ["-c", "for f in \(layout)/blobs/sha256/*; do if head -c 2 $f | od -An -tx1 | grep -q '1f 8b'; then printf x >> $f; fi; done"])
      let damaged = try await Tool(binary: tool.binary, root: scratch + "/other").run(["build", "--build-context", "build=oci-layout://\(layout)", "--target", "build", "-o", scratch + "/none", app])
      #expect(damaged.code != 0 && damaged.errorText.contains("promised"), "\(damaged.everything)")
    }
  }
}
