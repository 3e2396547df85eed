import Foundation
import HostOS
import OCIModel
import Testing

/// The main job as an ordinary user: the same as root's, to the digest.
@Suite(.serialized, .enabled(if: Tool.builds)) struct RootlessTests {
  private static let platforms = BaseImage.usual.joined(separator: ",")
  /// Two builds at different times give the same image with these.
  private static let epoch = ["SOURCE_DATE_EPOCH": "1700000000"]
  private static func pushed(_ image: String) -> String { "type=image,name=\(image),push=true,rewrite-timestamp=true" }

  private static func mainJob(_ base: String) -> String {
    """
    FROM --platform=$BUILDPLATFORM \(base) AS build
    ARG TARGETPLATFORM
    RUN mkdir -p /out/deep && echo "$TARGETPLATFORM" > /out/deep/platform
    FROM \(base)
    COPY --from=build --chown=7:8 /out /out
    COPY --chown=app a.txt dir/ /files/
    COPY --chmod=0400 a.txt /closed
    RUN --mount=type=cache,target=/cache echo x >> /cache/count && echo "count $(wc -l < /cache/count)"
    RUN --mount=type=secret,id=s [ "$(cat /run/secrets/s)" = hidden ]
    RUN uname -m > /etc/machine && chown 1234:4321 /etc/machine && chmod 4750 /etc/machine && rm /files/b
    USER app
    RUN id -u > /tmp/id
    """
  }

  private func context(_ environment: Environment, _ dockerfile: String) throws -> String {
    try environment.context("rootless", ["Dockerfile": dockerfile, "a.txt": "a\n", "dir/b": "b\n", "dir/sub/c": "c\n"])
  }

  private func secret(_ environment: Environment) throws -> String {
    let path = environment.scratch + "/secret"
    try Files.writeAtomically(Array("hidden".utf8), to: path, mode: 0o644, durable: false)
    return path
  }

  private func digest(_ environment: Environment, _ image: String) async throws -> String {
    Digest.sha256(of: try await environment.raw(image)).description
  }

  @Test(.timeLimit(.minutes(10))) func sameIndexAsRoots() async throws {
    try await OrdinaryUser.with(.many) { user in
      try await withEnvironment(needs: ["qemu-aarch64-static"]) { environment in
        let base = try await environment.base(), context = try context(environment, Self.mainJob(base)), secret = try secret(environment)
        let mine = environment.image("root:1"), his = environment.image("user:1")
        func arguments(_ image: String, _ more: [String] = []) -> [String] {
          ["build", "--platform", Self.platforms, "--provenance=false", "--progress=plain", "--secret", "id=s,src=\(secret)", "-o", Self.pushed(image)] + more + [context]
        }
        let root = try user.directory("store", in: environment) + "/root"
        let output = try await user.run(environment.tool, root: root, arguments(his), .noBinfmtTable, environment: Self.epoch)
        try #require(output.succeeded, "\(output.everything)")
        #expect(!output.errorText.contains("note:"), "\(output.everything)")
        #expect(try await environment.platforms(his).filter { $0 != "unknown/unknown" } == BaseImage.usual)
        let reference = try await environment.tool.run(arguments(mine), environment: Self.epoch)
        try #require(reference.succeeded, "\(reference.everything)")
        #expect(try await digest(environment, his) == (try await digest(environment, mine)))

        let again = try await user.run(environment.tool, root: root, arguments(his), .noBinfmtTable, environment: Self.epoch)
        try #require(again.succeeded, "\(again.everything)")
        let steps = again.errorText.split(separator: "\n").filter { $0.contains(" CACHED") }
        // One step of the build stage for each platform, and seven of the last stage.
        #expect(steps.count == 3 + 3 * 7, "\(again.everything)")
        #expect(try await digest(environment, his) == (try await digest(environment, mine)))
        // --no-cache empties cache directories, as BuildKit does; a directory is the same for all platforms.
        let third = try await user.run(environment.tool, root: root, arguments(his, ["--no-cache"]), environment: Self.epoch)
        try #require(third.succeeded, "\(third.everything)")
        let tree = try await environment.unpacked(his, "linux/arm64")
        #expect(Files.text(tree + "/etc/machine") == "aarch64\n")
        #expect(third.errorText.contains(/count [123]/), "\(third.everything)")
        #expect(!Files.exists(tree + "/run/secrets/s"))
      }
    }
  }

  @Test(.timeLimit(.minutes(10))) func outputs() async throws {
    try await OrdinaryUser.with(.many) { user in
      try await withEnvironment { environment in
        let base = try await environment.base(["linux/amd64"])
        let context = try context(environment, "FROM \(base)\nCOPY --chown=7:8 a.txt dir/ /files/\nRUN chown 9:10 /files/b && touch -d @1000000000 /files\n")
        let root = try user.directory("store", in: environment) + "/root"
        let out = try user.directory("out", in: environment)
        let arguments = ["build", "--provenance=false", "-o", "type=local,dest=\(out)/files", "-o", "type=tar,dest=\(out)/tar", "-o", "type=oci,dest=\(out)/oci", context]
        let output = try await user.run(environment.tool, root: root, arguments, environment: Self.epoch)
        try #require(output.succeeded, "\(output.everything)")
        // What he gets is his; in archives owners are the image's.
        let files = try Directory.open(out + "/files")
        for path in ["files", "files/a.txt", "files/b", "files/sub/c", "bin/busybox"] { #expect(try files.status(path).uid == user.uid, "\(path)") }
        #expect(Files.text(out + "/files/files/sub/c") == "c\n")
        let listing = try await checked("tar", ["--numeric-owner", "-tvf", out + "/tar"]).outputText
        #expect(listing.contains(/-rw-r--r-- 7\/8 .* files\/a.txt/) && listing.contains(/-rw-r--r-- 9\/10 .* files\/b/), "\(listing)")
        let mine = try await environment.tool.run(arguments.map { $0.replacingOccurrences(of: out, with: environment.scratch + "/mine") }, environment: Self.epoch)
        try #require(mine.succeeded, "\(mine.everything)")
        for name in ["tar", "oci"] {
          let (his, mine) = (try Files.read("\(out)/\(name)", limit: 64 << 20), try Files.read("\(environment.scratch)/mine/\(name)", limit: 64 << 20))
          if name == "tar" { #expect(Digest.sha256(of: his) == .sha256(of: mine), "\(name)") }
          #expect(!his.isEmpty)
        }
        try await checked("skopeo", ["inspect", "oci-archive:\(out)/oci"])
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func settingsOfSteps() async throws {
    try await OrdinaryUser.with(.many) { user in
      try await withEnvironment { environment in
        let base = try await environment.base(["linux/amd64"])
        let context = try context(environment, """
          FROM \(base)
          RUN grep "10.1.2.3.*somewhere" /etc/hosts && df -k /dev/shm | grep -q " 32768 " && [ "$(ulimit -n)" = 777 ] && [ "$(ulimit -Hn)" = 888 ]
          RUN --network=none ! ip addr 2>/dev/null | grep -q "state UP"
          RUN --mount=type=tmpfs,target=/t,size=1m ! dd if=/dev/zero of=/t/f bs=1M count=2 2>/dev/null
          RUN --mount=type=bind,target=/here cat /here/a.txt && ! touch /here/new 2>/dev/null
          """)
        let root = try user.directory("store", in: environment) + "/root"
        let output = try await user.run(
          environment.tool, root: root, ["build", "--progress=plain", "--add-host", "somewhere:10.1.2.3", "--shm-size", "32m", "--ulimit", "nofile=777:888", context])
        #expect(output.succeeded, "\(output.everything)")
      }
    }
  }

  /// Device files and attributes that an ordinary user cannot make: said with their paths, and kept in the image.
  @Test(.timeLimit(.minutes(5)), .enabled(if: HostFacts.isRoot)) func whatOnlyRootCanMake() async throws {
    try await OrdinaryUser.with(.many) { user in
      try await withEnvironment { environment in
        let base = try await environment.base(["linux/amd64"]), special = environment.image("special:1"), image = environment.image("user:1")
        let first = try context(environment, "FROM \(base)\nRUN mknod /null2 c 1 3 && mknod /zero2 c 1 5\n")
        let made = try await environment.tool.run(["build", "--provenance=false", "-t", special, "--push", first])
        try #require(made.succeeded, "\(made.everything)")
        let context = try environment.context("over", ["Dockerfile": "FROM \(special)\nRUN [ ! -e /null2 ]\n"])
        let root = try user.directory("store", in: environment) + "/root"
        let output = try await user.run(environment.tool, root: root, ["build", "--provenance=false", "--progress=plain", "-t", image, "--push", context])
        try #require(output.succeeded, "\(output.everything)")
        #expect(output.errorText.contains("2 device files cannot be made without root, so steps do not see /null2, /zero2; the image keeps them"), "\(output.everything)")
        func layers(_ image: String) async throws -> [String] {
          let text = try await checked("sh", ["-c", "skopeo inspect --tls-verify=false docker://\(image) | jq -r '.Layers[]'"]).outputText
          return text.split(separator: "\n").map(String.init)
        }
        let below = try await layers(special)
        #expect(Array(try await layers(image).prefix(below.count)) == below)
      }
    }
  }

  /// One id only: owners stay right in the image, steps run as root, and what cannot be is said.
  @Test(.timeLimit(.minutes(10)), arguments: [OrdinaryUser.Circumstance.none, .noNewPrivileges]) func oneID(_ circumstance: OrdinaryUser.Circumstance) async throws {
    try await OrdinaryUser.with(circumstance == .noNewPrivileges ? .many : .one) { user in
      try await withEnvironment(needs: ["qemu-aarch64-static"]) { environment in
        let base = try await environment.base(), mine = environment.image("root:1"), his = environment.image("user:1")
        let context = try context(environment, """
          FROM \(base) AS build
          COPY --chown=1000:1000 --chmod=0600 a.txt dir/ /files/
          RUN echo more >> /files/b && mv /files/sub/c /files/sub/d && uname -m > /files/machine
          FROM \(base)
          COPY --from=build /files /files
          COPY --from=build --chown=app /files/b /b
          """)
        func arguments(_ image: String) -> [String] {
          ["build", "--platform", Self.platforms, "--provenance=false", "--progress=plain", "-o", Self.pushed(image), context]
        }
        let root = try user.directory("store", in: environment) + "/root"
        let output = try await user.run(environment.tool, root: root, arguments(his), circumstance, environment: Self.epoch)
        try #require(output.succeeded, "\(output.everything)")
        let why = circumstance == .none ? "/etc/subuid has no range for this user" : "newuidmap failed"
        #expect(output.errorText.contains("note: \(why)") && output.errorText.contains("mend it with: sudo "), "\(output.everything)")
        let reference = try await environment.tool.run(arguments(mine), environment: Self.epoch)
        try #require(reference.succeeded, "\(reference.everything)")
        #expect(try await digest(environment, his) == (try await digest(environment, mine)))
        // What needs other ids fails by name.
        let other = try environment.context("other", ["Dockerfile": "FROM \(base)\nUSER app\nRUN id\n"])
        let refused = try await user.run(environment.tool, root: root, ["build", "--progress=plain", other], circumstance)
        #expect(!refused.succeeded && refused.errorText.contains("the step is to run as 1000:1000, and this user namespace has one id only"), "\(refused.everything)")
      }
    }
  }

  /// Where user namespaces are forbidden a build without RUN does all the same, and one with RUN says what to do before it begins.
  @Test(.timeLimit(.minutes(10))) func forbiddenNamespaces() async throws {
    try await OrdinaryUser.with(.many) { user in
      try await withEnvironment { environment in
        let root = try user.directory("store", in: environment) + "/root"
        let trial = user.words(["true"], .noNamespaces)
        guard try await Processes.run(trial[0], Array(trial.dropFirst())).succeeded else { return print("SKIPPED: this kernel cannot forbid namespaces in one") }
        let base = try await environment.base(), mine = environment.image("root:1"), his = environment.image("user:1")
        let context = try context(environment, """
          FROM \(base) AS build
          COPY --chown=1000:1000 a.txt dir/ /files/
          COPY --chmod=0444 dir/sub /sub
          FROM \(base)
          ENV A=B
          COPY a.txt /etc/
          COPY --from=build --chmod=0500 /files /files
          COPY --from=build --chown=app /sub /mine
          ADD --chown=3:4 a.tar /archive/
          LABEL a=b
          """)
        try await checked("tar", ["--owner=5", "--group=6", "--mtime=@1000000000", "-cf", context + "/a.tar", "-C", context, "dir"])
        func arguments(_ image: String) -> [String] {
          ["build", "--platform", Self.platforms, "--provenance=false", "--progress=plain", "-o", Self.pushed(image), context]
        }
        let output = try await user.run(environment.tool, root: root, arguments(his), .noNamespaces, environment: Self.epoch)
        try #require(output.succeeded, "\(output.everything)")
        #expect(output.errorText.contains("note: steps (RUN) cannot run here, all else can: ") && output.errorText.contains("sysctl user.max_user_namespaces"), "\(output.everything)")
        let reference = try await environment.tool.run(arguments(mine), environment: Self.epoch)
        try #require(reference.succeeded, "\(reference.everything)")
        #expect(try await digest(environment, his) == (try await digest(environment, mine)))
        let out = try user.directory("out", in: environment)
        let local = try await user.run(environment.tool, root: root, ["build", "-o", "type=local,dest=\(out)/files", context], .noNamespaces)
        try #require(local.succeeded, "\(local.everything)")
        let copied = try Directory.open(out + "/files").status("files/a.txt")
        #expect(copied.permissions == 0o500 && copied.uid == user.uid)

        let running = try environment.context("running", ["Dockerfile": "FROM \(base)\nCOPY . /here\nRUN echo ran\n"])
        let refused = try await user.run(environment.tool, root: root, ["build", "--progress=plain", running], .noNamespaces)
        #expect(refused.status == .exited(1) && refused.errorText.contains("sudo sysctl user.max_user_namespaces=15000"), "\(refused.everything)")
        #expect(!refused.errorText.contains("COPY . /here"), "nothing is done before it is refused: \(refused.everything)")
      }
    }
  }
}
