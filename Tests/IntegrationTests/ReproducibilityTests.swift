import Foundation
import HostOS
import OCIModel
import Testing

/// The same Dockerfile on two roots, at different times, from files made in another order, by another user: one index digest.
@Suite(.enabled(if: Tool.builds)) struct ReproducibilityTests {
  private static let files = [
    "Dockerfile": """
      ARG BASE
      FROM --platform=$BUILDPLATFORM ${BASE} AS gen
      RUN mkdir /gen && for i in 1 2 3; do echo $i > /gen/$i; done && ln /gen/1 /gen/hard && touch -d @100 /gen/old
      FROM ${BASE}
      WORKDIR /srv/app
      COPY . /srv/app/
      COPY --from=gen /gen /gen
      RUN echo made > /made && mkdir -p /new/dir && rm -f /bin/wc
      LABEL a=b
      """, "z": "last", "a": "first", "dir/y": "y", "dir/b": "b",
  ]

  private func context(_ environment: Environment, _ name: String, order: [String]) throws -> String {
    let path = "\(environment.scratch)/\(name)"
    for file in order { _ = try environment.context(name, [file: Self.files[file] ?? ""]) }
    return path
  }

  /// An ordinary user with ranges of ids, when root runs the tests.
  private static var otherUser: String? {
    guard HostFacts.isRoot, HostFacts.idMap.count > 1, let text = Files.text("/etc/subuid") else { return nil }
    return text.split(separator: "\n").compactMap { $0.split(separator: ":").first.map(String.init) }.first { name in
      guard let entry = getpwnam(name) else { return false }
      return entry.pointee.pw_uid != 0
    }
  }

  @Test(.timeLimit(.minutes(10))) func sameDigestOnTwoRoots() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let names = Self.files.keys.sorted()
      let one = try context(environment, "one", order: names), two = try context(environment, "two", order: names.reversed())
      // Another clock: the files of the second are a day younger, and its steps run later.
      for name in names { try FileManager.default.setAttributes([.modificationDate: Date().addingTimeInterval(86_400)], ofItemAtPath: "\(two)/\(name)") }
      func arguments(_ context: String, _ more: String = "") -> [String] {
        [
          "build", "--platform", "linux/amd64,linux/arm64", "--build-arg", "BASE=\(base)", "--provenance=false", "--progress=plain", "--metadata-file",
          "\(environment.scratch)/out/\((context as NSString).lastPathComponent).json", "-o", "type=oci,dest=\(environment.scratch)/out/\((context as NSString).lastPathComponent).tar,rewrite-timestamp=true\(more)", context,
        ]
      }
      try Files.makeDirectories(environment.scratch + "/out")
      chmod(environment.scratch + "/out", 0o777)
      chmod(environment.scratch, 0o755)
      let epoch = ["SOURCE_DATE_EPOCH": "1700000000"]
      let first = try await environment.tool.run(arguments(one), environment: epoch)
      try #require(first.succeeded, "\(first.everything)")
      let root = environment.scratch + "/root2"
      let second = Tool(binary: environment.tool.binary, root: root)
      if let user = Self.otherUser, let id = getpwnam(user)?.pointee {
        for path in [root, root + "-home"] {
          try Files.makeDirectories(path)
          chown(path, id.pw_uid, id.pw_gid)
        }
        let run = try await Processes.run(
          "setpriv", ["--reuid", "\(id.pw_uid)", "--regid", "\(id.pw_gid)", "--clear-groups", second.binary] + arguments(two), environment: second.environment(epoch), limit: 64 << 20)
        try #require(run.succeeded, "\(run.everything)")
      } else {
        print("SKIPPED: the second build by another user (this needs root, and a user with ranges in /etc/subuid)")
        let run = try await second.run(arguments(two), environment: epoch)
        try #require(run.succeeded, "\(run.everything)")
      }
      let digests = try ["one", "two"].map { try JSONValue(parsing: Files.read("\(environment.scratch)/out/\($0).json", limit: 1 << 20))["containerimage.digest"]?.stringValue }
      #expect(digests[0] != nil && digests[0] == digests[1])
      #expect(try Files.read(environment.scratch + "/out/one.tar", limit: 64 << 20) == Files.read(environment.scratch + "/out/two.tar", limit: 64 << 20))

      // What was exported before, and in which form, makes no difference; the base image's layers are as they were.
      let plain = try await environment.tool.run(arguments(one).map { $0.replacingOccurrences(of: ",rewrite-timestamp=true", with: "") }, environment: epoch)
      try #require(plain.succeeded, "\(plain.everything)")
      for form in [",compression=zstd", ",compression=estargz,force-compression=true", ""] {
        let again = try await environment.tool.run(arguments(one, form), environment: epoch)
        try #require(again.succeeded, "\(again.everything)")
      }
      #expect(try JSONValue(parsing: Files.read("\(environment.scratch)/out/one.json", limit: 1 << 20))["containerimage.digest"]?.stringValue == digests[0])
    }
  }

  /// A Dockerfile's own time counts, unless the command line gives another.
  @Test(.timeLimit(.minutes(5))) func theDockerfileMayGiveTheTime() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("scratch", ["Dockerfile": "ARG SOURCE_DATE_EPOCH=1704067200\nFROM scratch\nCOPY a /\n", "a": "a"])
      for (option, year) in [([], "2024-01-01T00:00:00Z"), (["--build-arg", "SOURCE_DATE_EPOCH=0"], "1970-01-01T00:00:00Z")] as [([String], String)] {
        let run = try await environment.tool.run(["build", "--progress=plain", "-o", "type=oci,dest=\(environment.scratch)/x.tar,rewrite-timestamp=true"] + option + [context])
        try #require(run.succeeded && !run.errorText.contains("WARNING"), "\(run.everything)")
        let config = try await checked("skopeo", ["inspect", "--config", "--raw", "oci-archive:\(environment.scratch)/x.tar"])
        #expect(try JSONValue(parsing: config.output)["created"]?.stringValue == year)
      }
      let own = try await environment.tool.run(["build", "--progress=plain", "--build-arg", "SOURCE_DATE_EPOCH=context", "-o", "type=oci,dest=\(environment.scratch)/x.tar", context])
      #expect(own.succeeded, "\(own.everything)")
    }
  }

  /// Without a time there is nothing to cut to, and the build says so.
  @Test(.timeLimit(.minutes(5))) func withoutATimeItSaysSo() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("scratch", ["Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"])
      let run = try await environment.tool.run(["build", "--progress=plain", "-o", "type=oci,dest=\(environment.scratch)/x.tar,rewrite-timestamp=true", context])
      #expect(run.succeeded && run.errorText.contains("rewrite-timestamp has no effect without a time"), "\(run.everything)")
    }
  }
}
