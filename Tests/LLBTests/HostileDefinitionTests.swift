import BuildKitProto
import Foundation
import OCIModel
import SwiftProtobuf
import Testing

@testable import LLB

/// Definitions from strangers: whatever is wrong is refused with a reason, and nothing crashes or grows.
@Suite struct HostileDefinitionTests {
  static func definition(_ ops: [Pb_Op]) throws -> Definition {
    var proto = Pb_Definition()
    proto.def = try ops.map { Data(try $0.canonicalBytes()) }
    return Definition(proto)
  }
  static func last(_ input: Pb_Op, index: Int64 = 0) throws -> Pb_Op {
    let digest = Digest.sha256(of: try input.canonicalBytes()).description
    return .with { $0.inputs = [.with { $0.digest = digest; $0.index = index }] }
  }
  static func exec(_ change: (inout Pb_ExecOp) -> Void = { _ in }) -> Pb_Op {
    var exec = Pb_ExecOp()
    exec.meta = .with { $0.args = ["x"] }
    exec.mounts = [.with { $0.input = -1; $0.dest = "/" }]
    change(&exec)
    return .with { $0.exec = exec }
  }
  static func file(_ change: (inout Pb_FileAction) -> Void = { _ in }) -> Pb_Op {
    var action = Pb_FileAction()
    action.mkdir = .with { $0.path = "/a" }
    (action.input, action.secondaryInput, action.output) = (-1, -1, 0)
    change(&action)
    return .with { $0.file = .with { $0.actions = [action] } }
  }

  struct Case: CustomTestStringConvertible, Sendable {
    let name: String, op: Pb_Op, message: String
    var testDescription: String { name }
  }
  static let cases = [
    Case(name: "no kind", op: .with { $0.constraints = .init() }, message: "has no kind"),
    Case(name: "empty source", op: .with { $0.source = .init() }, message: "no identifier"),
    Case(name: "no arguments", op: exec { $0.meta.args = [] }, message: "no arguments"),
    Case(name: "no meta", op: exec { $0.clearMeta() }, message: "no arguments"),
    Case(name: "no root", op: exec { $0.mounts = [.with { $0.dest = "/x"; $0.input = -1 }] }, message: "no root filesystem"),
    Case(name: "mount input", op: exec { $0.mounts[0].input = 3 }, message: "names the input 3 of 0"),
    Case(name: "mount input below", op: exec { $0.mounts[0].input = .min }, message: "names the input"),
    Case(name: "security", op: exec { $0.security = .UNRECOGNIZED(9) }, message: "security mode 9"),
    Case(name: "network", op: exec { $0.network = .UNRECOGNIZED(9) }, message: "network mode 9"),
    Case(name: "no actions", op: .with { $0.file = .init() }, message: "no actions"),
    Case(name: "action of no kind", op: file { $0.action = nil }, message: "no known kind"),
    Case(name: "action on itself", op: file { $0.input = 0 }, message: "not made before it"),
    Case(name: "no output", op: file { $0.output = -1 }, message: "no output"),
    Case(name: "merge input", op: .with { $0.merge = .with { $0.inputs = [.with { $0.input = 5 }] } }, message: "a merge op names the input 5"),
    Case(name: "diff without sides", op: .with { $0.diff = .init() }, message: "lacks a side"),
    Case(name: "passthrough", op: .with { $0.passthrough = .with { $0.id = "x"; $0.outputs = [4] } }, message: "names the input 4"),
    Case(name: "bad digest", op: .with { $0.source = .with { $0.identifier = "x" }; $0.inputs = [.with { $0.digest = "sha256:zz" }] }, message: "has the digest"),
    Case(name: "negative output", op: .with { $0.source = .with { $0.identifier = "x" }; $0.inputs = [.with { $0.index = -1 }] }, message: "output index -1"),
    Case(name: "root is a cache", op: exec { $0.mounts[0].mountType = .cache; $0.mounts[0].cacheOpt = .init() }, message: "the root filesystem is a mount of the type"),
    Case(name: "mount output", op: exec { $0.mounts[0].output = -2 }, message: "has the output -2"),
    Case(name: "mount type", op: exec { $0.mounts.append(.with { $0.dest = "/x"; $0.input = -1; $0.mountType = .UNRECOGNIZED(77) }) }, message: "unknown type 77"),
    Case(name: "cache without options", op: exec { $0.mounts.append(.with { $0.dest = "/x"; $0.input = -1; $0.mountType = .cache }) }, message: "has none of its options"),
    Case(name: "secret without id", op: exec { $0.mounts.append(.with { $0.dest = "/x"; $0.input = -1; $0.mountType = .secret; $0.secretOpt = .init() }) }, message: "does not say which"),
    Case(name: "negative size", op: exec { $0.mounts.append(.with { $0.dest = "/x"; $0.input = -1; $0.mountType = .tmpfs; $0.tmpfsOpt.size = -5 }) }, message: "has the size -5"),
    Case(name: "secret variable", op: exec { $0.secretenv = [.with { $0.id = "x"; $0.name = "A=B" }] }, message: "no name for a secret variable"),
    Case(name: "zero byte in an argument", op: exec { $0.meta.args = ["a\0b"] }, message: "zero byte"),
    Case(name: "zero byte in a path", op: file { $0.mkdir.path = "/a\0/../../etc" }, message: "zero byte"),
    Case(name: "outputs with a gap", op: file { $0.output = 4 }, message: "up to 4"),
    Case(name: "owner from nowhere", op: file { $0.mkdir.owner.user.byName = .with { $0.name = "x"; $0.input = 9 } }, message: "looks its owner up in the input 9"),
    Case(name: "builder", op: .with { $0.build = .with { $0.builder = 3 } }, message: "the builder 3"),
    Case(name: "build input", op: .with { $0.build = .with { $0.builder = -1; $0.inputs = ["x": .with { $0.input = 2 }] } }, message: "names the input 2 of 0"),
    Case(
      name: "missing input",
      op: .with { $0.source = .with { $0.identifier = "x" }; $0.inputs = [.with { $0.digest = Digest.sha256(of: "nowhere").description }] }, message: "is missing"),
  ]

