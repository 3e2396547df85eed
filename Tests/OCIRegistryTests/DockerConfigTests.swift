import OCIModel
import OCIRegistry
import TestSupport
import Testing

@Suite struct DockerConfigTests {
  let text = """
    {"auths":{"https://index.docker.io/v1/":{"auth":"aHVidXNlcjpodWI6cGFzcw=="},"ghcr.io":{"auth":"Z2g6dG9rAAA="},"https://old.example/v1/":{"username":"o","password":"p"},
     "id.example":{"auth":"eDp5","identitytoken":"refresh"},"tok.example":{"registrytoken":"bearer"},"empty.example":{}},
     "credHelpers":{"gcr.io":"gcloud"},"HttpHeaders":{"X":"y"}}
    """

  @Test(arguments: [
    ("docker.io", RegistryCredential.password(user: "hubuser", password: "hub:pass")), ("index.docker.io", .password(user: "hubuser", password: "hub:pass")),
    ("ghcr.io", .password(user: "gh", password: "tok")), ("old.example", .password(user: "o", password: "p")), ("id.example", .identityToken("refresh")), ("tok.example", .registryToken("bearer")),
    ("empty.example", nil), ("unknown.example", nil),
  ] as [(String, RegistryCredential?)])
  func finds(_ host: String, _ expected: RegistryCredential?) throws {
    let config = try DockerConfig(parsing: Array(text.utf8))
    #expect(config.source(for: host) == expected.map { .stored($0) } ?? .none)
  }

  @Test func helpersComeFirst() throws {
    var config = try DockerConfig(parsing: Array(text.utf8))
    #expect(config.source(for: "gcr.io") == .helper("gcloud", server: "gcr.io"))
    config = try DockerConfig(parsing: Array(#"{"credsStore":"desktop","credHelpers":{"docker.io":"hub"},"auths":{"ghcr.io":{"auth":"YTpi"}}}"#.utf8))
    #expect(config.source(for: "ghcr.io") == .helper("desktop", server: "ghcr.io"))
    #expect(config.source(for: "docker.io") == .helper("hub", server: "docker.io"))
    #expect(try DockerConfig(parsing: Array(#"{"credsStore":"desktop"}"#.utf8)).source(for: "docker.io") == .helper("desktop", server: "https://index.docker.io/v1/"))
  }

  @Test func refusesWhatIsBroken() throws {
    for bad in ["[]", "{", #"{"auths":{"x":{"auth":"!!!"}}}"#, #"{"auths":{"x":{"auth":"bm9jb2xvbg=="}}}"#] {
      #expect(throws: (any Error).self, "\(bad)") { try DockerConfig(parsing: Array(bad.utf8)) }
    }
    #expect(try DockerConfig(parsing: []).isEmpty)
    #expect(try DockerConfig(parsing: Array(" \n".utf8)).isEmpty)
  }

  @Test func base64() {
    for (text, bytes) in [("", ""), ("YQ==", "a"), ("YQ", "a"), ("YWI=", "ab"), ("YWJj", "abc"), ("YWJj\n", "abc")] { #expect(Base64.decode(text) == Array(bytes.utf8)) }
    for bad in ["Y", "YQ=", "Y*==", "YQ==YQ=="] { #expect(Base64.decode(bad) == nil, "\(bad)") }
    for n in 0..<20 {
      let bytes = (0..<n).map { UInt8($0 * 37 & 255) }
      #expect(Base64.decode(Base64.encode(bytes)) == bytes)
    }
  }

  @Test func readsTheFileAndRunsHelpers() async throws {
    let scratch = try ScratchDirectory("docker-config")
    try scratch.write("config.json", #"{"auths":{"plain.example":{"auth":"YTpi"}},"credHelpers":{"h.example":"ok","id.example":"id","none.example":"none","bad.example":"bad","gone.example":"absent"}}"#)
    try scratch.write("bin/docker-credential-ok", "#!/bin/sh\nread server\n[ \"$1\" = get ] && echo \"{\\\"ServerURL\\\":\\\"$server\\\",\\\"Username\\\":\\\"u\\\",\\\"Secret\\\":\\\"for $server\\\"}\"\n", mode: 0o755)
    try scratch.write("bin/docker-credential-id", "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"refresh\"}'\n", mode: 0o755)
    try scratch.write("bin/docker-credential-none", "#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n", mode: 0o755)
    try scratch.write("bin/docker-credential-bad", "#!/bin/sh\necho 'the keychain is locked' >&2\nexit 3\n", mode: 0o755)
    let provider = DockerConfigCredentials(environment: ["DOCKER_CONFIG": scratch.path, "PATH": scratch.path + "/bin:/bin:/usr/bin", "DOCKER_AUTH_CONFIG": #"{"auths":{"env.example":{"auth":"YTpi"}}}"#])
    #expect(try await provider.credential(for: "plain.example") == .password(user: "a", password: "b"))
    #expect(try await provider.credential(for: "env.example") == .password(user: "a", password: "b"))
    #expect(try await provider.credential(for: "h.example") == .password(user: "u", password: "for h.example"))
    #expect(try await provider.credential(for: "id.example") == .identityToken("refresh"))
    #expect(try await provider.credential(for: "none.example") == nil)
    let bad = await #expect(throws: RegistryError.self) { try await provider.credential(for: "bad.example") }
    #expect(bad?.description.contains("the keychain is locked") == true)
    let gone = await #expect(throws: RegistryError.self) { try await provider.credential(for: "gone.example") }
    #expect(gone?.description.contains("docker-credential-absent") == true)
    #expect(try await DockerConfigCredentials(environment: ["HOME": scratch.path]).credential(for: "x") == nil)
  }
}
