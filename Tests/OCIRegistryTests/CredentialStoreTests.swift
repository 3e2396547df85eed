import HostOS
import OCIModel
import OCIRegistry
import Testing

/// What `login` leaves in Docker's configuration, and what it leaves alone.
@Suite struct CredentialStoreTests {
  func with(_ body: (String) async throws -> Void) async throws {
    let folder = try Files.makeTemporaryDirectory()
    defer { try? Files.removeTree(folder) }
    try await body(folder)
  }
  func text(_ path: String) throws -> String { String(decoding: try Files.read(path, limit: 1 << 20), as: UTF8.self) }

  @Test func makesTheFile() async throws {
    try await with { folder in
      let path = folder + "/deep/er/config.json", store = CredentialStore(path: path, environment: ["PATH": folder])
      let entry = DockerConfigEditor.Entry.password(user: "me", password: "p:w")
      #expect(try await store.store(entry, for: "r.test:5000") == .file(changed: true))
      #expect(try await store.store(entry, for: "r.test:5000") == .file(changed: false))
      #expect(try text(path) == "{\n\t\"auths\": {\n\t\t\"r.test:5000\": {\n\t\t\t\"auth\": \"\(Base64.encode("me:p:w".utf8))\"\n\t\t}\n\t}\n}")
      #expect(try Files.status(path).mode & 0o777 == 0o600 && Files.status(folder + "/deep").mode & 0o777 == 0o700)
      let stored = try await store.stored("r.test:5000")
      #expect(stored?.user == "me" && stored?.credential == .password(user: "me", password: "p:w"))
      try await store.erase(["r.test:5000", "https://r.test:5000"])
      #expect(try text(path) == "{\n\t\"auths\": {}\n}")
      #expect(try await store.stored("r.test:5000") == nil)
    }
  }

  @Test func keepsTheRest() async throws {
    try await with { folder in
      let path = folder + "/config.json", editor = DockerConfigEditor(path: path)
      try Files.writeAtomically(Array(#"{"z":1.50,"auths":{"b":{"auth":"YTpi"},"a":{}},"plugins":{"x":{"y":"<&>"}}}"#.utf8), to: path, mode: 0o644)
      #expect(try editor.set(.identityToken(user: "me", token: "t"), for: "a"))
      // Others could read it, and it holds a secret now.
      #expect(try Files.status(path).mode & 0o777 == 0o600)
      let document = try JSONValue(parsing: try Files.read(path, limit: 1 << 20))
      #expect(document.objectValue?.keys == ["z", "auths", "plugins"] && document["auths"]?.objectValue?.keys == ["b", "a"])
      #expect(try text(path).contains("1.50") && document["auths"]?["a"]?["identitytoken"]?.stringValue == "t")
      #expect(try editor.remove(["none"]) == false)
      #expect(try DockerConfigEditor(path: folder + "/absent.json").remove(["a"]) == false && !Files.exists(folder + "/absent.json"))
    }
  }

  @Test func whatIsNoConfigurationIsNotTouched() async throws {
    try await with { folder in
      for content in ["[]", "{", "\u{0}"] {
        let path = folder + "/config.json"
        try Files.writeAtomically(Array(content.utf8), to: path)
        #expect(#expect(throws: RegistryError.self) { try DockerConfigEditor(path: path).set(.kept, for: "a") }?.code == .credentials)
        #expect(try text(path) == content)
      }
      try Files.writeAtomically(Array(" \n".utf8), to: folder + "/blank.json")
      #expect(try DockerConfigEditor(path: folder + "/blank.json").set(.kept, for: "a"))
      #expect(throws: RegistryError.self) { try DockerConfigEditor(path: "").set(.kept, for: "a") }
    }
  }

  /// Where nothing is configured and docker would find a helper, it is used and remembered.
  @Test func aHelperIsFound() async throws {
    try await with { folder in
      let script = "#!/bin/sh\necho \"$1\" >> '\(folder)/calls'\ncat > '\(folder)/input'\n"
      try Files.writeAtomically(Array(script.utf8), to: folder + "/docker-credential-secretservice", mode: 0o755)
      let store = CredentialStore(path: folder + "/config.json", environment: ["PATH": folder + ":/bin:/usr/bin"])
      // Only where `pass` is not installed beside it.
      guard Processes.executablePath("pass", path: folder + ":/bin:/usr/bin") == nil else { return }
      #expect(try await store.store(.password(user: "u", password: "p"), for: "r") == .helper("secretservice"))
      #expect(try text(folder + "/input") == #"{"ServerURL":"r","Username":"u","Secret":"p"}"#)
      #expect(try JSONValue(parsing: try Files.read(folder + "/config.json", limit: 1 << 20)) == JSONValue(parsing: Array(#"{"auths":{"r":{}},"credsStore":"secretservice"}"#.utf8)))
      try await store.erase(["r"])
      #expect(try text(folder + "/calls") == "store\nerase\n")
    }
  }

  @Test(arguments: [("", "https://index.docker.io/v1/"), ("docker.io", "https://index.docker.io/v1/"), ("https://index.docker.io/v1/", "https://index.docker.io/v1/"), ("https://r:5000/v2/", "r:5000"), ("r/x", "r")])
  func keys(_ server: String, _ key: String) { #expect(CredentialStore.key(server) == key) }
}
