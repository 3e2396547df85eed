import BuildInterface
import OCIModel
import Testing

@testable import BuildEngine
@testable import BuildOutputs

@Suite struct ProvenanceTests {
  @Test func options() throws {
    #expect(try ProvenanceOptions.of([:]) == nil)
    func parsed(_ text: String) throws -> ProvenanceOptions? { try ProvenanceOptions.of(["attest:provenance": text]) }
    #expect(try parsed("") == ProvenanceOptions())
    #expect(try parsed("type=provenance") == ProvenanceOptions())
    #expect(try parsed("mode=min,inline-only=true") == ProvenanceOptions(isMax: false, inlineOnly: true))
    #expect(try parsed("mode=full,version=v0.2,reproducible=1,filename=p.json") == ProvenanceOptions(version: .v02, isReproducible: true, filename: "p.json"))
    #expect(try parsed("\"builder-id=https://b.example/a,b\"\"c\",mode=max") == ProvenanceOptions(builderID: "https://b.example/a,b\"c"))
    #expect(try ProvenanceOptions.of(["build-arg:BUILDKIT_ATTEST_PROVENANCE": "mode=min"])?.isMax == false)
    for wrong in ["mode=small", "version=v2", "reproducible=perhaps", "capture-usage=true", "\"mode=max", "filename=", "complete-materials=x"] {
      #expect(throws: BuildError.self, "\(wrong)") { try parsed(wrong) }
    }
  }

  @Test func packageURLs() throws {
    let digest = "sha256:" + String(repeating: "a", count: 64)
    let platform = try Platform(parsing: "linux/arm/v7")
    let table: [(String, Platform?, String)] = [
      ("busybox", nil, "pkg:docker/busybox@latest"),
      ("docker.io/library/busybox:1.36", try Platform(parsing: "linux/amd64"), "pkg:docker/busybox@1.36?platform=linux%2Famd64"),
      ("moby/buildkit:v0.1", platform, "pkg:docker/moby/buildkit@v0.1?platform=linux%2Farm%2Fv7"),
      ("localhost:5000/a/b_c:x", nil, "pkg:docker/localhost%3A5000/a/b_c@x"),
      ("reg.example/a@" + digest, platform, "pkg:docker/reg.example/a?digest=\(digest)&platform=linux%2Farm%2Fv7"),
      ("reg.example/a:t@" + digest, nil, "pkg:docker/reg.example/a@t?digest=\(digest)"),
    ]
    for (name, platform, expected) in table { #expect(PackageURL.image(try Reference(parsing: name), platform: platform) == expected) }
  }

  @Test(arguments: ["NPM_TOKEN", "token", "db_password", "MYSQL_PWD", "AWS_SECRET_ACCESS_KEY", "GithubToken", "api-key", "APIKEY", "SSH_PRIVATE_KEY", "AUTH", "GH_PAT"])
  func secretNames(_ name: String) { #expect(Redaction.isSecretName(name)) }
  @Test(arguments: ["VERSION", "PWD", "PUBLIC_KEY", "AUTHOR", "MONKEY", "PATH", "KEYBOARD", "TOKYO", "BASE", "GOPROXY"])
  func otherNames(_ name: String) { #expect(!Redaction.isSecretName(name)) }

  @Test func redactedText() {
    let redaction = Redaction()
    redaction.learn("API_TOKEN", "hunter2/x")
    redaction.learn("SHORT_KEY", "1")
    redaction.learn("USE_TOKEN", "true")
    redaction.learn("VERSION", "1.2.3")
    #expect(redaction.text("curl -H hunter2/x https://h/?t=hunter2%2Fx 1.2.3 true") == "curl -H REDACTED https://h/?t=REDACTED 1.2.3 true")
    #expect(redaction.variable("API_TOKEN=hunter2/x") == "API_TOKEN=REDACTED" && redaction.variable("SHORT_KEY=1") == "SHORT_KEY=REDACTED")
    #expect(redaction.variable("OTHER=1") == "OTHER=1" && redaction.variable("EMPTY_TOKEN=") == "EMPTY_TOKEN=")
    #expect(redaction.happened)
    // A digest is never what it looks like.
    let digits = Redaction()
    digits.learn("PASSWORD", "abcd")
    let digest = "sha256:" + String(repeating: "abcd", count: 16)
    #expect(digits.text("image@\(digest)/abcd") == "image@\(digest)/REDACTED")
    #expect(digits.content(Array("ARG PASSWORD=abcd\n".utf8)) == Array("ARG PASSWORD=REDACTED\n".utf8))
  }

  @Test func redactedAddresses() {
    let table = [
      ("https://user:pass@host/x?y@z", "https://xxxxx:xxxxx@host/x?y@z"), ("https://token@host", "https://xxxxx@host"), ("https://:pw@host/", "https://:xxxxx@host/"),
      ("docker-image://127.0.0.1:5000/a:b@sha256:00", "docker-image://127.0.0.1:5000/a:b@sha256:00"), ("git@github.com:a/b.git", "git@github.com:a/b.git"),
      ("git clone https://$USER:$PASS@host/", "git clone https://$USER:$PASS@host/"), ("a https://u:p@h b http://v@i", "a https://xxxxx:xxxxx@h b http://xxxxx@i"),
      ("no@address", "no@address"), ("https://host/a@b", "https://host/a@b"),
    ]
    for (text, expected) in table {
      let redaction = Redaction()
      #expect(redaction.text(text) == expected)
      #expect(redaction.happened == (text != expected))
    }
  }

  @Test func whichImagesCount() throws {
    let amd = try Platform(parsing: "linux/amd64"), arm = try Platform(parsing: "linux/arm64")
    let digest = Digest.sha256(of: "x")
    func image(_ name: String, _ platform: Platform) throws -> ProvenanceCapture.Image { .init(reference: try Reference(parsing: name), platform: platform, digest: digest) }
    let all = [try image("tools:1", amd), try image("base:1", amd), try image("base:1", arm)]
    // Of an image looked up for each platform, that of the target; one that only the build platform had counts for all.
    #expect(ProvenanceCapture.images(all, of: arm, among: [amd, arm]) == [all[0], all[2]])
    var capture = ProvenanceCapture(images: [.init(reference: try Reference(parsing: "base:1").with(digest: digest), platform: arm, digest: digest)])
    capture.add(try image("base:1", arm))
    capture.add(try image("base:1", arm))
    capture.add(try image("abc:1", arm))
    capture.finish()
    #expect(capture.images.map(\.reference.familiar) == ["abc:1", "base:1"])
  }

  @Test func sourcesThatMustBeNamed() throws {
    let record = ProvenanceRecord(
      options: try #require(try ProvenanceOptions.of(["attest:provenance": "complete-materials=true"])), capture: ProvenanceCapture(locals: ["context"]), frontend: "x",
      attributes: [:], definition: nil, builderPlatform: .current, invocationID: "i", started: Timestamp(seconds: 0))
    let error = #expect(throws: BuildError.self) { try record.check() }
    #expect(error?.message.contains("context") == true)
  }
}
