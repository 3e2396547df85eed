import HostOS
import OCIModel
import TestSupport
import Testing

/// Networks of companies, end to end: a proxy, a private authority, a pull-through mirror, each configured, for builds and for the image verbs.
@Suite(.serialized, .enabled(if: Tool.builds)) struct NetworkTests {
  func succeeded(_ output: ProcessOutput, at location: SourceLocation = #_sourceLocation) throws { try #require(output.succeeded, "\(output.everything)", sourceLocation: location) }

  @Test(.timeLimit(.minutes(10))) func aProxyAndAPrivateAuthority() async throws {
    try await CompanyNetwork.with { network in
      let base = try await network.base(), environment = network.environment
      let config = try network.file("config/buildkitd.toml", "[registry.\"registry.test\"]\n  ca = [\"\(network.authority)\"]\n[worker.oci]\n  gc = true\n")
      let untrusted = try await network.run(["imagetools", "inspect", base])
      #expect(untrusted.status == .exited(3) && untrusted.errorText.contains("not signed by an authority"), "\(untrusted.everything)")
      try succeeded(try await network.run(["login", "--config", config, "-u", "me", "--password-stdin", "registry.test"], input: "secret\n"))

      // ADD goes by the same way out: plain HTTP forwarded to a server that only the proxy knows (a registry too answers GET /v2/).
      let context = try environment.context("context", ["Dockerfile": "FROM \(base)\nADD http://plain.test/v2/ /from-afar\nRUN test \"$(cat /from-afar)\" = '{}'\nCOPY Dockerfile /\n"])
      let build = try await network.run(["build", "--config", config, "--progress=plain", "--provenance=false", "-t", "registry.test/out:1", "--push", context])
      try succeeded(build)
      for verb in [
        ["imagetools", "inspect", "registry.test/out:1"], ["imagetools", "inspect", "--raw", base], ["imagetools", "create", "-t", "registry.test/copy:1", base],
        ["manifest", "inspect", "registry.test/out:1"], ["manifest", "create", "registry.test/list:1", "registry.test/out:1"], ["manifest", "push", "registry.test/list:1"],
        ["pull", "registry.test/copy:1"], ["tag", "registry.test/copy:1", "registry.test/again:1"], ["push", "registry.test/again:1"],
      ] {
        try succeeded(try await network.run(verb, ["MANIFOLD_CONFIG": config]))
      }
      let log = network.proxy.log
      #expect(log.contains("GET http://plain.test/v2/") && log.contains("CONNECT registry.test:443"), "\(log)")
      #expect(log.allSatisfy { $0 == "CONNECT registry.test:443" || $0 == "GET http://plain.test/v2/" }, "\(log)")
      // What others made of it.
      let raw = try await checked("skopeo", ["inspect", "--raw", "--creds", "me:secret", "--tls-verify=false", "docker://\(network.registry.host)/copy:1"]).output
      #expect(raw == (try await network.run(["imagetools", "inspect", "--raw", base], ["MANIFOLD_CONFIG": config])).output)
    }
  }

  /// The other places for an authority: certs.d, SSL_CERT_FILE, SSL_CERT_DIR, the default configuration; and none at all.
  @Test(.timeLimit(.minutes(10))) func whereAnAuthorityMayBe() async throws {
    try await CompanyNetwork.with { network in
      let base = try await network.base(), environment = network.environment, home = environment.tool.root + "-home"
      let pem = String(decoding: try Files.read(network.authority, limit: 1 << 20), as: UTF8.self)
      _ = try network.file("docker/config.json", #"{"auths":{"registry.test":{"auth":"bWU6c2VjcmV0"}}}"#)
      _ = try network.file("dir/any-name", pem)
      for more in [["SSL_CERT_FILE": network.authority], ["SSL_CERT_DIR": "/none:" + environment.scratch + "/dir"], ["SSL_CERT_FILE": "/none", "SSL_CERT_DIR": environment.scratch + "/dir"]] {
        try succeeded(try await network.run(["imagetools", "inspect", base], more))
      }
      #expect(try await network.run(["imagetools", "inspect", base], ["SSL_CERT_FILE": "/none"]).status == .exited(3))
      let folders = [home + "/.config/docker/certs.d", home + "/.docker/certs.d"]
      for folder in folders {
        try Files.makeDirectories(folder + "/registry.test")
        try Files.writeAtomically(Array(pem.utf8), to: folder + "/registry.test/ca.crt")
        try succeeded(try await network.run(["imagetools", "inspect", base]))
        try Files.removeTree(folder)
      }
      try Files.makeDirectories(home + "/.config/manifold")
      try Files.writeAtomically(Array("[registry.\"registry.test\"]\nca = [\"\(network.authority)\"]\n".utf8), to: home + "/.config/manifold/buildkitd.toml")
      try succeeded(try await network.run(["imagetools", "inspect", base]))
      // The flag beside the configuration: nothing is verified.
      let other = try network.file("other.toml", "[registry.\"registry.test\"]\nhttp = false\n")
      #expect(try await network.run(["imagetools", "inspect", "--config", other, base]).status == .exited(3))
      try succeeded(try await network.run(["imagetools", "inspect", "--config", other, "--insecure-registry", "registry.test", base]))
      try succeeded(try await network.run(["manifest", "inspect", "--config", other, "--insecure", base]))
      let mistaken = try network.file("mistaken.toml", "\n[registry.\"registry.test\"]\nmirors = []\n")
      let context = try environment.context("context", ["Dockerfile": "FROM \(base)\n"])
      for arguments in [["imagetools", "inspect", "--config", mistaken, base], ["build", "--config", mistaken, context]] {
        let wrong = try await network.run(arguments)
        #expect(wrong.status == .exited(2) && wrong.errorText.contains("mistaken.toml:3: ") && wrong.errorText.contains("did you mean mirrors?"), "\(wrong.everything)")
      }
    }
  }

  /// A pull-through mirror stands for a registry that cannot be reached; a dead mirror before it is passed over. What is pushed goes to the registry itself.
  @Test(.timeLimit(.minutes(10))) func aPullThroughMirror() async throws {
    try await withEnvironment { environment in
      _ = try await environment.base()
      let mirror = try await RegistryProcess.start(in: environment.scratch, name: "mirror", mirrored: "http://\(environment.registry.host)")
      defer { mirror.stop() }
      let config = try environment.file("buildkitd.toml", "[registry.\"127.0.0.1:2\"]\n  mirrors = [\"localhost:1\", \"\(mirror.host)\"]\n")
      let named = "127.0.0.1:2/base:latest", variables = ["MANIFOLD_CONFIG": config]
      func run(_ arguments: String...) async throws -> ProcessOutput { try await environment.tool.run(arguments, environment: variables) }

      let context = try environment.context("context", ["Dockerfile": "FROM \(named)\nRUN echo built > /built\n"])
      let build = try await run("build", "--progress=plain", "--provenance=false", "-t", environment.image("out:1"), "--push", context)
      try succeeded(build)
      #expect(build.errorText.contains("\(named): from the mirror \(mirror.host)") && build.errorText.contains("the mirror localhost:1 of 127.0.0.1:2 is passed over: "), "\(build.everything)")
      let inspected = try await run("imagetools", "inspect", "--raw", named)
      try succeeded(inspected)
      #expect(inspected.output == (try await environment.raw(environment.image("base:latest"))))
      #expect(inspected.errorText.contains("\(named): from the mirror \(mirror.host)\n"), "\(inspected.errorText)")
      for verb in [["imagetools", "create", "-t", environment.image("copy:1"), named], ["manifest", "inspect", named], ["pull", named]] {
        let output = try await environment.tool.run(verb, environment: variables)
        try succeeded(output)
        #expect(output.errorText.contains("from the mirror \(mirror.host)"), "\(output.everything)")
      }
      #expect(try await environment.raw(environment.image("copy:1")) == inspected.output)
      #expect(!mirror.requests("http.request.method=GET").isEmpty && mirror.requests("http.request.method=PUT").isEmpty && mirror.requests("http.request.method=POST").isEmpty)
      // What the mirror lacks is the registry's to refuse, and the mirrors are named.
      let absent = try await run("imagetools", "inspect", "127.0.0.1:2/absent:1")
      #expect(absent.status == .exited(3) && absent.errorText.contains("Asked before: ") && absent.errorText.contains("\(mirror.host) (does not have it)"), "\(absent.everything)")
    }
  }
}
