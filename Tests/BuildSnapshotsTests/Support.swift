#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import GRDB
  import Glibc
  import HostOS
  import LayerArchive
  import OCIModel
  import Synchronization
  import Testing

  let isRoot = geteuid() == 0

  func withScratch(_ body: (String) async throws -> Void) async throws {
    let path = try Files.makeTemporaryDirectory(prefix: "snapshots-test-")
    do { try await body(path) } catch {
      try? Files.removeTree(path)
      throw error
    }
    try Files.removeTree(path)
  }

  func openRefs(_ root: String, _ snapshotter: RefStore.Snapshotter = .automatic) async throws -> RefStore {
    try await RefStore.open(store: ContentStore.open(root: root, migrations: RefStore.migrations), snapshotter: snapshotter)
  }

  /// A layer's archive, made by the system's tar.
  struct TestLayer: Sendable {
    var descriptor: OCIModel.Descriptor
    var diffID: Digest
    var blob: [UInt8]
  }

  /// `script` is run by a shell in an empty directory, which then becomes the layer. Everything in it has one time, whatever the script took.
  func makeLayer(_ scratch: String, _ script: String, gzip: Bool = true, without: String = "") async throws -> TestLayer {
    let directory = try Files.makeTemporaryDirectory(in: scratch, prefix: "layer-")
    let delete = without.isEmpty ? "" : "\ntar --delete -f ../$(basename $PWD).tar --no-recursion \(without)"
    let time = "find . -exec touch -h -d @1600000000 {} +"
    let made = try await Processes.run("sh", ["-euc", "umask 022; chmod 755 .; \(script)\n\(time)\ntar --numeric-owner --sort=name --format=pax --pax-option=delete=atime,delete=ctime -cf ../$(basename $PWD).tar .\(delete)"], workingDirectory: directory)
    try #require(made.succeeded, "\(made.errorText)")
    let plain = try Files.read(directory + ".tar", limit: 1 << 28)
    var blob = plain
    if gzip {
      let packed = try await Processes.run("gzip", ["-nc", directory + ".tar"], limit: 1 << 28)
      blob = packed.output
    }
    try Files.removeTree(directory)
    return TestLayer(descriptor: OCIModel.Descriptor(mediaType: gzip ? .ociLayerGzip : .ociLayer, of: blob), diffID: .sha256(of: plain), blob: blob)
  }

  /// Has layers, and counts how often each was asked for.
  final class CountingProvider: LayerProvider {
    private let blobs: [Digest: [UInt8]]
    private let counts = Mutex<[Digest: Int]>([:])
    init(_ layers: [TestLayer]) { blobs = Dictionary(layers.map { ($0.descriptor.digest, $0.blob) }) { $1 } }
    var total: Int { counts.withLock { $0.values.reduce(0, +) } }
    func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore) async throws {
      counts.withLock { $0[descriptor.digest, default: 0] += 1 }
      await Task.yield()
      try await store.put(#require(blobs[descriptor.digest]))
    }
  }

  extension RefStore {
    func pull(_ layers: [TestLayer], _ provider: any LayerProvider) async throws -> ImmutableRef {
      var current: ImmutableRef?
      for layer in layers {
        let parent = current
        current = try await self.layer(parent: parent, descriptor: layer.descriptor, diffID: layer.diffID, provider: provider)
        await parent?.release()
      }
      return try #require(current)
    }

    func known(_ id: String?) async throws -> ImmutableRef { try #require(try await ref(id ?? "")) }
    func count(_ table: String) async throws -> Int { try await store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(table)") ?? -1 } }
    var directories: Int { get throws { try Directory.open(store.root + "/snapshots").entries().count } }
  }

  /// What a tree holds, a line an entry. Times in seconds.
  func listing(_ root: Directory, _ path: String = "") throws -> [String] {
    var out: [String] = []
    for entry in try root.entries(path.isEmpty ? "." : path).sorted(by: { $0.name < $1.name }) {
      let here = path.isEmpty ? entry.name : path + "/" + entry.name
      let status = try root.status(here)
      var line = "\(here) \(String(status.mode, radix: 8)) \(status.uid):\(status.gid) \(status.mtime / 1_000_000_000)"
      switch status.kind {
      case .regular: line += " \(status.links) \(Digest.sha256(of: try root.read(here, limit: 1 << 26, follow: .none)).hex.prefix(12))"
      case .symbolicLink: line += " -> \(try root.readLink(here))"
      case .characterDevice, .blockDevice: line += " \(status.rdev.major):\(status.rdev.minor)"
      default: break
      }
      for name in try root.xattrNames(here).sorted() { line += " \(name)=\(try root.xattr(here, name) ?? [])" }
      out.append(line)
      if status.kind == .directory { out += try listing(root, here) }
    }
    return out
  }

  extension ImmutableRef {
    func listing() async throws -> [String] { try await withMounted { try BuildSnapshotsTests.listing($0) } }
  }

  /// Layers that do to each other what layers can.
  func difficultLayers(_ scratch: String) async throws -> [TestLayer] {
    [
      try await makeLayer(
        scratch,
        """
        mkdir -p etc usr/bin var/lib/deep/er opaque/sub gone replaced/dir keep
        chmod 1777 var; chmod 700 usr/bin; echo a > etc/a; echo b > etc/b; echo tool > usr/bin/tool; chmod 4755 usr/bin/tool
        ln -s ../usr/bin bin; ln usr/bin/tool usr/bin/same; echo x > opaque/x; echo y > opaque/sub/y; echo z > gone/z; echo f > replaced/dir/f
        echo deep > var/lib/deep/er/file; mkfifo etc/pipe; echo k > keep/k
        """),
      try await makeLayer(
        scratch,
        """
        mkdir -p etc opaque var/lib/deep usr/bin
        touch .wh.gone etc/.wh.a opaque/.wh..wh..opq; echo new > opaque/n; echo b2 > etc/b; echo d > var/lib/deep/d
        chmod 750 var/lib; touch var/.wh.nothing; echo over > usr/bin/over
        """, gzip: false),
      try await makeLayer(scratch, "mkdir gone etc; echo again > gone/again; echo file > replaced; mkdir -p var/lib/deep/er; touch var/lib/deep/er/.wh.file; echo last > etc/last"),
      try await makeLayer(scratch, "mkdir -p bin2 keep; ln -s /etc/last bin2/l; touch keep/.wh.k; echo k2 > keep/k2"),
    ]
  }
#endif
