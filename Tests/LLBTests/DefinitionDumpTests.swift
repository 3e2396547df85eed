import BuildKitProto
import Foundation
import LLB
import Testing

@Suite struct DefinitionDumpTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/dump")
  private func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: Self.folder.appending(path: name))) }

  /// Byte for byte what `buildctl debug dump-llb` prints.
  @Test(arguments: ["dense", "merge"]) func equalsBuildctl(_ name: String) throws {
    var dump = DefinitionDump()
    try dump.add(Definition(serialized: bytes(name + ".pb")))
    #expect(String(decoding: dump.lines, as: UTF8.self) == String(decoding: try bytes(name + ".json"), as: UTF8.self))
    #expect(String(decoding: dump.dot, as: UTF8.self) == String(decoding: try bytes(name + ".dot"), as: UTF8.self))
  }

  /// Of several platforms each op is printed once.
  @Test func severalDefinitions() throws {
    var once = DefinitionDump(), twice = DefinitionDump()
    let definition = try Definition(serialized: bytes("merge.pb"))
    try once.add(definition)
    try twice.add(definition)
    try twice.add(definition)
    #expect(once.lines == twice.lines && once.dot == twice.dot)
  }

  @Test func brokenOps() throws {
    var definition = try Definition(serialized: bytes("merge.pb"))
    definition.proto.def[0] = Data([0xff, 0xff, 0xff])
    var dump = DefinitionDump()
    #expect(throws: LLBError.self) { try dump.add(definition) }
  }
}
