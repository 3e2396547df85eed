/// One entry of the kernel's table of foreign executables (/proc/sys/fs/binfmt_misc/NAME).
package struct BinfmtEntry: Sendable, Equatable {
  package var name: String
  package var enabled: Bool
  package var interpreter: String
  /// `F`: the interpreter was opened when it was registered and is there in every root filesystem.
  package var flags: String
  package var offset: Int
  package var magic: [UInt8]
  package var mask: [UInt8]

  package var isFixed: Bool { flags.contains("F") }

  /// Parses the entry's file; nil for what is no entry by magic.
  package init?(name: String, text: String) {
    var interpreter: String?, flags = "", offset = 0, magic: [UInt8]?, mask: [UInt8]?
    var enabled = false
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ", maxSplits: 1).map(String.init)
      switch words.first {
      case "enabled": enabled = true
      case "interpreter": interpreter = words.count > 1 ? words[1] : nil
      case "flags:": flags = words.count > 1 ? words[1] : ""
      case "offset": offset = words.count > 1 ? Int(words[1]) ?? 0 : 0
      case "magic": magic = words.count > 1 ? Self.bytes(words[1]) : nil
      case "mask": mask = words.count > 1 ? Self.bytes(words[1]) : nil
      default: break
      }
    }
    guard let interpreter, let magic, !magic.isEmpty else { return nil }
    self.name = name
    self.enabled = enabled
    self.interpreter = interpreter
    self.flags = flags
    self.offset = offset
    self.magic = magic
    self.mask = mask ?? [UInt8](repeating: 0xff, count: magic.count)
  }

  private static func bytes(_ hex: String) -> [UInt8]? {
    let digits = Array(hex.utf8)
    guard digits.count % 2 == 0 else { return nil }
    var result: [UInt8] = []
    for i in stride(from: 0, to: digits.count, by: 2) {
      guard let byte = UInt8(String(decoding: digits[i..<i + 2], as: UTF8.self), radix: 16) else { return nil }
      result.append(byte)
    }
    return result
  }

  /// Whether the kernel would take a file that starts with `header` for this entry's.
  package func matches(_ header: [UInt8]) -> Bool {
    guard enabled, offset >= 0, magic.count == mask.count, offset + magic.count <= 256 else { return false }
    for i in magic.indices {
      let byte = offset + i < header.count ? header[offset + i] : 0
      if (byte ^ magic[i]) & mask[i] != 0 { return false }
    }
    return true
  }
}
