import ImageStores
import OCIModel
import Testing

@Suite struct LocationTests {
  private static let digest = "sha256:" + String(repeating: "ab", count: 32)

  @Test(arguments: [
    ("busybox", "docker.io/library/busybox:latest"), ("reg:5000/a/b:1", "reg:5000/a/b:1"), ("a@\(digest)", "docker.io/library/a@\(digest)"), ("docker://a:2", "docker.io/library/a:2"),
    ("local:5000/app:1", "local:5000/app:1"),
  ]) func registries(text: String, name: String) throws {
    guard case .registry(let reference) = try ImageLocation(parsing: text) else {
      Issue.record("\(text) is no registry's")
      return
    }
    #expect(reference.description == name)
  }

  @Test(arguments: [
    ("/a/b", "/a/b", nil, nil), ("a:1", "a", "1", nil), ("./a:1@\(digest)", "./a", "1", digest), ("/a@\(digest)", "/a", nil, digest), ("/a:b/c", "/a:b/c", nil, nil), ("/a@b/c:x", "/a@b/c", "x", nil),
    ("/a@b", "/a@b", nil, nil), ("/a:", "/a:", nil, nil), ("/with space:1.0-x_y", "/with space", "1.0-x_y", nil), ("/a:1:2", "/a:1", "2", nil),
  ]) func layouts(text: String, path: String, tag: String?, digest: String?) throws {
    let location = try ImageLocation(parsing: "oci-layout://" + text)
    #expect(location == .layout(path: path, tag: tag, digest: digest.flatMap { Digest($0) }))
    #expect("\(location)" == "oci-layout://" + text)
  }

  @Test(arguments: [("local:a", "a"), ("local:reg/a:1", "reg/a:1"), ("local:\(digest)", digest), ("local:a@\(digest)", "a@\(digest)"), ("local:\(String(repeating: "a", count: 64))", String(repeating: "a", count: 64))])
  func localNames(text: String, name: String) throws {
    #expect(try ImageLocation(parsing: text) == .local(name))
    #expect(try ImageLocation(parsing: name, bare: .local) == .local(name))
    #expect(try ImageLocation(parsing: text, bare: .local).isLocal)
    #expect("\(try ImageLocation(parsing: text))" == text)
  }

  @Test(arguments: ["", "local:", "local:A", "oci-layout://", "oci-layout://:1", "oci-layout://a@sha256:12", "dir://x", "https://reg/a", "a/B", "a:b:c", "local:a@sha256:12", "oci-layout://a@sha257:\(String(repeating: "ab", count: 32))"])
  func refused(text: String) async {
    await expectImageError(.invalidLocation) { try ImageLocation(parsing: text) }
  }

  @Test func sameRepository() throws {
    func at(_ text: String) throws -> ImageLocation { try ImageLocation(parsing: text) }
    #expect(try at("r.io/a:1").sharesContent(with: at("r.io/a@\(Self.digest)")) && !at("r.io/a").sharesContent(with: at("r.io/b")))
    #expect(try at("oci-layout:///a:1").sharesContent(with: at("oci-layout:///a")) && at("local:a").sharesContent(with: at("local:b")) && !at("local:a").sharesContent(with: at("a")))
  }
}
