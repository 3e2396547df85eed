import BuildKitProto
import Foundation
import OCIModel
import SwiftProtobuf
import Testing

@testable import LLB

/// Graphs of every op kind and option, encoded as BuildKit's Go client encodes the same graphs (Golden/vertices.json, made once with it).
@Suite struct VertexGoldenTests {
  static let arm = Platform(os: "linux", architecture: "arm64")

  static func alpine(_ graph: Graph) throws -> State { graph.image(try Reference(parsing: "alpine:3.20"), options: VertexOptions(platform: arm)) }

  static func everything(_ graph: Graph) throws -> ExecState {
    var base = try alpine(graph)
    base.network = .host
    base.security = .insecure
    base.cgroupParent = "/cg"
    let image = try alpine(graph)
    var exec = ExecOptions(["a"])
    exec.ulimits = [.with { $0.name = "nofile"; $0.soft = 1; $0.hard = 2 }, .with { $0.name = "nproc"; $0.soft = 3; $0.hard = -1 }]
    exec.extraHosts = [("a", "10.0.0.1"), ("b", "::1")]
    exec.proxy = .with { $0.httpProxy = "1"; $0.httpsProxy = "2"; $0.ftpProxy = "3"; $0.noProxy = "4"; $0.allProxy = "5" }
    exec.validExitCodes = [0, 7, 300]
    exec.devices = [.with { $0.name = "v/c=d"; $0.optional = true }]
    exec.mounts = [
      ExecMount("/z", source: graph.local("ctx", LocalOptions(sessionID: "s")), selector: "/in", readOnly: true), ExecMount("/b", source: image),
      ExecMount("/c", source: graph.scratch, kind: .cache(id: "id", sharing: .locked)),
      ExecMount("/c2", source: graph.scratch, kind: .cache(id: "id2", sharing: .private), readOnly: true),
      ExecMount("/t", source: graph.scratch, kind: .tmpfs(size: 4096)), ExecMount("/t2", source: graph.scratch, kind: .tmpfs(size: 0)),
      ExecMount("/n", source: image, discardsChanges: true), ExecMount("/out", source: graph.scratch, contentCache: .off),
    ]
    var file = ExecSecret(id: "sid", target: "/run/s")
    (file.uid, file.gid, file.mode, file.optional) = (1, 2, 0o440, true)
    exec.secrets = [file, ExecSecret(id: "env", target: nil, variable: "E")]
    var second = ExecSSH(id: "k2")
    (second.target, second.uid, second.gid, second.mode, second.optional) = ("/s.sock", 5, 6, 0o666, true)
    exec.sshSockets = [ExecSSH(id: "k"), second]
    return try base.run(exec)
  }

  static func allFileActions(_ graph: Graph) throws -> State {
    var base = try alpine(graph), source = graph.local("ctx", LocalOptions(sessionID: "s"))
    base.directory = "/d"
    source.directory = "/base"
    let time = Timestamp(seconds: 1_700_000_000, nanoseconds: 5)
    var copy = CopyOptions()
    copy.mode = .bits(0o4755)
    (copy.followSymlinks, copy.contentsOnly, copy.attemptUnpack, copy.createDestination) = (true, true, true, true)
    (copy.allowWildcard, copy.allowEmptyWildcard, copy.alwaysReplaceExisting) = (true, true, true)
    (copy.includePatterns, copy.excludePatterns, copy.requiredPaths) = (["i"], ["e"], ["r"])
    copy.owner = FileOwner(parsing: "1000")
    var symbolic = CopyOptions()
    symbolic.mode = .symbolic("u+x")
    return try base.file([
      .makeDirectory("rel", mode: 0o755, parents: true, owner: FileOwner(parsing: "app:staff"), created: time),
      .makeFile("/f", mode: 0o644, data: [0x64, 0x61, 0x74, 0x61, 0, 0xff], owner: FileOwner(user: .id(1), group: .id(2))),
      .symlink(to: "../target", at: "/link", owner: FileOwner(parsing: "root"), created: time), .remove("/gone*", allowMissing: true, allowWildcard: true),
      .copy(from: source, "in/../x", to: "dst/", copy), .copy(from: try alpine(graph), "/a", to: "/b/.", symbolic), .copy(from: source, "/y", to: "/q"),
    ])
  }