  @Test(arguments: cases) func refused(_ hostile: Case) throws {
    let definition = try Self.definition([hostile.op, Self.last(hostile.op)])
    let error = #expect(throws: LLBError.self) { try definition.load() }
    #expect(error?.code == .invalidDefinition)
    #expect(error?.message.contains(hostile.message) == true, "\(error?.message ?? "")")
  }

  /// Outputs that an op does not have.
  @Test func wrongOutputs() throws {
    let op = Self.exec()
    #expect(throws: LLBError.self) { try Self.definition([op, Self.last(op, index: 1)]).load() }
    #expect(throws: LLBError.self) { try Self.definition([op, Self.last(op, index: .max)]).load() }
    let reader = Pb_Op.with { $0.merge = .init(); $0.inputs = [.with { $0.digest = Digest.sha256(of: (try? op.canonicalBytes()) ?? []).description; $0.index = 7 }] }
    let error = #expect(throws: LLBError.self) { try Self.definition([op, reader, Self.last(reader)]).load() }
    #expect(error?.vertex == Digest.sha256(of: try reader.canonicalBytes()))
    let several = Self.exec { $0.mounts += [.with { $0.dest = "/a"; $0.input = -1; $0.output = 1 }, .with { $0.dest = "/b"; $0.input = -1; $0.output = -1 }] }
    #expect(try Self.definition([several, Self.last(several, index: 1)]).load().root?.index == 1)
    #expect(throws: LLBError.self) { try Self.definition([several, Self.last(several, index: 2)]).load() }
  }

  /// Two bytes each on the wire, hundreds in memory.
  @Test func manyPartsAreRefusedUnread() throws {
    var proto = Pb_Definition()
    var mounts: [UInt8] = [0x0a, 0x03, 0x0a, 0x01, 0x78]
    for _ in 0..<1_100_000 { mounts += [0x12, 0x00] }
    var length = mounts.count, op: [UInt8] = [0x12]
    while length >= 0x80 {
      op.append(UInt8(length & 0x7f | 0x80))
      length >>= 7
    }
    op.append(UInt8(length))
    op += mounts
    proto.def = [Data(op), Data([0x0a, 0x00])]
    let error = #expect(throws: LLBError.self) { try Definition(proto).load() }
    #expect(error?.code == .tooLarge)
  }

  /// The same op any number of times is one.
  @Test func duplicates() throws {
    let op = Self.exec()
    let definition = try Self.definition(Array(repeating: op, count: 50) + [Self.last(op)])
    #expect(try definition.load().order.count == 1)
  }

