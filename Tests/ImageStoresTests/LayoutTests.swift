import ContentStore
import HostOS
import ImageStores
import OCIModel
import OCIRegistry
import TestSupport
import Testing

/// OCI layouts of others: how their images are named, and what is wrong with them.
@Suite struct LayoutTests {
  private func source(_ places: Places, _ text: String) throws -> any ImageSource { try places.access.source(ImageLocation(parsing: "oci-layout://" + places.scratch.path + "/" + text)) }

  @Test func names() async throws {
    try await Places.run { places in
      let (one, two) = (try RandomImage(seed: 1), try RandomImage(seed: 2, platforms: ["linux/amd64", "linux/arm64"]))
      try await places.add(one, .layout, "l")
      #expect(try await source(places, "l").root().descriptor == one.root)
      try await places.add(two, .layout, "l")
      var named = two.root
      named.annotations[OCILayout.imageName] = "docker.io/me/app:9"
      try places.write([(one.root, "a"), (named, "9")], "l")
      #expect(try await source(places, "l:a").root().descriptor == one.root)
      #expect(try await source(places, "l:9").root().descriptor == two.root)
      #expect(try await source(places, "l@\(two.root.digest)").root().descriptor == two.root)
      // A child is in no index.json, and its media type is found out.
      #expect(try await source(places, "l@\(two.manifests[0].descriptor.digest)").root().descriptor.mediaType == .ociManifest)
      #expect(try await places.access.source(.layout(path: places.scratch.file("l"), tag: "docker.io/me/app:9", digest: nil)).root().descriptor == two.root)
      for (text, words) in [("l", "holds 2 images: say which: a, docker.io/me/app:9"), ("l:b", "has no image b: it has a, docker.io/me/app:9")] {
        do {
          _ = try await source(places, text).root()
          Issue.record("\(text) was found")
        } catch { #expect("\(error)".contains(words), "\(error)") }
      }
      try places.write([(one.root, "latest"), (two.root, "9")], "l")
      #expect(try await source(places, "l").root().descriptor == one.root)
    }
  }

  @Test func hostileOnes() async throws {
    try await Places.run { places in
      let image = try RandomImage(seed: 3, platforms: ["linux/amd64", "linux/arm64"], layers: 1)
      let layer = try #require(image.blobs.first).descriptor, blob = "l/blobs/sha256/\(layer.digest.hex)"
      func copy() async throws {
        let reader = try source(places, "l:1")
        try await ImageTransfer().copy(try await reader.root(), from: reader, to: places.access.destination(places.location(.registry, "x")))
      }
      func expectFailure(_ words: String, at location: SourceLocation = #_sourceLocation) async {
        do {
          try await copy()
          Issue.record("it was copied", sourceLocation: location)
        } catch { #expect("\(error)".contains(words), "\(error)", sourceLocation: location) }
        #expect(places.registry.manifest("1", in: "x") == nil, sourceLocation: location)
      }
      // A blob that is a link to a file outside.
      try await places.add(image, .layout, "l")
      let secret = try places.scratch.write("secret", image.blobs[0].bytes)
      try Directory.open(places.scratch.path).unlink(blob)
      try Directory.open(places.scratch.path).symlink(target: secret, at: blob)
      await expectFailure("is not in the OCI layout")
      // One within is followed.
      try await places.add(image, .layout, "l")
      try places.scratch.write("l/blobs/other", image.blobs[0].bytes)
      try Directory.open(places.scratch.path).unlink(blob)
      try Directory.open(places.scratch.path).symlink(target: "../other", at: blob)
      #expect(try await places.readAll(places.location(.layout, "l")) == digests(image))
      // A size that lies, and content that lies.
      try await places.add(image, .layout, "l")
      try Directory.open(places.scratch.path).unlink(blob)
      try places.scratch.write(blob, image.blobs[0].bytes + [1])
      await expectFailure("bytes, not the \(layer.size)")
      try places.scratch.write(blob, Array(image.blobs[0].bytes.dropLast()) + [7])
      await expectFailure("other than its digest says")
      try Directory.open(places.scratch.path).unlink(blob)
      try Directory.open(places.scratch.path).makeDirectory(blob)
      await expectFailure("is not a file")
      try Directory.open(places.scratch.path).removeDirectory(blob)
      // index.json that lies.
      var root = image.root
      root.size += 1
      try places.write([(root, "1")], "l")
      await expectFailure("bytes, not the \(root.size)")
      root = image.root
      root.mediaType = .ociManifest
      try places.write([(root, "1")], "l")
      await expectFailure("no image or index that can be read")
      root.mediaType = "text/html"
      try places.write([(root, "1")], "l")
      await expectFailure("no image or index that can be read")
      for (text, words) in [
        ("[]", "not a JSON object"), (#"{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"sha256:../../x","size":1}]}"#, "invalid digest"), ("{\"schemaVersion\":2,\"manifests\":[{}]}", "no mediaType"),
        (String(repeating: "[", count: 100_000), ""),
      ] {
        try places.scratch.write("l/index.json", text)
        await expectFailure(words)
      }
    }
  }

  /// Many at once, of other processes' kind: each has its entry, and the lock's file is gone.
  @Test func writersWaitForOneAnother() async throws {
    try await Places.run { places in
      let images = try (0..<12).map { try RandomImage(seed: UInt64(100 + $0)) }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (i, image) in images.enumerated() {
          try await places.add(image, .local, "i\(i)")
          group.addTask {
            let reader = try places.access.source(places.location(.local, "i\(i)"))
            let target = try ImageLocation(parsing: "oci-layout://\(places.scratch.file("made/here")):t\(i)")
            try await ImageTransfer().copy(try await reader.root(), from: reader, to: places.access.destination(target))
          }
        }
        try await group.waitForAll()
      }
      for (i, image) in images.enumerated() { #expect(try await source(places, "made/here:t\(i)").root().descriptor == image.root) }
      let index = try OCILayout.open(places.scratch.file("made/here")).index()
      #expect(Set(index.manifests.map(\.digest)) == Set(images.map(\.root.digest)) && index.manifests.count == 12)
      let left = try Directory.open(places.scratch.file("made/here")).entries().map(\.name).sorted() + Directory.open(places.scratch.file("made/here/blobs/sha256")).entries().map(\.name).filter { $0.hasPrefix(".") }
      #expect(left == ["blobs", "index.json", "oci-layout"])
    }
  }

  @Test func byDigestItIsNotNamed() async throws {
    try await Places.run { places in
      let image = try RandomImage(seed: 4)
      try await places.add(image, .local, "one")
      let reader = try places.access.source(.local("one:1"))
      let root = try await reader.root(), path = places.scratch.file("l")
      for _ in 0..<2 { try await ImageTransfer().copy(root, from: reader, to: places.access.destination(.layout(path: path, tag: nil, digest: root.descriptor.digest))) }
      #expect(try OCILayout.open(path).index().manifests == [root.descriptor])
      await expectImageError(.unsupported) { try await ImageTransfer().copy(root, from: reader, to: places.access.destination(.layout(path: path, tag: nil, digest: .sha256(of: "x")))) }
      try await ImageTransfer().copy(root, from: reader, to: places.access.destination(.layout(path: path, tag: nil, digest: nil)))
      #expect(try OCILayout.open(path).index().manifests.map { $0.annotations[OCILayout.refName] } == [nil, "latest"])
    }
  }
}
