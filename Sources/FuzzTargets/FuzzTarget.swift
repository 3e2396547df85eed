/// One way into the program for bytes from strangers, and what must hold whatever they are. `make fuzz` runs them under libFuzzer and the address
/// sanitizer; the test run replays what is kept in Fuzz/Corpus.
package struct FuzzTarget: Sendable, CustomStringConvertible {
  package let name: String
  /// The longest input that makes sense.
  package let maximumLength: Int
  /// Errors that the code under test may throw are caught within; what comes out is a finding.
  package let run: @Sendable ([UInt8]) throws -> Void

  package static let all = [
    FuzzTarget(name: "tar", maximumLength: 16 << 10, run: TarFuzz.read),
    FuzzTarget(name: "layer", maximumLength: 16 << 10, run: LayerFuzz.apply),
    FuzzTarget(name: "filetable", maximumLength: 16 << 10, run: FileTableFuzz.run),
    FuzzTarget(name: "compression", maximumLength: 8 << 10, run: CompressionFuzz.run),
    FuzzTarget(name: "documents", maximumLength: 4 << 10, run: DocumentFuzz.run),
    FuzzTarget(name: "dockerfile", maximumLength: 4 << 10, run: DockerfileFuzz.parse),
    FuzzTarget(name: "frontend", maximumLength: 2 << 10, run: FrontendFuzz.run),
    FuzzTarget(name: "words", maximumLength: 1 << 10, run: DockerfileFuzz.words),
    FuzzTarget(name: "ignore", maximumLength: 1 << 10, run: PatternFuzz.run),
    FuzzTarget(name: "registry", maximumLength: 4 << 10, run: RegistryFuzz.run),
    FuzzTarget(name: "llb", maximumLength: 4 << 10, run: DefinitionFuzz.run),
    FuzzTarget(name: "binaries", maximumLength: 4 << 10, run: BinaryFuzz.run),
    FuzzTarget(name: "terminal", maximumLength: 1 << 10, run: TerminalFuzz.run),
    FuzzTarget(name: "users", maximumLength: 2 << 10, run: UserFuzz.run),
  ]
  package var description: String { name }
}

/// Something held that must not.
package struct FuzzFinding: Error, CustomStringConvertible, Sendable {
  package let description: String
  init(_ description: String) { self.description = description }

  static func check(_ holds: Bool, _ what: @autoclosure () -> String) throws {
    if !holds { throw FuzzFinding(what()) }
  }
}

/// An input's first bytes choose, the rest is the matter.
struct FuzzInput {
  private(set) var rest: ArraySlice<UInt8>
  init(_ bytes: [UInt8]) { rest = bytes[...] }
  mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }
  var bytes: [UInt8] { Array(rest) }
  var text: String { String(decoding: rest, as: UTF8.self) }
  /// Texts between NULs; the last has what is left.
  func texts(_ count: Int) -> [String] {
    var out = rest.split(separator: 0, maxSplits: count - 1, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    while out.count < count { out.append("") }
    return out
  }
}