  @Test func malformedEnds() throws {
    var garbage = Pb_Definition()
    garbage.def = [Data([0xff, 0xff, 0xff]), Data([1])]
    #expect(throws: LLBError.self) { try Definition(garbage).load() }
    #expect(throws: LLBError.self) { try Definition(serialized: [0x0a, 0xff]) }
    #expect(throws: LLBError.self) { try Self.definition([Self.exec()]).load() }
    #expect(throws: LLBError.self) { try Self.definition([Self.exec(), Pb_Op()]).load() }
    #expect(try Definition(Pb_Definition()).load().root == nil)
  }

  @Test func capabilitiesAndLimits() throws {
    let op = Self.exec()
    var definition = try Self.definition([op, Self.last(op)])
    definition.proto.metadata[definition.digests[0].description] = .with { $0.caps = ["exec.meta.base": true, "from.the.future": true] }
    #expect(try definition.load().order.count == 1)
    let error = #expect(throws: LLBError.self) { try definition.load(supporting: [.execBase]) }
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains("from.the.future") == true)
    var limits = DefinitionLimits()
    limits.operations = 1
    #expect(throws: LLBError.self) { try definition.load(limits: limits) }
    (limits.operations, limits.bytes) = (10, 10)
    #expect(throws: LLBError.self) { try definition.load(limits: limits) }
  }

  /// 20 000 steps one after another: marshalled, loaded and freed on a small stack, and in linear time.
  @Test func deepGraph() async throws {
    let definition = try await Task {
      let graph = Graph()
      var state = graph.scratch
      for i in 0..<20_000 { state = try state.file([.makeDirectory("/\(i)", mode: 0o755)]) }
      return try state.marshal()
    }.value
    #expect(definition.proto.def.count == 20_001)
    #expect(try definition.load().order.count == 20_000)
  }

  /// Names of merges contain their inputs' names; they do not grow without end.
  @Test func namesAreBounded() throws {
    let graph = Graph()
    var state = try graph.scratch.file([.makeDirectory("/a", mode: 0o755)])
    for _ in 0..<60 { state = graph.merge([state, state]) }
    let loaded = try state.marshal().load()
    #expect(loaded.vertices.values.allSatisfy { $0.name.utf8.count <= 1100 })
  }

  @Test func derivedNames() throws {
    let graph = Graph()
    let image = graph.image(try Reference(parsing: "alpine"))
    let made = try image.file([.makeDirectory("/a", mode: 0o755), .remove("/b"), .symlink(to: "/t", at: "/l"), .makeFile("/f", mode: 0o644, data: []), .copy(from: image, "/x", to: "/y")])
    let names = try graph.merge([graph.diff(from: image, to: made), image.run(ExecOptions(["echo", "a b"])).root]).marshal().load()
    #expect(
      names.order.compactMap { names.vertices[$0]?.name } == [
        "docker-image://docker.io/library/alpine:latest", "mkdir /a, rm /b, symlink /l -> /t, mkfile /f, copy /x /y",
        "diff (docker-image://docker.io/library/alpine:latest) -> (mkdir /a, rm /b, symlink /l -> /t, mkfile /f, copy /x /y)", "echo a b",
        "merge (diff (docker-image://docker.io/library/alpine:latest) -> (mkdir /a, rm /b, symlink /l -> /t, mkfile /f, copy /x /y), echo a b)",
      ])
  }

  @Test func placeholders() throws {
    let graph = Graph()
    let state = try graph.scratch.file([.copy(from: graph.placeholder("context"), "/a", to: "/b")])
    #expect(throws: LLBError.self) { try state.marshal() }
    #expect(throws: LLBError.self) { try state.marshal(MarshalOptions(inputs: ["context": Graph().scratch])) }
    let direct = try graph.scratch.file([.copy(from: graph.local("context"), "/a", to: "/b")])
    #expect(try state.marshal(MarshalOptions(inputs: ["context": graph.local("context")])) == direct.marshal())
    #expect(try graph.placeholder("x").marshal(MarshalOptions(inputs: ["x": graph.scratch])).isScratch)
  }

  @Test(arguments: [
    ("", ".", "", "."), ("/", "/", "/", "/"), ("a//b/./c/..", "a/b", "/a//b/./c/..", "/a/b"), ("../../x", "../../x", "/../../x", "/x"), ("./", ".", "/.", "/"), ("a/../..", "..", "/a/../..", "/"),
  ])
  func paths(_ relative: String, _ clean: String, _ absolute: String, _ cleanAbsolute: String) {
    #expect(SlashPath.clean(relative) == clean)
    if !absolute.isEmpty { #expect(SlashPath.clean(absolute) == cleanAbsolute) }
  }
}
