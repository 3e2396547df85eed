import BuildkitdConfig
import HostOS
import OCIRegistry
import Testing

@Suite struct BuildkitdFileTests {
  @Test func readsItsRegistries() throws {
    let file = try BuildkitdFile(
      parsing: """
        debug = true
        [worker.oci]
          enabled = false
          gc = true
        [registry."docker.io"]
          mirrors = ["mirror.example:5000/project/", "http://plain.example", "https://other.example"]
          http = false
          insecure = true
          ca = ["/etc/ca.pem", "sub/ca.pem"]
          tlsconfigdir = ["certs"]
        [[registry."docker.io".keypair]]
          key = "/k.pem"
          cert = "c.pem"
        [registry]
          [registry."localhost:5000"]
            http = true
        """, path: "/etc/manifold/buildkitd.toml")
    let hub = try #require(file.registries["docker.io"])
    #expect(hub.mirrors.map(\.description) == ["mirror.example:5000/project", "plain.example", "other.example"])
    #expect(hub.mirrors[0].host == "mirror.example:5000" && hub.mirrors[0].path == "/project")
    #expect(hub.plainHTTP == false && hub.isInsecure == true)
    #expect(hub.authorities == ["/etc/ca.pem", "/etc/manifold/sub/ca.pem"] && hub.certificateDirectories == ["/etc/manifold/certs"])
    #expect(hub.keyPairs == [.init(key: "/k.pem", certificate: "/etc/manifold/c.pem")])
    #expect(file.registries["localhost:5000"]?.plainHTTP == true)
    // A mirror written with http:// is one without TLS.
    #expect(file.registries["plain.example"]?.plainHTTP == true && file.registries["other.example"] == nil)
    #expect(try BuildkitdFile(parsing: "", path: "x") == BuildkitdFile())
  }

  @Test(arguments: [
    ("[registry.\"a\"]\nmirror = [\"x\"]", 2, "has no setting \"mirror\"; did you mean mirrors?"),
    ("# c\n\n[registry.\"a\"]\n  http = true\n  frobnicate = 1", 5, "there are mirrors, http"),
    ("[registry.\"a\"]\nmirrors = \"x\"", 2, "mirrors is a list"),
    ("[registry.\"a\"]\nmirrors = [1]", 2, "mirrors is a list"),
    ("[registry.\"a\"]\nmirrors = [\"a b\"]", 2, "is not a registry's address"),
    ("[registry.\"a\"]\nhttp = \"true\"", 2, "http is true or false"),
    ("[registry.\"https://a\"]\nhttp = true", 1, "by its host alone"),
    ("[registry.\"a\"]\nkeypair = [{key = \"k\"}]", 2, "keypair is a list"),
    ("registry = 3", 1, "registry is a table"),
    ("registry.\"a\".insecure = 1", 1, "insecure is true or false"),
    ("[registry]\n\"a\" = 1", 2, "is a table"),
    ("[registry.\"a\"\n", 1, ""),
    ("a = 1\nb = \n", 2, ""),
  ])
  func mistakesHaveLines(_ text: String, _ line: Int, _ words: String) {
    let error = #expect(throws: ConfigError.self) { try BuildkitdFile(parsing: text, path: "/c.toml") }
    #expect(error?.line == line && error?.description.hasPrefix("/c.toml:\(line): ") == true && error?.message.contains(words) != false, "\(String(describing: error))")
  }

  @Test func isLoadedWithFlagsAndEnvironment() async throws {
    let folder = try Files.makeTemporaryDirectory()
    defer { try? Files.removeTree(folder) }
    let environment = ["HOME": folder, "DOCKER_CONFIG": folder + "/docker"]
    #expect(try await RegistryConfiguration.load(config: nil, environment: ["HOME": folder + "/none"]).registries["own.example"] == nil)
    try Files.makeDirectories(folder + "/.config/manifold")
    try Files.writeAtomically(Array("[registry.\"own.example\"]\nhttp=true".utf8), to: folder + "/.config/manifold/buildkitd.toml")
    try Files.makeDirectories(folder + "/docker")
    try Files.writeAtomically(Array(#"{"proxies":{"default":{"httpsProxy":"http://d:1"},"tcp://e:2":{"httpsProxy":"http://e:1"}}}"#.utf8), to: folder + "/docker/config.json")
    let loaded = try await RegistryConfiguration.load(config: nil, insecureHosts: ["i"], environment: environment)
    #expect(loaded.registries["own.example"]?.plainHTTP == true && loaded.insecureHosts == ["i"] && loaded.proxies == ["HTTPS_PROXY": "http://d:1"])
    #expect(try await RegistryConfiguration.load(config: nil, environment: environment.merging(["DOCKER_HOST": "tcp://e:2"]) { $1 }).proxies == ["HTTPS_PROXY": "http://e:1"])
    try Files.writeAtomically(Array("[registry.\"named.example\"]\n".utf8), to: folder + "/named.toml")
    #expect(try await RegistryConfiguration.load(config: folder + "/named.toml", environment: environment).registries.keys.sorted() == ["named.example"])
    #expect(try await RegistryConfiguration.load(config: nil, environment: environment.merging(["MANIFOLD_CONFIG": folder + "/named.toml"]) { $1 }).registries.keys.sorted() == ["named.example"])
    await #expect(throws: ConfigError.self) { try await RegistryConfiguration.load(config: folder + "/absent.toml", environment: environment) }
    let error = await #expect(throws: ConfigError.self) { try await RegistryConfiguration.load(config: folder, environment: environment) }
    #expect(error?.description.contains("DOCKER_CONFIG") == true)
  }
}
