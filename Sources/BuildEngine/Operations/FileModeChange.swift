/// What `--chmod` says: an octal mode, or clauses as chmod(1) takes them (`u=rwX,go=rX`), with the meaning that BSD's setmode gives them, as for BuildKit:
/// "=" takes setuid and setgid away from those it names, "t" is nobody's but not "o"'s, and copied permissions (`g=u`) leave all special bits alone.
struct FileModeChange: Sendable, Hashable {
  private enum Form: Sendable, Hashable { case octal(UInt32), steps([Step]) }
  private enum Step: Sendable, Hashable {
    case set(UInt32)
    case clear(UInt32)
    /// Only where somebody may execute the file already, or it is a directory.
    case setIfExecutable(UInt32)
    /// The permissions of one class ("u", "g", "o") for others: `to` is a mask of whole classes.
    case copy(from: Character, to: UInt32, operation: Character)
  }
  private static let standard: UInt32 = 0o6777, sticky: UInt32 = 0o1000, execute: UInt32 = 0o111
  private let form: Form

  init(octal: UInt32) { form = .octal(octal & 0o7777) }

  /// Throws `TreeError` for what chmod would not take.
  init(_ text: String) throws {
    if text.utf8.first.map({ $0 >= 0x30 && $0 <= 0x39 }) == true {
      guard let value = UInt32(text, radix: 8), value <= 0o7777 else { throw TreeError("invalid mode \"\(text)\": an octal number of at most 7777") }
      form = .octal(value)
      return
    }
    var steps: [Step] = []
    for clause in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard try FileModeChange.read(clause, into: &steps) else {
        throw TreeError("invalid mode \"\(text)\": expected an octal number or clauses as u=rwX,go=rX")
      }
    }
    form = .steps(steps)
  }

  /// One clause: who, then at least one operation with its permissions. False when it is none.
  private static func read(_ clause: Substring, into steps: inout [Step]) throws -> Bool {
    var rest = clause
    var named: UInt32 = 0
    while let c = rest.first, let mask: UInt32 = c == "a" ? standard : c == "u" ? 0o4700 : c == "g" ? 0o2070 : c == "o" ? 0o007 : nil {
      named |= mask
      rest.removeFirst()
    }
    guard !rest.isEmpty else { return false }
    while let operation = rest.popFirst() {
      guard "+-=".contains(operation) else { return false }
      var run = Run(operation: operation, who: named)
      while let c = rest.first, run.add(c, to: &steps) { rest.removeFirst() }
      run.finish(&steps)
    }
    return true
  }

  /// One operation of a clause while it is read.
  private struct Run {
    let operation: Character
    var who: UInt32
    private var bits: UInt32 = 0
    private var executable: UInt32 = 0
    private var assigned = false
    init(operation: Character, who: UInt32) { (self.operation, self.who) = (operation, who) }

    /// False when the character is no permission.
    mutating func add(_ c: Character, to steps: inout [Step]) -> Bool {
      let onlyOthers = who != 0 && who & ~0o007 == 0
      switch c {
      case "r": bits |= 0o444
      case "w": bits |= 0o222
      case "x": bits |= execute
      case "X": if operation == "-" { bits |= execute } else { executable = execute }
      case "s": if !onlyOthers { bits |= 0o6000 }
      case "t":
        if !onlyOthers {
          who |= sticky
          bits |= sticky
        }
      case "u", "g", "o":
        if bits != 0 { apply(&steps) }
        if operation == "=" { assigned = true }
        applyExecutable(&steps)
        let classes = (who & 0o400 != 0 ? 0o700 : 0) | (who & 0o040 != 0 ? 0o070 : 0) | (who & 0o004 != 0 ? 0o007 : 0) as UInt32
        steps.append(.copy(from: c, to: who == 0 ? 0o777 : classes, operation: operation))
      default: return false
      }
      return true
    }

    mutating func finish(_ steps: inout [Step]) {
      if bits != 0 || operation == "=" && !assigned { apply(&steps) }
      applyExecutable(&steps)
    }

    private mutating func apply(_ steps: inout [Step]) {
      let granted = who == 0 ? bits : who & bits
      if operation == "=" { steps.append(.clear(who == 0 ? standard : who)) }
      steps.append(operation == "-" ? .clear(granted) : .set(granted))
      bits = 0
    }
    private mutating func applyExecutable(_ steps: inout [Step]) {
      if executable != 0 { steps.append(.setIfExecutable(who == 0 ? executable : who & executable)) }
      executable = 0
    }
  }

  /// The mode itself when it does not depend on the file's.
  var octal: UInt32? { if case .octal(let value) = form { value } else { nil } }

  /// The new permission bits of a file with `mode`.
  func apply(to mode: UInt32, isDirectory: Bool) -> UInt32 {
    let before = mode & 0o7777
    guard case .steps(let steps) = form else { return octal ?? before }
    var bits = before
    for step in steps {
      switch step {
      case .set(let value): bits |= value
      case .clear(let value): bits &= ~value
      case .setIfExecutable(let value): if isDirectory || before & FileModeChange.execute != 0 { bits |= value }
      case .copy(let from, let to, let operation):
        let digit = bits >> (from == "u" ? 6 : from == "g" ? 3 : 0) & 7
        let value = (digit << 6 | digit << 3 | digit) & to
        if operation == "-" { bits &= ~value } else { bits = (operation == "=" ? bits & ~to : bits) | value }
      }
    }
    return bits
  }
}
