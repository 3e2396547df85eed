/// A template as a tree.
indirect enum TemplateNode: Sendable {
  case text(String)
  case action(Pipeline)
  case condition(Pipeline, then: [TemplateNode], otherwise: [TemplateNode])
  case range(Pipeline, body: [TemplateNode], otherwise: [TemplateNode])
  case with(Pipeline, body: [TemplateNode], otherwise: [TemplateNode])
  case template(name: String, argument: Pipeline?, Position)
  case `break`, `continue`
}

/// `$a, $b := first | second`.
struct Pipeline: Sendable {
  var variables: [String] = []
  /// `=`: the variables are there already.
  var assigns = false
  var commands: [Command]
  var position: Position
}

/// A function or value and its arguments.
struct Command: Sendable {
  var operands: [Operand]
  var position: Position
}

struct Operand: Sendable {
  indirect enum Kind: Sendable {
    case dot
    case `nil`
    case field
    case variable(String)
    case function(String)
    case literal(TemplateValue)
    case pipeline(Pipeline)
  }
  var kind: Kind
  /// Fields behind it: `.A.B`, `$x.A`, `(…).A`.
  var fields: [String]
  var position: Position
}

/// Builds the tree, after Go's text/template/parse.
struct TemplateParser {
  private let items: [TemplateLexer.Item]
  private let text: [Character]
  private let functions: Set<String>
  private var i = 0
  private var scopes: [[String]] = [["$"]]
  private var loops = 0
  private var depth = 0
  private(set) var definitions: [String: [TemplateNode]] = [:]
  /// Templates come from command lines; still none may exhaust the stack.
  private static let deepest = 200

  init(_ source: String, functions: Set<String>) throws(TemplateError) {
    items = try TemplateLexer.items(of: source)
    text = Array(source)
    self.functions = functions
  }

  mutating func parse() throws(TemplateError) -> [TemplateNode] {
    let (nodes, ended) = try list()
    if let ended { throw fail("{{\(ended.word)}} has no beginning", ended.position) }
    return nodes
  }

  private struct Terminator {
    var word: String
    var position: Position
  }

  func fail(_ message: String, _ position: Position) -> TemplateError { TemplateError.at(position.offset, in: text, .syntax, message) }

  private var current: TemplateLexer.Item { items[i] }
  private mutating func skipSpace() { while case .space = items[i].token { i += 1 } }
  private mutating func next() -> TemplateLexer.Item {
    defer { if i < items.count - 1 { i += 1 } }
    return items[i]
  }
  private mutating func expectRight(_ context: String) throws(TemplateError) {
    skipSpace()
    guard case .rightDelimiter = current.token else { throw fail("unexpected words in \(context)", current.position) }
    i += 1
  }

  /// Nodes until the end, or until `end` or `else`, whose action has been taken up to its word.
  private mutating func list() throws(TemplateError) -> ([TemplateNode], Terminator?) {
    depth += 1
    defer { depth -= 1 }
    if depth > Self.deepest { throw fail("actions are nested too deeply", current.position) }
    var nodes: [TemplateNode] = []
    while true {
      let item = next()
      switch item.token {
      case .end: return (nodes, nil)
      case .text(let text): nodes.append(.text(text))
      case .leftDelimiter:
        skipSpace()
        if case .identifier(let word) = current.token {
          let position = current.position
          switch word {
          case "end", "else":
            i += 1
            return (nodes, Terminator(word: word, position: position))
          case "if", "range", "with":
            i += 1
            nodes.append(try control(word, position))
            continue
          case "define", "block":
            i += 1
            if let node = try definition(word, position) { nodes.append(node) }
            continue
          case "template":
            i += 1
            nodes.append(try call(position))
            continue
          case "break", "continue":
            i += 1
            if loops == 0 { throw fail("{{\(word)}} outside {{range}}", position) }
            try expectRight(word)
            nodes.append(word == "break" ? .break : .continue)
            continue
          default: break
          }
        }
        nodes.append(.action(try pipeline("an action", until: .rightDelimiter)))
      default: throw fail("unexpected token", item.position)
      }
    }
  }

  private mutating func control(_ word: String, _ position: Position) throws(TemplateError) -> TemplateNode {
    scopes.append([])
    defer { scopes.removeLast() }
    let head = try pipeline(word, until: .rightDelimiter)
    if word == "range" { loops += 1 }
    var (body, ended) = try list()
    if word == "range" { loops -= 1 }
    var otherwise: [TemplateNode] = []
    if let terminator = ended, terminator.word == "else" {
      skipSpace()
      if case .identifier(let nested) = current.token, nested == word, word != "range" {
        // {{else if …}}: one {{end}} ends both.
        let at = current.position
        i += 1
        depth += 1
        defer { depth -= 1 }
        if depth > Self.deepest { throw fail("actions are nested too deeply", at) }
        otherwise = [try control(nested, at)]
        ended = nil
        return node(word, head, body, otherwise)
      }
      try expectRight("else")
      (otherwise, ended) = try list()
      if ended?.word == "else" { throw fail("a second {{else}}: expected {{end}}", ended?.position ?? position) }
    }
    guard ended != nil else { throw fail("{{\(word)}} has no {{end}}", position) }
    try expectRight("end")
    return node(word, head, body, otherwise)
  }

  private func node(_ word: String, _ head: Pipeline, _ body: [TemplateNode], _ otherwise: [TemplateNode]) -> TemplateNode {
    switch word {
    case "if": .condition(head, then: body, otherwise: otherwise)
    case "range": .range(head, body: body, otherwise: otherwise)
    default: .with(head, body: body, otherwise: otherwise)
    }
  }

