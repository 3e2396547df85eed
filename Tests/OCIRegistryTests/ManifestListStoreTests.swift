import HostOS
import OCIModel
import OCIRegistry
import TestSupport
import Testing

@Suite struct ManifestListStoreTests {
  /// A file that docker 28.2 wrote.
  private static let file = #"{"Ref":"127.0.0.1:5944/dk/arm64:1","Descriptor":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"sha256:8f4e630b3b304113adc115d11978f9307b915bf9a17aba9c79e8a878fbb7891f","size":426,"platform":{"architecture":"arm64","os":"linux"}},"Raw":"eyJzY2hlbWFWZXJzaW9uIjoyLCJtZWRpYVR5cGUiOiJhcHBsaWNhdGlvbi92bmQuZG9ja2VyLmRpc3RyaWJ1dGlvbi5tYW5pZmVzdC52Mitqc29uIiwiY29uZmlnIjp7Im1lZGlhVHlwZSI6ImFwcGxpY2F0aW9uL3ZuZC5kb2NrZXIuY29udGFpbmVyLmltYWdlLnYxK2pzb24iLCJzaXplIjozOTMsImRpZ2VzdCI6InNoYTI1NjpjZDc5MjBhZDIwMjliZmZjMTQzMTEyOGRiYTk5MjBjMzlmN2JlMmUxMTZlYmJjYWMxMDg3YWExMTdkMWU3ZDhmIn0sImxheWVycyI6W3sibWVkaWFUeXBlIjoiYXBwbGljYXRpb24vdm5kLmRvY2tlci5pbWFnZS5yb290ZnMuZGlmZi50YXIuZ3ppcCIsInNpemUiOjk4OTA2MCwiZGlnZXN0Ijoic2hhMjU2OjYyZGRhMWE3OTQ2NGYxMWUyMTkzNDc3ZTFkYzQ4NjliMjRlMzdmMjFmMmI1NjcyM2U0ZTJhODkxYjY4OWQzOWUifV19","SchemaV2Manifest":{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":393,"digest":"sha256:cd7920ad2029bffc1431128dba9920c39f7be2e116ebbcac1087aa117d1e7d8f"},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":989060,"digest":"sha256:62dda1a79464f11e2193477e1dc4869b24e37f21f2b56723e4e2a891b689d39e"}]}}"#

  @Test func dockersFilesAreReadAndWritten() throws {
    let entry = try ManifestListEntry(parsing: Array(Self.file.utf8))
    #expect(entry.reference.description == "127.0.0.1:5944/dk/arm64:1" && entry.bytes.count == 426 && entry.descriptor.platform?.description == "linux/arm64")
    #expect(String(decoding: entry.file, as: UTF8.self) == Self.file)
    // Without the raw manifest, as older clients wrote it; and with digest and platform alone, as still older ones did.
    var object = try #require(try JSONValue(parsing: Self.file).objectValue)
    object["Raw"] = nil
    #expect(try ManifestListEntry(parsing: JSONValue.object(object).encoded()).bytes == entry.bytes)
    (object["Digest"], object["Platform"], object["Descriptor"]) = (.string(entry.descriptor.digest.description), entry.descriptor.platform?.json, nil)
    #expect(try ManifestListEntry(parsing: JSONValue.object(object).encoded()) == entry)
    for (member, value) in [("Ref", JSONValue.null), ("Ref", "A"), ("Digest", "x"), ("SchemaV2Manifest", ["a": 1])] {
      var broken = object
      broken[member] = value
      #expect(throws: OCIError.self, "\(member)") { try ManifestListEntry(parsing: JSONValue.object(broken).encoded()) }
    }
  }

  @Test func listsHaveAnOrder() throws {
    let scratch = try ScratchDirectory()
    let store = ManifestListStore(root: scratch.path + "/docker/manifests")
    let list = "reg:5000/me/app:1"
    #expect(try store.entries(list).isEmpty)
    #expect(try store.entry(list, Reference(parsing: list)) == nil)
    func entry(_ name: String, of origin: String? = nil, at position: Int? = nil, wantsIndex: Bool = false) throws -> ManifestListEntry {
      let bytes = Array("{\"schemaVersion\":2,\"name\":\"\(name)<\"}".utf8)
      let descriptor = Descriptor(mediaType: .ociManifest, of: bytes, annotations: ["a": name], platform: Platform(os: "linux", architecture: "amd64"))
      var reference = try Reference(parsing: name)
      if origin != nil { reference = reference.repository.with(digest: descriptor.digest) }
      return ManifestListEntry(reference: reference, descriptor: descriptor, bytes: bytes, origin: origin, position: position, wantsIndex: wantsIndex)
    }
    // Made so that digests and positions disagree.
    let all = try [entry("z:1"), entry("b:1"), entry("m:1", of: "m:9", at: 2), entry("m:2", of: "m:9", at: 0, wantsIndex: true), entry("m:3", of: "m:9", at: 1)]
    try store.save(all, in: list)
    #expect(try store.entries(list) == [all[1], all[3], all[4], all[2], all[0]])
    #expect(try store.entry(list, all[3].reference) == all[3])
    #expect(try Directory.open(store.root).entries().map(\.name) == ["reg-5000_me_app-1"])
    #expect(try Directory.open(store.root + "/reg-5000_me_app-1").entries().map(\.name).contains("docker.io_library_z-1"))
    try Files.writeAtomically(Array("{}".utf8), to: store.root + "/reg-5000_me_app-1/x", durable: false)
    #expect((#expect(throws: RegistryError.self) { try store.entries(list) })?.description.contains("reg-5000_me_app-1/x") == true)
    try store.remove(list)
    #expect(try store.entries(list).isEmpty)
    try store.remove(list)
    // Lists that are no registry's have folders of their own.
    for other in ["local:app", "local:app:1", "oci-layout:///a/b:1", "oci-layout:///a_b:1"] {
      try store.save([all[0]], in: other)
      #expect(try store.entries(other) == [all[0]])
    }
    #expect(try Directory.open(store.root).entries().count == 4 && store.entries("docker.io/library/local:app").isEmpty)
  }

  @Test func placeIsDockers() {
    #expect(ManifestListStore.defaultRoot(["HOME": "/h"]) == "/h/.docker/manifests")
    #expect(ManifestListStore.defaultRoot(["HOME": "/h", "DOCKER_CONFIG": "/c"]) == "/c/manifests")
    #expect(ManifestListStore.defaultRoot([:]) == nil)
  }
}
