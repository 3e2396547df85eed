import Testing

@testable import BuildEngine

/// What `COPY --chmod` makes of modes. The results are those of a real BuildKit (commit 73ed6825c4b7) for files of these modes.
@Suite struct FileModeChangeTests {
  /// For a file of 0644, an executable of 0755, a private file of 0600, a setuid file of 4755 and a directory of 0755.
  @Test(arguments: [
    ("u=rwX,go=rX", [0o644, 0o755, 0o644, 0o755, 0o755]), ("+x", [0o755, 0o755, 0o711, 0o4755, 0o755]), ("a-r", [0o200, 0o311, 0o200, 0o4311, 0o311]),
    ("u+s", [0o4644, 0o4755, 0o4600, 0o4755, 0o4755]), ("+t", [0o1644, 0o1755, 0o1600, 0o5755, 0o1755]), ("=r", [0o444, 0o444, 0o444, 0o444, 0o444]),
    ("ug=rwX", [0o664, 0o775, 0o660, 0o775, 0o775]), ("u=g", [0o444, 0o555, 0o000, 0o4555, 0o555]), ("g=u", [0o664, 0o775, 0o660, 0o4775, 0o775]),
    ("o=u-w", [0o644, 0o755, 0o604, 0o4755, 0o755]), ("-X", [0o644, 0o644, 0o600, 0o4644, 0o644]), ("u-s", [0o644, 0o755, 0o600, 0o755, 0o755]),
    ("=", [0, 0, 0, 0, 0]), ("+s", [0o6644, 0o6755, 0o6600, 0o6755, 0o6755]), ("g+s", [0o2644, 0o2755, 0o2600, 0o6755, 0o2755]),
    ("o+t", [0o644, 0o755, 0o600, 0o4755, 0o755]), ("u+t", [0o1644, 0o1755, 0o1600, 0o5755, 0o1755]), ("o=t", [0o640, 0o750, 0o600, 0o4750, 0o750]),
    ("a=rX", [0o444, 0o555, 0o444, 0o555, 0o555]), ("u=rwx,g=u,o=g", [0o777, 0o777, 0o777, 0o777, 0o777]), ("0751", [0o751, 0o751, 0o751, 0o751, 0o751]),
  ]) func applied(text: String, expected: [UInt32]) throws {
    let change = try FileModeChange(text)
    let files: [(UInt32, Bool)] = [(0o100644, false), (0o100755, false), (0o100600, false), (0o104755, false), (0o040755, true)]
    let found = files.map { change.apply(to: $0.0, isDirectory: $0.1) }
    #expect(found == expected, "\(text): \(found.map { String($0, radix: 8) })")
  }

  @Test(arguments: ["", "zz", "u", "u,g", "u=rwq", "99", "10000", "u+r,", ",u+r", "1x"]) func refused(text: String) {
    #expect(throws: TreeError.self) { try FileModeChange(text) }
  }
}
