import Binaries
import BuildExecutor
import BuildProgress
import LLB
import OCIModel

enum DefinitionFuzz {
  static func run(_ bytes: [UInt8]) throws {
    guard let definition = try? Definition(serialized: bytes) else { return }
    var limits = DefinitionLimits()
    limits.operations = 200
    guard let graph = try? definition.load(limits: limits) else { return }
    var seen = Set<Digest>()
    for digest in graph.order {
      try FuzzFinding.check(graph.vertices[digest] != nil && seen.insert(digest).inserted, "the order names \(digest) twice, or what is not there")
    }
  }
}

enum BinaryFuzz {
  static func run(_ bytes: [UInt8]) throws {
    if let file = try? ExecutableFile(parsing: bytes) {
      for platform in [Platform(os: "linux", architecture: "arm", variant: "v6"), Platform(os: "windows", architecture: "amd64"), Platform(os: "linux", architecture: "ppc64le")] {
        _ = file.misfit(on: platform, arm: ARMAttributes(parsing: bytes))
      }
      _ = file.isAtHome(in: [String(decoding: bytes.suffix(40), as: UTF8.self)])
    }
    _ = ARMAttributes(parsing: bytes, bigEndian: bytes.last == 1)
    _ = try? ARMAttributes { offset, count in offset < UInt64(bytes.count) ? Array(bytes[Int(offset)...].prefix(count)) : [] }
    _ = try? ELFBinary(parsing: bytes).platform
    _ = try? PEBinary(parsing: bytes).platform
  }
}

enum TerminalFuzz {
  static func run(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    let options = input.byte()
    let keepsColours = options & 1 != 0
    let text = input.bytes
    var filter = EscapeFilter(keepsColours: keepsColours)
    let whole = filter.filter(text)
    var pieces: [UInt8] = []
    filter = EscapeFilter(keepsColours: keepsColours)
    let step = 1 + Int(options >> 1) % 7
    for start in stride(from: 0, to: text.count, by: step) { pieces += filter.filter(text[start..<min(start + step, text.count)]) }
    try FuzzFinding.check(whole == pieces, "the filter depends on how the text comes in pieces")
    try harmless(String(decoding: whole, as: UTF8.self), keepsColours: keepsColours, keepsLines: true)
    let string = input.text
    let line = TerminalText.singleLine(string)
    try harmless(line, keepsColours: false, keepsLines: false)
    let lines = TerminalText.multiLine(string)
    try harmless(lines, keepsColours: false, keepsLines: true)
    try FuzzFinding.check(!lines.utf8.contains(0x0d), "a carriage return in \(lines.debugDescription)")
    let fitted = TerminalText.fit(line, width: Int(options >> 2))
    try FuzzFinding.check(TerminalText.width(fitted) <= Int(options >> 2), "\(fitted.debugDescription) is wider than \(options >> 2)")
  }

  private static func harmless(_ text: String, keepsColours: Bool, keepsLines: Bool) throws {
    var colour: [UInt32]?
    for scalar in text.unicodeScalars {
      if var open = colour {
        open.append(scalar.value)
        colour = scalar.value == 0x6d ? nil : open
        let allowed = open.count == 1 ? scalar.value == 0x5b : scalar.value == 0x6d || (0x30...0x3b).contains(scalar.value)
        try FuzzFinding.check(allowed, "an escape that is no colour in \(text.debugDescription)")
      } else if scalar.value == 0x1b {
        try FuzzFinding.check(keepsColours, "an escape in \(text.debugDescription)")
        colour = []
      } else {
        let isLine = scalar.value == 0x0a || scalar.value == 0x09 || scalar.value == 0x0d
        let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
        try FuzzFinding.check(!isControl || keepsLines && isLine, "U+\(String(scalar.value, radix: 16)) in \(text.debugDescription)")
      }
    }
    try FuzzFinding.check(colour == nil, "an open escape in \(text.debugDescription)")
  }
}

enum UserFuzz {
  /// USER's text, /etc/passwd and /etc/group.
  static func run(_ bytes: [UInt8]) throws {
    let parts = bytes.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false).map(Array.init)
    let text = String(decoding: parts[0], as: UTF8.self)
    guard let user = try? UserLookup.resolve(text, passwd: parts.count > 1 ? parts[1] : nil, group: parts.count > 2 ? parts[2] : nil) else { return }
    try FuzzFinding.check(user.additionalGids.contains(user.gid), "a user without its own group")
    try FuzzFinding.check(user.uid <= 0x7fff_ffff && user.gid <= 0x7fff_ffff, "ids out of range: \(user)")
  }
}