  private mutating func name(_ word: String) throws(TemplateError) -> String {
    skipSpace()
    guard case .string(let name) = current.token else { throw fail("expected a quoted name behind \(word)", current.position) }
    i += 1
    return name
  }

  private mutating func definition(_ word: String, _ position: Position) throws(TemplateError) -> TemplateNode? {
    if word == "define", depth > 1 { throw fail("{{define}} within another action", position) }
    let name = try name(word)
    var argument: Pipeline?
    if word == "block" { argument = try pipeline(word, until: .rightDelimiter) } else { try expectRight(word) }
    let (outer, outerLoops) = (scopes, loops)
    (scopes, loops) = ([["$"]], 0)
    let (body, ended) = try list()
    (scopes, loops) = (outer, outerLoops)
    guard ended?.word == "end" else { throw fail("{{\(word)}} has no {{end}}", position) }
    try expectRight("end")
    // Of two definitions the later one counts, unless it is empty.
    if definitions[name] == nil || !body.isEmpty { definitions[name] = body }
    return argument.map { .template(name: name, argument: $0, position) }
  }

  private mutating func call(_ position: Position) throws(TemplateError) -> TemplateNode {
    let name = try name("template")
    skipSpace()
    if case .rightDelimiter = current.token {
      i += 1
      return .template(name: name, argument: nil, position)
    }
    return .template(name: name, argument: try pipeline("template", until: .rightDelimiter), position)
  }

  // MARK: - Pipelines

  private mutating func pipeline(_ context: String, until end: TemplateLexer.Token) throws(TemplateError) -> Pipeline {
    depth += 1
    defer { depth -= 1 }
    if depth > Self.deepest { throw fail("parentheses are nested too deeply", current.position) }
    skipSpace()
    var out = Pipeline(commands: [], position: current.position)
    try declaration(&out, context)
    while true {
      skipSpace()
      let item = current
      if item.token == end {
        i += 1
        break
      }
      if case .pipe = item.token {
        throw fail("a command is missing before |", item.position)
      }
      if case .end = item.token { throw fail("unexpected end of the template", item.position) }
      out.commands.append(try command())
      skipSpace()
      if case .pipe = current.token {
        // Go lets a pipeline end in a pipe.
        i += 1
        continue
      }
      guard current.token == end else { throw fail("unexpected words in \(context)", current.position) }
    }
    if out.commands.isEmpty { throw fail("\(context) has no value", out.position) }
    // Only functions take what comes down a pipeline.
    for command in out.commands.dropFirst() {
      switch command.operands[0].kind {
      case .dot where command.operands[0].fields.isEmpty, .nil, .literal: throw fail("a command within a pipeline must be a function", command.position)
      default: break
      }
    }
    return out
  }

  private mutating func declaration(_ out: inout Pipeline, _ context: String) throws(TemplateError) {
    let start = i
    guard case .variable(let first) = current.token else { return }
    i += 1
    skipSpace()
    switch current.token {
    case .declare, .assign:
      out.variables = [first]
    case .comma where context == "range":
      i += 1
      skipSpace()
      guard case .variable(let second) = current.token else { throw fail("range takes at most two variables", current.position) }
      i += 1
      skipSpace()
      out.variables = [first, second]
    default:
      i = start
      return
    }
    switch current.token {
    case .declare: scopes[scopes.count - 1] += out.variables
    case .assign:
      out.assigns = true
      for name in out.variables { try check(variable: name, current.position) }
    default: throw fail("expected := or =", current.position)
    }
    i += 1
  }

  private func check(variable name: String, _ position: Position) throws(TemplateError) {
    if !scopes.contains(where: { $0.contains(name) }) { throw fail("there is no variable \(name)", position) }
  }

  private mutating func command() throws(TemplateError) -> Command {
    var out = Command(operands: [], position: current.position)
    while true {
      skipSpace()
      guard let operand = try operand() else { break }
      out.operands.append(operand)
      // Operands are apart.
      switch current.token {
      case .space: continue
      case .pipe, .rightDelimiter, .rightParenthesis, .end: break
      default: throw fail("unexpected words behind an operand", current.position)
      }
      break
    }
    if out.operands.isEmpty { throw fail("a command is missing", out.position) }
    return out
  }

  private mutating func operand() throws(TemplateError) -> Operand? {
    let item = current
    var out = Operand(kind: .dot, fields: [], position: item.position)
    switch item.token {
    case .dot: break
    case .field(let name):
      out.kind = .field
      out.fields = [name]
    case .variable(let name):
      try check(variable: name, item.position)
      out.kind = .variable(name)
    case .identifier("nil"): out.kind = .nil
    case .identifier(let name):
      guard functions.contains(name) else { throw fail("function \"\(name)\" is not defined", item.position) }
      out.kind = .function(name)
    case .string(let text): out.kind = .literal(.string(text))
    case .int(let value): out.kind = .literal(.int(value))
    case .float(let value): out.kind = .literal(.float(value))
    case .bool(let value): out.kind = .literal(.bool(value))
    case .leftParenthesis:
      i += 1
      out.kind = .pipeline(try pipeline("a parenthesis", until: .rightParenthesis))
      try chain(&out)
      return out
    default: return nil
    }
    i += 1
    try chain(&out)
    return out
  }

  private mutating func chain(_ operand: inout Operand) throws(TemplateError) {
    while case .field(let name) = current.token {
      switch operand.kind {
      case .literal, .nil, .dot: throw fail("unexpected .\(name)", current.position)
      default: operand.fields.append(name)
      }
      i += 1
    }
  }
}
