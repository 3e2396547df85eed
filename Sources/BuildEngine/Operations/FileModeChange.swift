/// What `--chmod` says: an octal mode, or symbolic clauses as chmod(1) takes them (`u=rwX,go=rX`).
struct FileModeChange: Sendable, Hashable {
  private enum Form: Sendable, Hashable { case octal(UInt32), clauses([Clause]) }
  private struct Clause: Sendable, Hashable {
    var who: UInt32
    var operation: Character
    var permissions: String
  }
  private let form: Form

  init(octal: UInt32) { form = .octal(octal & 0o7777) }

  /// Throws `TreeError` for what chmod would not take.
  init(_ text: String) throws {
    if let value = UInt32(text, radix: 8), text.allSatisfy(\.isNumber) {
      guard value <= 0o7777 else { throw TreeError("invalid mode \"\(text)\": at most 7777") }
      form = .octal(value)
      return
    }
    var clauses: [Clause] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      var rest = part[...]
      var who: UInt32 = 0
      while let c = rest.first, "ugoa".contains(c) {
        who |= c == "u" ? 0o4700 : c == "g" ? 0o2070 : c == "o" ? 0o1007 : 0o7777
        rest.removeFirst()
      }
      if who == 0 { who = 0o7777 }
      guard !rest.isEmpty else { throw FileModeChange.invalid(text) }
      while let operation = rest.first {
        guard "+-=".contains(operation) else { throw FileModeChange.invalid(text) }
        rest.removeFirst()
        let permissions = rest.prefix { "rwxXstugo".contains($0) }
        rest = rest.dropFirst(permissions.count)
        clauses.append(Clause(who: who, operation: operation, permissions: String(permissions)))
      }
    }
    form = .clauses(clauses)
  }

  private static func invalid(_ text: String) -> TreeError { TreeError("invalid mode \"\(text)\": expected an octal number or clauses as u=rwX,go=rX") }

  /// The mode itself when it does not depend on the file's.
  var octal: UInt32? { if case .octal(let value) = form { value } else { nil } }

  /// The new permission bits of a file with `mode`.
  func apply(to mode: UInt32, isDirectory: Bool) -> UInt32 {
    var bits = mode & 0o7777
    guard case .clauses(let clauses) = form else { return octal ?? bits }
    for clause in clauses {
      var value: UInt32 = 0
      for c in clause.permissions {
        switch c {
        case "r": value |= 0o444
        case "w": value |= 0o222
        case "x": value |= 0o111
        case "X": if isDirectory || bits & 0o111 != 0 { value |= 0o111 }
        case "s": value |= 0o6000
        case "t": value |= 0o1000
        case "u": value |= FileModeChange.spread(bits >> 6 & 7)
        case "g": value |= FileModeChange.spread(bits >> 3 & 7)
        default: value |= FileModeChange.spread(bits & 7)
        }
      }
      // The sticky bit belongs to nobody in particular: "+t" sets it whoever is named.
      let mask = clause.who | (clause.permissions.contains("t") ? 0o1000 : 0)
      switch clause.operation {
      case "+": bits |= value & mask
      case "-": bits &= ~(value & mask)
      default: bits = bits & ~(clause.who & 0o777 | (clause.who & value & 0o7000)) | value & mask
      }
    }
    return bits
  }
  private static func spread(_ digit: UInt32) -> UInt32 { digit << 6 | digit << 3 | digit }
}
