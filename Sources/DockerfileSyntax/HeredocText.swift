extension Heredoc {
  /// `text` without the tabs at the start of each line.
  public static func withoutLeadingTabs(_ text: String) -> String {
    var result: [UInt8] = []
    result.reserveCapacity(text.utf8.count)
    var atLineStart = true
    for byte in text.utf8 {
      if atLineStart, byte == UInt8(ascii: "\t") { continue }
      atLineStart = byte == UInt8(ascii: "\n")
      result.append(byte)
    }
    return String(decoding: result, as: UTF8.self)
  }
}