  static let graphs: [String: @Sendable (Graph) throws -> State] = [
    "image": { $0.image(try Reference(parsing: "busybox")) },
    "image-options": {
      $0.image(
        try Reference(parsing: "example.com/a/b:c"), resolveMode: .pull, checksum: .sha256(of: "x"), layerLimit: 3, internal: true, options: VertexOptions(platform: arm))
    },
    "local-unique": {
      var local = LocalOptions(sharedKeyHint: "hint")
      (local.includePatterns, local.excludePatterns, local.followPaths, local.differ) = (["a<b>", "c&d"], ["!x", "é"], ["p"], .metadata)
      return $0.local("src", local)
    },
    "local-session": { $0.local("src", LocalOptions(sessionID: "s1")) },
    "http": {
      var http = HTTPOptions(checksum: .sha256(of: "y"), filename: "n")
      (http.permissions, http.uid, http.gid, http.authHeaderSecret, http.accept, http.userAgent) = (0o644, 7, 8, "sec", "a/b", "ua")
      return $0.http("https://example.com/f", http)
    },
    "oci-layout": {
      $0.ociLayout("name@\(Digest.sha256(of: "z"))", sessionID: "sess", storeID: "store", layerLimit: 2, options: VertexOptions(platform: arm))
    },
    "exec-simple": {
      var state = try alpine($0)
      for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] { state.environment[name] = value }
      (state.directory, state.user, state.hostname) = ("/w/sub", "me:us", "h")
      return try state.run(ExecOptions(["sh", "-c", "x"])).root
    },
    "exec-scratch": { try $0.scratch.run(ExecOptions(["/x"])).root },
    "exec-everything": { try everything($0).root },
    "exec-output": { try everything($0).mount("/out") },
    "exec-readonly-root": {
      var exec = ExecOptions(["r"])
      exec.readOnlyRoot = true
      exec.mounts = [ExecMount("/o", source: $0.scratch)]
      return try alpine($0).run(exec).mount("/o")
    },
    "file-all": { try allFileActions($0) },
    "file-scratch": { try $0.scratch.file([.makeFile("x", mode: 0o777, data: [], owner: FileOwner(parsing: "name"))]) },
    "file-dedupe": { try alpine($0).file([.copy(from: try alpine($0), "/a", to: "/b")]) },
    "merge": {
      let image = try alpine($0)
      let a = try image.file([.makeDirectory("/a", mode: 0o700)]), b = try image.file([.makeDirectory("/b", mode: 0o700)])
      return $0.merge([image, $0.scratch, $0.diff(from: image, to: a), $0.diff(from: image, to: b)])
    },
    "diff": { $0.diff(from: try alpine($0).file([.makeDirectory("/a", mode: 0o700)]), to: $0.scratch) },
    "diff-scratch": { $0.diff(from: $0.scratch, to: try alpine($0).file([.makeDirectory("/a", mode: 0o700)])) },
    "same-twice": { graph in
      graph.merge(
        try ["/a", "/b"].map { path in
          try graph.image(try Reference(parsing: "busybox"), options: VertexOptions(platform: arm)).file([.makeDirectory(path, mode: 0o700)])
        })
    },
    "worker-filter": {
      var options = VertexOptions()
      options.filters = ["label==x", "label==y"]
      return $0.image(try Reference(parsing: "busybox"), options: options)
    },
  ]

  static let expected: JSONValue = {
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/vertices.json")
    return (try? JSONValue(parsing: [UInt8](Data(contentsOf: url)))) ?? .null
  }()
  static let options = MarshalOptions(platform: Platform(os: "linux", architecture: "amd64"), localUniqueID: "unique")

  @Test func everyCaseIsTried() { #expect(Set(Self.expected.objectValue?.keys ?? []) == Set(Self.graphs.keys)) }

  @Test(arguments: graphs.keys.sorted()) func sameBytes(_ name: String) throws {
    let make = try #require(Self.graphs[name])
    let definition = try make(Graph()).marshal(Self.options)
    let wanted = Self.expected[name]?.arrayValue ?? []
    #expect(definition.digests.map(\.description) == wanted.map { $0["digest"]?.stringValue ?? "" })
    for (bytes, op) in zip(definition.proto.def, wanted) {
      let hex = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      if hex != op["bytes"]?.stringValue {
        Issue.record("ours \(try Pb_Op(serializedBytes: bytes))theirs \(try Pb_Op(serializedBytes: Self.bytes(op["bytes"]?.stringValue ?? "")))")
        break
      }
      let caps = definition.proto.metadata[Digest.sha256(of: bytes).description]?.caps.keys.sorted() ?? []
      #expect(caps == (op["caps"]?.arrayValue ?? []).compactMap(\.stringValue).sorted())
    }
  }

  /// What was marshalled loads again, and a graph built on the loaded definition keeps its vertices' digests.
  @Test(arguments: graphs.keys.sorted()) func loadsAndImports(_ name: String) throws {
    let make = try #require(Self.graphs[name])
    let definition = try make(Graph()).marshal(Self.options)
    let loaded = try definition.load()
    #expect(loaded.order.count == definition.proto.def.count - 1)
    #expect(loaded.root?.digest == definition.head)
    let graph = Graph()
    let again = try graph.state(of: definition).marshal(Self.options)
    #expect(again.digests == definition.digests)
    #expect(again.proto.metadata == definition.proto.metadata)
    let onTop = try graph.state(of: definition).file([.makeDirectory("/x", mode: 0o755)]).marshal(Self.options)
    #expect(onTop.digests.starts(with: definition.digests.dropLast()))
    #expect(try Definition(serialized: definition.serialized()) == definition)
  }

  static func bytes(_ hex: String) -> [UInt8] {
    var out: [UInt8] = [], rest = hex[...]
    while rest.count >= 2 {
      out.append(UInt8(rest.prefix(2), radix: 16) ?? 0)
      rest = rest.dropFirst(2)
    }
    return out
  }
}
