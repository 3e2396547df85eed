import HostOS
import OCIModel
import TestSupport
import Testing

/// `login` and `logout` against real registries, a token server and a credential helper.
@Suite(.serialized, .enabled(if: Tool.builds)) struct LoginTests {
  func succeeded(_ output: ProcessOutput, at location: SourceLocation = #_sourceLocation) throws { try #require(output.succeeded, "\(output.everything)", sourceLocation: location) }
  func document(_ path: String) throws -> JSONValue { try JSONValue(parsing: try Files.read(path, limit: 1 << 20)) }

  @Test(.timeLimit(.minutes(10))) func aRealRegistryWithTLSAndPasswords() async throws {
    try await CompanyNetwork.with { network in
      let environment = network.environment, host = network.registry.host
      let config = try network.file("buildkitd.toml", "[registry.\"\(host)\"]\n  http = false\n  ca = [\"\(network.authority)\"]\n")
      let path = try network.file("docker/real.json", "{\"zebra\": [1, {\"b\": 1e5}],\n \"auths\": {\"other.test\": {\"auth\": \"YTpi\", \"email\": \"x\"}}, \"HttpHeaders\": {}}")
      try await checked("ln", ["-s", "real.json", environment.scratch + "/docker/config.json"])
      let kept = try document(path)
      let wrong = try await network.run(["login", "--config", config, "-u", "me", "--password-stdin", host], input: "no\n")
      #expect(wrong.status == .exited(3) && wrong.errorText.contains("answered 401 Unauthorized: UNAUTHORIZED: authentication required") && wrong.output.isEmpty, "\(wrong.everything)")
      #expect(try document(path) == kept)
      let right = try await network.run(["login", "--config", config, "-u", "me", "--password-stdin", "https://\(host)/v2/"], input: "secret\r\n")
      try succeeded(right)
      #expect(right.outputText == "Login Succeeded\n" && right.errorText.contains("WARNING! Your credentials are stored unencrypted in '\(environment.scratch)/docker/config.json'."), "\(right.everything)")
      let text = String(decoding: try Files.read(path, limit: 1 << 20), as: UTF8.self)
      #expect(
        text == "{\n\t\"zebra\": [\n\t\t1,\n\t\t{\n\t\t\t\"b\": 1e5\n\t\t}\n\t],\n\t\"auths\": {\n\t\t\"other.test\": {\n\t\t\t\"auth\": \"YTpi\",\n\t\t\t\"email\": \"x\"\n\t\t},\n"
          + "\t\t\"\(host)\": {\n\t\t\t\"auth\": \"bWU6c2VjcmV0\"\n\t\t}\n\t},\n\t\"HttpHeaders\": {}\n}")
      #expect(try Files.status(path).mode & 0o777 == 0o600)
      // By what is stored; and the warning comes once.
      let again = try await network.run(["login", "--config", config, host])
      try succeeded(again)
      #expect(again.errorText.contains("Authenticating with existing credentials... [Username: me]") && !again.errorText.contains("unencrypted"), "\(again.everything)")
      let plain = try await network.run(["login", "--config", config, "-u", "me", "-p", "secret", host])
      #expect(plain.succeeded && plain.errorText.contains("Using --password via the CLI is insecure"), "\(plain.everything)")
      let out = try await network.run(["logout", host])
      #expect(out.succeeded && out.outputText == "Removing login credentials for \(host)\n", "\(out.everything)")
      #expect(try document(path) == kept)
      #expect(try Files.status(environment.scratch + "/docker/config.json", followLast: false).kind == .symbolicLink)
      let asked = try await network.run(["login", "--config", config, host])
      #expect(asked.status == .exited(2) && asked.errorText.contains("non-TTY"), "\(asked.everything)")
      for arguments in [["--password-stdin"], ["-u", ""], ["-u", "me", "-p", ""], ["-u", "me", "-p", "x", "--password-stdin"], ["-u", "me", "--password-stdin"]] {
        #expect(try await network.run(["login"] + arguments + [host]).status == .exited(2), "\(arguments)")
      }
    }
  }

  /// A token server that gives an identity token: that is kept, not the password, and the image verbs go by it.
  @Test(.timeLimit(.minutes(10))) func aTokenServer() async throws {
    try await withEnvironment { environment in
      var options = TestRegistryOptions()
      options.authentication = .bearer(user: "me", password: "secret", lifetime: 300, identityToken: "refresh-1")
      let registry = try await TestRegistry.start(options)
      let image = try RandomImage(seed: 1, platforms: ["linux/amd64"])
      registry.add(image, to: "app", tag: "1")
      let variables = ["DOCKER_CONFIG": environment.scratch + "/docker"]
      func run(_ arguments: [String], _ input: String = "") async throws -> ProcessOutput { try await environment.tool.run(arguments, environment: variables, input: Array(input.utf8)) }
      let wrong = try await run(["login", "-u", "me", "--password-stdin", registry.host], "no")
      #expect(wrong.status == .exited(3) && wrong.errorText.contains("incorrect username or password"), "\(wrong.everything)")
      let refused = try await run(["imagetools", "inspect", "\(registry.host)/app:1"])
      #expect(refused.status == .exited(3), "\(refused.everything)")
      let right = try await run(["login", "-u", "me", "--password-stdin", registry.host], "secret")
      #expect(right.succeeded && !right.errorText.contains("unencrypted"), "\(right.everything)")
      let stored = try document(environment.scratch + "/docker/config.json")["auths"]?[registry.host]
      #expect(stored?["identitytoken"]?.stringValue == "refresh-1" && stored?["auth"]?.stringValue == "bWU6", "\(String(describing: stored))")
      let inspected = try await run(["imagetools", "inspect", "--raw", "\(registry.host)/app:1"])
      #expect(inspected.succeeded && Digest.sha256(of: inspected.output) == image.root.digest, "\(inspected.everything)")
      await registry.stop()
    }
  }

  /// A helper is asked no oftener than it must be: once to keep, once a command, once to forget.
  @Test(.timeLimit(.minutes(10))) func aCredentialHelper() async throws {
    try await withEnvironment { environment in
      let registry = try await RegistryProcess.start(in: environment.scratch, access: .password, name: "closed")
      defer { registry.stop() }
      let layout = try await BaseImage.shared.layout(BaseImage.usual), folder = environment.scratch
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--dest-creds", "me:secret", "--dest-tls-verify=false", "oci:\(layout):latest", "docker://\(registry.host)/base:latest"])
      _ = try environment.file(
        "bin/docker-credential-stub",
        """
        #!/bin/sh
        echo "$1" >> '\(folder)/calls'
        case $1 in
          store) cat > '\(folder)/kept' ;;
          get) cat > '\(folder)/asked'; cat '\(folder)/kept' 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
          erase) cat > '\(folder)/asked'; rm '\(folder)/kept' ;;
        esac
        """, mode: 0o755)
      _ = try environment.file("docker/config.json", #"{"credHelpers":{"\#(registry.host)":"stub"}}"#)
      let variables = ["DOCKER_CONFIG": folder + "/docker", "PATH": "\(folder)/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
      /// The calls that the command made.
      func calls(_ arguments: [String], input: String = "", succeeds: Bool = true) async throws -> [String] {
        try? Files.removeTree(folder + "/calls")
        let output = try await environment.tool.run(arguments, environment: variables, input: Array(input.utf8))
        #expect(output.succeeded == succeeds, "\(arguments): \(output.everything)")
        #expect(!output.errorText.contains("unencrypted"), "\(output.everything)")
        return (Files.text(folder + "/calls") ?? "").split(separator: "\n").map(String.init)
      }
      let base = "\(registry.host)/base:latest"
      #expect(try await calls(["login", "-u", "me", "--password-stdin", registry.host], input: "wrong", succeeds: false) == [])
      #expect(try await calls(["imagetools", "inspect", base], succeeds: false) == ["get"])
      #expect(try await calls(["login", "-u", "me", "--password-stdin", registry.host], input: "secret") == ["store"])
      #expect(Files.text(folder + "/kept") == #"{"ServerURL":"\#(registry.host)","Username":"me","Secret":"secret"}"#)
      #expect(try document(folder + "/docker/config.json") == JSONValue(parsing: Array(#"{"credHelpers":{"\#(registry.host)":"stub"},"auths":{"\#(registry.host)":{}}}"#.utf8)))
      #expect(try await calls(["imagetools", "inspect", base]) == ["get"])
      let context = try environment.context("context", ["Dockerfile": "FROM \(base)\nCOPY Dockerfile /\n"])
      #expect(try await calls(["build", "--progress=plain", "--platform", "linux/amd64,linux/arm64", "-t", "\(registry.host)/out:1", "--push", context]) == ["get"])
      #expect(try await calls(["logout", registry.host]) == ["erase"])
      #expect(Files.text(folder + "/asked") == registry.host && !Files.exists(folder + "/kept"))
      #expect(try await calls(["imagetools", "inspect", base], succeeds: false) == ["get"])
    }
  }
}
