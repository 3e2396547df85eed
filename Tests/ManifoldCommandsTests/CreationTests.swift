import ArgumentParser
import BuildInterface
import ImageStores
import OCIModel
import OCIRegistry
import Testing

@testable import ManifoldCommands

/// What `imagetools create` and `manifest` make of their words, without a registry.
@Suite struct CreationTests {
  private static let digest = "sha256:" + String(repeating: "a", count: 64)

  private func image(_ name: String, _ platform: String?, docker: Bool = false) throws -> ImageCreation.Source {
    let config = Descriptor(mediaType: .ociConfig, of: Array(name.utf8))
    let bytes = ImageManifest(mediaType: docker ? .dockerManifest : .ociManifest, config: config, layers: []).encoded
    let descriptor = Descriptor(mediaType: docker ? .dockerManifest : .ociManifest, of: bytes, platform: try platform.map { try Platform(parsing: $0) })
    return ImageCreation.Source(source: LayoutImageSource(path: name, tag: nil, digest: nil), descriptor: descriptor, bytes: bytes)
  }

  @Test(arguments: [
    ("a", "docker.io/library/a:latest|-"), ("r.io/a:1@\(digest)", "r.io/a:1@\(digest)|-"), (digest, "-|\(digest) alone"), (#"{"digest":"\#(digest)","size":5}"#, "-|\(digest) 5"),
    ("sha256:abc", nil), ("{}", nil), (#"{"schemaVersion":2,"manifests":[]}"#, nil), (#"{"digest":"x"}"#, nil), ("x/UPPER", nil), ("oci-layout://x:1", "oci-layout://x:1|-"), ("local:a", "local:a|-"), ("local:", nil), ("{", nil), ("", nil),
  ]) func sources(_ text: String, _ expected: String?) {
    let source = try? CreationSource(parsing: text)
    let given = source?.given.map { "\($0.digest) \($0.isDigestAlone ? "alone" : "\($0.size)")" }
    #expect(source.map { "\($0.location?.fullDescription ?? "-")|\(given ?? "-")" } == expected)
  }

  @Test func sourcesWithoutARepositoryTakeTheOnlyOne() throws {
    func located(_ sources: [String], tags: [String]) throws -> [String] {
      try ImageCreation.locate(try sources.map { try CreationSource(parsing: $0) }, tags: try tags.map(ImageCommands.location)).map { $0.location?.fullDescription ?? "-" }
    }
    let descriptor = #"{"digest":"\#(Self.digest)"}"#
    #expect(try located([Self.digest, descriptor], tags: ["r.io/a:1"]) == ["r.io/a:1@\(Self.digest)", "r.io/a:latest"])
    #expect(try located(["r.io/a:2", Self.digest], tags: ["r.io/a:1"]) == ["r.io/a:2", "r.io/a:2@\(Self.digest)"])
    #expect(try located(["oci-layout:///l:2", Self.digest, descriptor], tags: ["oci-layout:///l:1"]) == ["oci-layout:///l:2", "oci-layout:///l@\(Self.digest)", "oci-layout:///l:2"])
    #expect(try located([Self.digest], tags: ["local:a"]) == ["local:\(Self.digest)"])
    #expect(throws: BuildError.self) { try located(["oci-layout:///a", Self.digest], tags: ["oci-layout:///b"]) }
    #expect(throws: BuildError.self) { try located(["r.io/b", Self.digest], tags: ["r.io/a:1"]) }
    #expect(throws: BuildError.self) { try located([Self.digest], tags: []) }
  }

  @Test func oneSourceStaysAsItIs() throws {
    let one = try image("a", "linux/amd64")
    #expect(try ImageCreation(prefersIndex: false).result([one]).bytes == one.bytes)
    let index = try ImageCreation().result([one])
    #expect(index.descriptor.mediaType == .ociIndex && index.members.map(\.descriptor.digest) == [one.descriptor.digest])
    let whole = ImageCreation.Source(source: one.source, descriptor: Descriptor(mediaType: .ociIndex, of: index.bytes), bytes: index.bytes)
    #expect(try ImageCreation().result([whole]).bytes == index.bytes)
    #expect(try ImageCreation(annotations: IndexAnnotation.parse("index:a=b")).result([whole]).bytes != index.bytes)
    #expect(throws: BuildError.self) { try ImageCreation(prefersIndex: false, platforms: [try Platform(parsing: "linux/s390x")]).result([one]) }
    #expect(throws: BuildError.self) { try ImageCreation(platforms: [try Platform(parsing: "linux/s390x")]).result([one]) }
  }

  @Test func severalMakeAnIndex() throws {
    let sources = [try image("a", "linux/amd64", docker: true), try image("b", "linux/arm64", docker: true), try image("c", "linux/arm64")]
    let docker = try ImageCreation(annotations: IndexAnnotation.parse("index:a=b")).result(Array(sources[..<2]))
    #expect(docker.descriptor.mediaType == .dockerManifestList && docker.warnings.count == 1)
    let mixed = try ImageCreation().result(sources)
    #expect(mixed.descriptor.mediaType == .ociIndex && mixed.warnings == ["linux/arm64: 2 images are for the same platform; clients will take one of them"])
    #expect(mixed.members.map { $0.source.source.location.place } == ["a", "b", "c"])
    let filtered = try ImageCreation(annotations: IndexAnnotation.parse("index:a=b"), platforms: [try Platform(parsing: "linux/arm64")]).result(sources)
    guard case .index(let index) = try ImageDocument(parsing: filtered.bytes, mediaType: .ociIndex) else { throw OCIError(.invalidDocument, "no index") }
    #expect(index.manifests.count == 2 && index.annotations == ["a": "b"] && filtered.descriptor.digest == .sha256(of: filtered.bytes))
    for wrong in ["a=b", "manifest:a=b", "index-descriptor:a=b"] {
      #expect(throws: BuildError.self, "\(wrong)") { try ImageCreation(annotations: IndexAnnotation.parse(wrong)).result(sources) }
    }
  }

  @Test func windowsKeepsItsVersion() {
    let windows = Platform(os: "windows", architecture: "amd64", osVersion: "10.0.20348.1", osFeatures: ["win32k"])
    #expect(ImageCreation.completed(nil, by: windows) == windows)
    #expect(ImageCreation.completed(nil, by: Platform(os: "linux", architecture: "arm", variant: "v7", osVersion: "5")) == Platform(os: "linux", architecture: "arm", variant: "v7"))
    #expect(ImageCreation.completed(Platform(os: "linux", architecture: ""), by: Platform(os: "x", architecture: "arm", variant: "v6")) == Platform(os: "linux", architecture: "arm", variant: "v6"))
  }

  // MARK: manifest

  private func entry(_ name: String, _ platform: Platform, type: MediaType = .dockerManifest, origin: String? = nil, wantsIndex: Bool = false) throws -> ManifestListEntry {
    let descriptor = Descriptor(mediaType: type, of: Array(name.utf8), platform: platform)
    return ManifestListEntry(reference: try Reference(parsing: name), descriptor: descriptor, bytes: Array(name.utf8), origin: origin, wantsIndex: wantsIndex)
  }

  @Test func listsHaveTheTypeOfTheirImages() throws {
    let linux = try Platform(parsing: "linux/amd64"), arm = try Platform(parsing: "linux/arm64")
    #expect(ManifestLists.index([try entry("a:1", linux), try entry("b:1", arm)]).mediaType == .dockerManifestList)
    #expect(ManifestLists.index([try entry("a:1", linux), try entry("b:1", arm, wantsIndex: true)]).mediaType == .ociIndex)
    #expect(ManifestLists.index([try entry("a:1", linux), try entry("b:1", arm, type: .ociManifest)]).mediaType == .ociIndex)
    #expect(ManifestLists.duplicates([try entry("a:1", linux), try entry("b:1", arm)]).isEmpty)
    #expect(ManifestLists.duplicates([try entry("a:1", linux), try entry("b:1", linux)]) == ["linux/amd64: a:1 and b:1 are for the same platform; clients will take one of them"])
  }

  @Test func entriesAreFoundByTheirNamesOrTheirIndexs() throws {
    let linux = try Platform(parsing: "linux/amd64"), list = try ImageLocation(parsing: "l:1"), full = "docker.io/library/"
    let one = try entry("a@\(Self.digest)", linux, origin: full + "a:1"), two = try entry("b:1", linux), three = try entry("c@\(Self.digest)", linux, origin: full + "c:1")
    let four = try entry("c:2", linux, origin: full + "c:1")
    var five = try entry("localhost/image@\(Self.digest)", linux, origin: "oci-layout:///l:1"), six = try entry("l@\(Self.digest)", linux, origin: "local:m:1")
    (five.descriptor.digest, six.descriptor.digest, six.position) = (.sha256(of: "5"), .sha256(of: "6"), 0)
    let entries = [one, two, three, four, five, six]
    func choose(_ text: String) throws -> ManifestListEntry { try ManifestAnnotateCommand.choose(try ImageLocation(parsing: text), among: entries, list) }
    #expect(try choose("b:1") == two)
    #expect(try choose("a:1") == one)
    #expect(failure { _ = try choose("c:1") }?.suggestion?.contains("c:2") == true)
    #expect(failure { _ = try choose("d:1") }?.code == .notFound)
    #expect(try choose("oci-layout:///l:1") == five && choose("oci-layout:///l@\(five.descriptor.digest)") == five)
    #expect(try choose("local:m:1") == six && choose("local:\(six.descriptor.digest)") == six)
    #expect(failure { _ = try choose("oci-layout:///l:2") }?.code == .notFound)
    #expect(failure { _ = try choose("localhost/image@\(Self.digest)") }?.code == .notFound)
    #expect(ManifestLists.name(five) == "oci-layout:///l:1" && ManifestLists.name(six) == "local:\(six.descriptor.digest)" && ManifestLists.source(six) == .local("m:1"))
  }

  @Test func commandLines() throws {
    for wrong in [["manifest", "create", "a"], ["manifest", "push"], ["manifest", "push", "a", "b"], ["manifest", "inspect"], ["manifest", "inspect", "a", "b", "c"], ["manifest", "rm"], ["manifest", "annotate", "a"]] {
      #expect(throws: (any Error).self, "\(wrong)") { try Manifold.parseAsRoot(wrong) }
    }
    let words = try CommandLineForms.normalised(["--insecure-registry", "r", "manifest", "push", "--purge=true", "--insecure=false", "l"])
    #expect(words == ["manifest", "push", "--insecure-registry", "r", "--purge", "l"])
    #expect(try CommandLineForms.normalised(["imagetools", "create", "--prefer-index=false", "a"]) == ["imagetools", "create", "--no-prefer-index", "a"])
    let push = try #require(try Manifold.parseAsRoot(words) as? ManifestPushCommand)
    #expect(push.purge && !push.insecure && push.global.insecureRegistries == ["r"])
    let create = try #require(try Manifold.parseAsRoot(["imagetools", "create", "-t", "a", "-ta:2", "-p", "linux/arm64", "--no-prefer-index", "b", "c"]) as? ImagetoolsCreateCommand)
    #expect(create.tags == ["a", "a:2"] && create.platforms == ["linux/arm64"] && !create.preferIndex && create.sources == ["b", "c"])
    #expect(try ManifestLists.location("oci-layout://x:1", CommandFacts(workingDirectory: "/w")).description == "oci-layout:///w/x:1")
  }
}
