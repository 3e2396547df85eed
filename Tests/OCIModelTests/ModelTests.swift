import OCIModel
import Testing

@Suite struct ModelTests {
  @Test func digestParses() throws {
    let empty = Digest.sha256(of: "")
    #expect(empty.description == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(try Digest(parsing: empty.description) == empty)
    #expect(empty.bytes.count == 32 && empty.bytes[0] == 0xe3)
    for bad in ["", "sha256:", "sha256:E3", "md5:e3", "sha256:" + String(repeating: "g", count: 64)] {
      #expect(throws: OCIError.self) { try Digest(parsing: bad) }
    }
  }
  @Test(arguments: [
    ("busybox", "docker.io/library/busybox", "busybox"), ("localhost:5000/me/hello:1", "localhost:5000/me/hello:1", "localhost:5000/me/hello:1"),
    ("index.docker.io/a/b", "docker.io/a/b", "a/b"), ("Host/a", "Host/a", "Host/a"),
  ]) func references(text: String, full: String, familiar: String) throws {
    let reference = try Reference(parsing: text)
    #expect(reference.description == full)
    #expect(reference.familiar == familiar)
  }
  @Test(arguments: [
    ("amd64", "linux/amd64"), ("linux/x86_64", "linux/amd64"), ("linux/arm", "linux/arm"), ("linux/arm/v7", "linux/arm/v7"), ("linux/armhf", "linux/arm"),
    ("linux/arm64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64/v8"), ("armel", "linux/arm/v6"), ("linux/amd64/v1", "linux/amd64"), ("linux/i386", "linux/386"),
  ]) func platforms(text: String, expected: String) throws {
    #expect(try Platform(parsing: text).description == expected)
  }
  @Test func timestampsRoundTrip() throws {
    for text in ["2023-11-14T22:13:20Z", "1969-12-31T23:59:59.5Z", "2024-02-29T00:00:00.000000001Z"] {
      #expect(try Timestamp(rfc3339: text).description == text)
    }
    #expect(try Timestamp(rfc3339: "2023-11-14T23:13:20+01:00").seconds == 1_700_000_000)
  }
  @Test func jsonKeepsOrderAndEscapes() throws {
    let text = #"{"b":[1,2.50,{"x":null}],"a":"\u003c\u0026\u003e\u2028é\n"}"#
    #expect(try JSONValue(parsing: text).encodedString() == text)
    for bad in [#"{"a":1,"a":2}"#, "[1,]", "01", "\"\u{1}\"", "[1] x", String(repeating: "[", count: 100)] {
      #expect(throws: OCIError.self) { try JSONValue(parsing: bad) }
    }
  }
  @Test func confusedDocumentsAreRefused() {
    let both = Array(#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.utf8)
    #expect(throws: OCIError.self) { try ImageDocument(parsing: both, mediaType: .ociIndex) }
    #expect(throws: OCIError.self) { try ImageDocument(parsing: Array(#"{"schemaVersion":2,"manifests":[]}"#.utf8), mediaType: .ociManifest) }
  }
}
