import ContentStore
import HostOS
import OCIModel
import Testing

/// An image of several platforms, with small layers.
func makeImage(_ store: ContentStore, _ platforms: [String] = ["linux/amd64", "linux/arm64"]) async throws -> OCIModel.Descriptor {
  var manifests: [OCIModel.Descriptor] = []
  let shared = try await store.put(Array("shared layer".utf8), mediaType: .ociLayer)
  for name in platforms {
    let platform = try Platform(parsing: name)
    let layer = try await store.put(Array("layer of \(name)".utf8), mediaType: .ociLayer)
    let config = try await store.put(
      Array(#"{"architecture":"\#(platform.architecture)","os":"\#(platform.os)","rootfs":{"type":"layers","diff_ids":["\#(shared.digest)","\#(layer.digest)"]}}"#.utf8),
      mediaType: .ociConfig)
    var manifest = try await store.put(ImageManifest(config: config, layers: [shared, layer]).encoded, mediaType: .ociManifest)
    manifest.platform = platform
    manifests.append(manifest)
  }
  return try await store.put(ImageIndex(manifests: manifests).encoded, mediaType: .ociIndex)
}

@Suite struct ImageTests {
  private func reference(_ text: String) throws -> Reference { try Reference(parsing: text) }

  @Test func namesAndWhatTheyStandFor() async throws {
    try await withStore { store in
      let images = LocalImages(store)
      let one = try await makeImage(store), two = try await makeImage(store, ["linux/s390x"])
      try await images.tag(reference("hello"), one, created: Timestamp(seconds: 1))
      try await images.tag([reference("reg:5000/a/b:v1"), reference("hello:v2")], two, created: Timestamp(seconds: 2))
      #expect(try await images.resolve(reference("docker.io/library/hello:latest"))?.descriptor == one)
      #expect(try await images.list().map(\.reference.familiar) == ["hello:v2", "reg:5000/a/b:v1", "hello:latest"])
      #expect(try await images.resolve(reference("hello@\(two.digest)"))?.reference.tag == "v2")
      #expect(try await images.resolve(reference("hello:latest@\(two.digest)")) == nil)
      #expect(try await images.resolve(reference("nothing")) == nil)
      #expect(try await images.withID(String(two.digest.hex.prefix(9))).count == 2)
      #expect(try await images.withID("") == [])
      #expect(try await images.withID("sha256:xyz") == [])
      // A name moves.
      try await images.tag(reference("hello"), two, created: Timestamp(seconds: 3))
      let moved = try #require(try await images.resolve(reference("hello")))
      #expect(moved.descriptor == two && moved.created == Timestamp(seconds: 3))
      #expect(try await images.untag(reference("hello"))?.descriptor == two)
      #expect(try await images.untag(reference("hello")) == nil)
      #expect(try await images.list().count == 2)
    }
  }

  @Test func whatCannotBeNamed() async throws {
    try await withStore { store in
      let images = LocalImages(store)
      let layer = try await store.put([1], mediaType: .ociLayer)
      await expectStoreError(.invalid, "neither an image index nor a manifest") { try await images.tag(reference("a"), layer) }
      let absent = Descriptor(mediaType: .ociIndex, of: [1, 2])
      await expectStoreError(.notFound, "cannot be named a") { try await images.tag(reference("a"), absent) }
    }
  }

  @Test func closures() async throws {
    try await withStore { store in
      let image = try await makeImage(store)
      let closure = try store.closure(of: image)
      #expect(closure.documents.count == 3 && closure.documents.last == image && closure.blobs.count == 5 && closure.missing.isEmpty)
      let layer = Descriptor(mediaType: .ociLayer, of: [9, 9])
      let manifest = try await store.put(ImageManifest(config: closure.blobs[0], layers: [layer]).encoded, mediaType: .ociManifest)
      #expect(try store.closure(of: manifest).missing == [layer])
      let unknown = Descriptor(mediaType: .ociIndex, of: [3])
      #expect(try store.closure(of: unknown).missing == [unknown])
      var nested = image
      for _ in 0..<9 { nested = try await store.put(ImageIndex(manifests: [nested]).encoded, mediaType: .ociIndex) }
      await expectStoreError(.invalid, "nested deeper") { try store.closure(of: nested) }
    }
  }
}

@Suite struct LayoutTests {
  @Test func roundTrip() async throws {
    try await withStore { store in
      try await withRoot { path in
        let image = try await makeImage(store), other = try await makeImage(store, ["linux/ppc64le"])
        let layout = try OCILayout.create(path + "/out")
        #expect(try layout.index().manifests.isEmpty)
        try await layout.write(image, names: [.name(Reference(parsing: "me/hello:1"))], from: store)
        try await layout.write(other, names: [], from: store)
        try await layout.write(image, names: [], from: store)
        #expect(try names(path + "/out") == ["blobs", "index.json", "oci-layout"])
        let read = try OCILayout.open(path + "/out")
        let index = try read.index()
        #expect(index.manifests.map(\.annotations) == [
          [OCILayout.imageName: "docker.io/me/hello:1", OCILayout.refName: "1"], [OCILayout.refName: "latest"],
        ])
        #expect(try read.resolve("docker.io/me/hello:1").digest == image.digest && read.resolve("1").digest == image.digest)
        #expect(try read.resolve(nil).digest == image.digest && read.resolve(image.digest.description).digest == image.digest)
        await expectStoreError(.notFound, "it has docker.io/me/hello:1, latest") { try read.resolve("2") }
        #expect(try Files.status(path + "/out/blobs/sha256/" + image.digest.hex).links == 1)
        try await withStore { second in
          try await second.take(try read.resolve("latest"), from: read)
          #expect(try second.closure(of: image).missing.isEmpty)
        }
        try await skopeo(path + "/out", image)
      }
    }
  }

  private func skopeo(_ path: String, _ image: OCIModel.Descriptor) async throws {
    guard Processes.executablePath("skopeo") != nil else { return print("SKIPPED skopeo: not installed") }
    let raw = try await Processes.run("skopeo", ["inspect", "--raw", "oci:\(path):latest"])
    #expect(raw.succeeded && Digest.sha256(of: raw.output) == image.digest, "\(raw.errorText)")
    // The layers are not archives: copying moves them as they are, and checks every digest.
    let copied = try await Processes.run("skopeo", ["copy", "--all", "--preserve-digests", "--insecure-policy", "oci:\(path):1", "oci:\(path)-copy:1"])
    #expect(copied.succeeded, "\(copied.errorText)")
  }

  @Test func concurrentNames() async throws {
    try await withStore { store in
      try await withRoot { path in
        let image = try await makeImage(store)
        let layout = try OCILayout.create(path)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for i in 0..<20 { group.addTask { try await layout.write(image, names: [.tag("t\(i)")], from: store) } }
          try await group.waitForAll()
        }
        #expect(try layout.index().manifests.count == 20)
      }
    }
  }

  @Test func hostileLayouts() async throws {
    try await withStore { store in
      try await withRoot { path in
        await expectStoreError(.invalid, "no file oci-layout") { try OCILayout.open(path) }
        await expectStoreError(.notFound) { try OCILayout.open(path + "/none") }
        try Files.writeAtomically(Array(#"{"imageLayoutVersion":"9"}"#.utf8), to: path + "/oci-layout")
        await expectStoreError(.invalid, "version 9") { try OCILayout.open(path) }
        try Files.removeTree(path + "/oci-layout")
        let image = try await makeImage(store)
        let layout = try OCILayout.create(path)
        try await layout.write(image, names: [], from: store)
        let victim = try #require(try store.closure(of: image).blobs.last)
        // Another content; then a link out of the layout; then nothing.
        let file = "blobs/sha256/" + victim.digest.hex
        try Files.writeAtomically([UInt8](repeating: 0, count: Int(victim.size)), to: path + "/" + file)
        try await withStore { second in
          await expectStoreError(.digestMismatch) { try await second.take(image, from: layout) }
          #expect(!second.contains(victim.digest) && !second.contains(image.digest))
        }
        let directory = try Directory.open(path)
        try directory.unlink(file)
        try directory.symlink(target: "/etc/hostname", at: file)
        await expectStoreError(.notFound) { try layout.reader(victim.digest) }
        try directory.unlink(file)
        try await withStore { second in
          await expectStoreError(.notFound, "lacks \(victim.digest)") { try await second.take(image, from: layout) }
        }
        try Files.writeAtomically(Array("{}".utf8), to: path + "/blobs/sha256/" + image.digest.hex)
        await expectStoreError(.digestMismatch) { try layout.bytes(image.digest, limit: 10) }
      }
    }
  }
}

@Suite struct FileHashTests {
  @Test func rememberedOnlyWhenSettled() async throws {
    try await withStore { store in
      try await withRoot { path in
        for name in ["a", "b", "c"] { try Files.writeAtomically(Array(name.utf8), to: path + "/" + name) }
        let files = try ["a", "b", "c"].map { FileIdentity(try Files.status(path + "/" + $0)) }
        let cache = FileHashCache(store, kind: "content"), other = FileHashCache(store, kind: "other")
        let began = files.map { max($0.mtime, $0.ctime) }.max()! + FileHashCache.settling
        #expect(try await cache.lookup(files) == [nil, nil, nil])
        try await cache.record([(files[0], .sha256(of: "a"))], began: began)
        var young = files[1]
        young.ctime = began - FileHashCache.settling + 1
        try await cache.record([(young, .sha256(of: "b"))], began: began)
        #expect(try await cache.lookup(files) == [.sha256(of: "a"), nil, nil])
        #expect(try await cache.lookup([young]) == [nil])
        #expect(try await other.lookup(files) == [nil, nil, nil])
        for change in [\FileIdentity.size, \.mtime, \.ctime] as [WritableKeyPath<FileIdentity, Int64> & Sendable] {
          var changed = files[0]
          changed[keyPath: change] += 1
          #expect(try await cache.lookup([changed]) == [nil])
        }
        // A file's newer state takes the place of the older.
        var newer = files[0]
        newer.mtime -= 5
        try cache.recordBlocking([(newer, .sha256(of: "A"))], began: began)
        #expect(try cache.lookupBlocking([files[0], newer]) == [nil, .sha256(of: "A")])
      }
    }
  }

  @Test func manyAtOnce() async throws {
    try await withStore { store in
      let status = try Files.status("/etc/passwd")
      let files = (0..<20_000).map { i in
        var file = FileIdentity(status)
        file.inode = UInt64(i)
        return file
      }
      let cache = FileHashCache(store, kind: "content")
      let began = max(status.mtime, status.ctime) + FileHashCache.settling
      try await cache.record(files.map { ($0, Digest.sha256(of: "\($0.inode)")) }, began: began)
      let clock = ContinuousClock()
      let start = clock.now
      let found = try await cache.lookup(files)
      print("20000 remembered hashes read in \(clock.now - start)")
      #expect(found.allSatisfy { $0 != nil } && found[77] == .sha256(of: "77"))
    }
  }
}
