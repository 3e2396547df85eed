import Foundation
import HostOS
import OCIModel
import Testing

/// Stores on filesystems of every kind: without overlay, without attributes, in memory, in user space. The image is the same.
@Suite(.serialized, .enabled(if: Tool.builds && HostFacts.isRoot && Processes.executablePath("unshare") != nil)) struct FileSystemTests {
  /// A script that mounts the filesystem at $1, with $2 to work in; it ends with the namespace that it is mounted in.
  private static let mounts: [(name: String, needs: String, script: String, isCopied: Bool)] = [
    ("tmpfs", "mount", "mount -t tmpfs none \"$1\"", false),
    ("ramfs", "mount", "mount -t ramfs none \"$1\"", false),
    ("overlay on tmpfs", "mount", "mount -t tmpfs none \"$2\" && mkdir \"$2/l\" \"$2/u\" \"$2/w\" && mount -t overlay none -o lowerdir=\"$2/l\",upperdir=\"$2/u\",workdir=\"$2/w\" \"$1\"", true),
    ("fuse", "fuse-overlayfs", "mkdir -p \"$2/l\" \"$2/u\" \"$2/w\" && fuse-overlayfs -o lowerdir=\"$2/l\",upperdir=\"$2/u\",workdir=\"$2/w\" \"$1\" 2>/dev/null", true),
    ("ext2", "mkfs.ext2", "truncate -s 400M \"$2/disk\" && mkfs.ext2 -q \"$2/disk\" && mount -o loop \"$2/disk\" \"$1\"", false),
    ("vfat", "mkfs.vfat", "truncate -s 400M \"$2/disk\" && mkfs.vfat \"$2/disk\" >/dev/null && mount -o loop \"$2/disk\" \"$1\"", false),
  ]

  @Test(.timeLimit(.minutes(10))) func sameImageEverywhere() async throws {
    try await withEnvironment(needs: ["mount"]) { environment in
      let base = try await environment.base(["linux/amd64"])
      let context = try environment.context("anywhere", [
        "Dockerfile": """
          FROM \(base)
          COPY --chown=7:8 a.txt dir/ /files/
          RUN rm /files/b && mkdir /new && echo x > /new/x && chown 9:10 /new/x && chmod 4711 /new/x && ln /new/x /new/y && ln -s x /new/z && mkfifo /new/p
          RUN rm -rf /files && mkdir /files && echo y > /files/y
          """,
        "a.txt": "a\n", "dir/b": "b\n", "dir/c/d": "d\n",
      ])
      func arguments(_ image: String) -> [String] { ["build", "--provenance=false", "--progress=plain", "-o", "type=image,name=\(image),push=true,rewrite-timestamp=true", context] }
      let epoch = ["SOURCE_DATE_EPOCH": "1700000000"]
      let first = try await environment.tool.run(arguments(environment.image("fs:plain")), environment: epoch)
      try #require(first.succeeded, "\(first.everything)")
      let expected = Digest.sha256(of: try await environment.raw(environment.image("fs:plain")))
      for (i, kind) in Self.mounts.enumerated() {
        guard Processes.executablePath(kind.needs) != nil else { print("SKIPPED: a store on \(kind.name): \(kind.needs) is not installed"); continue }
        let place = "\(environment.scratch)/place\(i)", work = "\(environment.scratch)/work\(i)", image = environment.image("fs:\(i)")
        for path in [place, work] { try Files.makeDirectories(path) }
        // A filesystem in user space has a process, which ends when nothing of it is mounted any more.
        let script = "\(kind.script) || exit 77; place=$1; shift 2; \"$@\"; status=$?; umount -l \"$place\"; exit $status"
        let output = try await Processes.run(
          "unshare", ["--mount", "sh", "-c", script, "sh", place, work, environment.tool.binary] + arguments(image),
          environment: environment.tool.environment(["MANIFOLD_ROOT": place + "/root"].merging(epoch) { $1 }), limit: 16 << 20)
        if output.status == .exited(77) { print("SKIPPED: a store on \(kind.name): \(output.errorText)"); continue }
        if kind.name == "vfat" {
          #expect(output.status == .exited(1) && output.errorText.contains("is on a filesystem that has no symbolic links"), "\(output.everything)")
          continue
        }
        try #require(output.succeeded, "\(kind.name): \(output.everything)")
        #expect(Digest.sha256(of: try await environment.raw(image)) == expected, "\(kind.name)")
        if kind.isCopied { #expect(output.errorText.contains("note: each step copies its whole tree"), "\(kind.name): \(output.everything)") }
      }
    }
  }
}
