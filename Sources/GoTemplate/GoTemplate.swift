/// A template of Go's text/template, as the peers' `--format` takes it: parsed once, executed over any number of values.
///
/// All of the language is there but method calls. Errors are our own sentences; a field of a map's null gives nothing, as one of a missing key does.
public struct GoTemplate: Sendable {
  private let source: String
  private let nodes: [TemplateNode]
  private let definitions: [String: [TemplateNode]]
  private let functions: [String: TemplateFunction]

  /// - Parameter functions: what templates may call beside Go's own; by default Docker's `json`, `split`, `join`, `title`, `lower`, `upper`, `pad`, `truncate`.
  /// - Throws: `TemplateError` of the code `syntax`.
  public init(_ source: String, functions: [String: TemplateFunction] = TemplateFunction.docker) throws(TemplateError) {
    self.source = source
    self.functions = TemplateFunction.builtin.merging(functions) { $1 }
    var parser = try TemplateParser(source, functions: Set(self.functions.keys).union(["and", "or"]))
    nodes = try parser.parse()
    definitions = parser.definitions
  }

  /// The text for one value. Throws `TemplateError` of the code `execution`.
  public func execute(_ data: TemplateValue) throws(TemplateError) -> String {
    var evaluator = TemplateEvaluator(source: source, definitions: definitions, functions: functions, data: data)
    try evaluator.run(nodes)
    return evaluator.out
  }
}

/// Walks a template's tree.
struct TemplateEvaluator {
  private enum Flow { case on, `break`, `continue` }
  private struct Variable {
    var name: String
    var value: TemplateValue
  }
  /// Templates may call themselves.
  private static let deepest = 200
  /// Far above any listing.
  private static let longest = 64 << 20
  private static let mostRounds = 1 << 20

  private let source: String
  private let definitions: [String: [TemplateNode]]
  private let functions: [String: TemplateFunction]
  private var dot: TemplateValue
  private var variables: [Variable]
  private var depth = 0
  private var rounds = 0
  private(set) var out = ""

  init(source: String, definitions: [String: [TemplateNode]], functions: [String: TemplateFunction], data: TemplateValue) {
    (self.source, self.definitions, self.functions) = (source, definitions, functions)
    dot = data
    variables = [Variable(name: "$", value: data)]
  }

  private func fail(_ message: String, _ position: Position) -> TemplateError { TemplateError.at(position.offset, in: Array(source), .execution, message) }

  mutating func run(_ nodes: [TemplateNode]) throws(TemplateError) { _ = try walk(nodes) }

  private mutating func write(_ text: String) throws(TemplateError) {
    out += text
    if out.utf8.count > Self.longest { throw fail("the output is longer than \(Self.longest) bytes", Position(offset: 0)) }
  }

  private mutating func walk(_ nodes: [TemplateNode]) throws(TemplateError) -> Flow {
    for node in nodes {
      let flow = try walk(node)
      if flow != .on { return flow }
    }
    return .on
  }

  private mutating func walk(_ node: TemplateNode) throws(TemplateError) -> Flow {
    switch node {
    case .text(let text): try write(text)
    case .action(let pipeline):
      let value = try evaluate(pipeline)
      if pipeline.variables.isEmpty { try write(value == .none ? "<no value>" : value.text) }
    case .condition(let head, let then, let otherwise):
      let mark = variables.count
      defer { variables.removeLast(variables.count - mark) }
      return try walk(try evaluate(head).isTrue ? then : otherwise)
    case .with(let head, let body, let otherwise):
      let mark = variables.count, outer = dot
      defer {
        variables.removeLast(variables.count - mark)
        dot = outer
      }
      let value = try evaluate(head)
      if !value.isTrue { return try walk(otherwise) }
      dot = value
      return try walk(body)
    case .range(let head, let body, let otherwise): return try range(head, body, otherwise)
    case .template(let name, let argument, let position): try call(name, argument, position)
    case .break: return .break
    case .continue: return .continue
    }
    return .on
  }

  private mutating func range(_ head: Pipeline, _ body: [TemplateNode], _ otherwise: [TemplateNode]) throws(TemplateError) -> Flow {
    let mark = variables.count, outer = dot
    defer {
      variables.removeLast(variables.count - mark)
      dot = outer
    }
    let value = try evaluate(head)
    let items: [(TemplateValue, TemplateValue)]
    switch value {
    case .list(let list): items = list.enumerated().map { (.int(Int64($0.offset)), $0.element) }
    case .map(let map): items = TemplateValue.sorted(map).map { (.string($0.key), $0.value) }
    case .int(let count):
      if head.variables.count > 1 { throw fail("can't use \(count) to iterate over more than one variable", head.position) }
      guard count <= 1 << 20 else { throw fail("\(count) rounds are too many", head.position) }
      items = (0..<max(0, count)).map { (.int($0), .int($0)) }
    case .none: items = []
    default: throw fail("range can't iterate over \(value.text)", head.position)
    }
    if items.isEmpty { return try walk(otherwise) }
    for (key, item) in items {
      rounds += 1
      if rounds > Self.mostRounds { throw fail("more than \(Self.mostRounds) rounds of {{range}} in all", head.position) }
      let round = variables.count
      defer { variables.removeLast(variables.count - round) }
      dot = item
      switch head.variables.count {
      case 1: set(head.variables[0], item, declared: !head.assigns)
      case 2:
        set(head.variables[0], key, declared: !head.assigns)
        set(head.variables[1], item, declared: !head.assigns)
      default: break
      }
      if try walk(body) == .break { break }
    }
    return .on
  }

  private mutating func call(_ name: String, _ argument: Pipeline?, _ position: Position) throws(TemplateError) {
    guard let body = definitions[name] else { throw fail("template \"\(name)\" is not defined", position) }
    depth += 1
    defer { depth -= 1 }
    if depth > Self.deepest { throw fail("templates call one another too deeply", position) }
    let value = try argument.map { pipeline throws(TemplateError) in try evaluate(pipeline) } ?? .none
    let (outerDot, outerVariables) = (dot, variables)
    (dot, variables) = (value, [Variable(name: "$", value: value)])
    defer { (dot, variables) = (outerDot, outerVariables) }
    _ = try walk(body)
  }

  private mutating func set(_ name: String, _ value: TemplateValue, declared: Bool) {
    if declared { return variables.append(Variable(name: name, value: value)) }
    if let i = variables.lastIndex(where: { $0.name == name }) { variables[i].value = value }
  }

  // MARK: - Pipelines

  private mutating func evaluate(_ pipeline: Pipeline) throws(TemplateError) -> TemplateValue {
    var value: TemplateValue?
    for command in pipeline.commands { value = try evaluate(command, last: value) }
    let result = value ?? .none
    // Of `range` the variables are each round's.
    if pipeline.variables.count == 1 { set(pipeline.variables[0], result, declared: !pipeline.assigns) }
    return result
  }

  private mutating func evaluate(_ command: Command, last: TemplateValue?) throws(TemplateError) -> TemplateValue {
    let first = command.operands[0]
    let rest = Array(command.operands.dropFirst())
    if case .function(let name) = first.kind {
      let result = try call(function: name, rest, last, first.position)
      return try fields(first.fields, of: result, first.position)
    }
    if case .nil = first.kind { throw fail("nil is not a command", first.position) }
    if !rest.isEmpty || last != nil {
      if let name = first.fields.last { throw fail("\(name) has arguments but cannot be invoked as function", first.position) }
      throw fail("can't give argument to non-function", first.position)
    }
    return try evaluate(first)
  }

  private mutating func evaluate(_ operand: Operand) throws(TemplateError) -> TemplateValue {
    switch operand.kind {
    case .dot: return dot
    case .nil: return .none
    case .field: return try fields(operand.fields, of: dot, operand.position)
    case .literal(let value): return value
    case .variable(let name):
      let value = variables.last { $0.name == name }?.value ?? .none
      return try fields(operand.fields, of: value, operand.position)
    case .pipeline(let pipeline): return try fields(operand.fields, of: try evaluate(pipeline), operand.position)
    case .function(let name): return try fields(operand.fields, of: try call(function: name, [], nil, operand.position), operand.position)
    }
  }

  private func fields(_ names: [String], of value: TemplateValue, _ position: Position) throws(TemplateError) -> TemplateValue {
    var value = value
    for name in names {
      switch value {
      case .map(let map): value = map[name] ?? .none
      case .object(let object):
        guard let field = object[name] else {
          throw fail("\(object.type) has no field \(name); it has \(object.fields.map(\.name).joined(separator: ", "))", position)
        }
        value = field
      case .none: return .none
      default: throw fail("can't evaluate field \(name) in type \(value.typeName)", position)
      }
    }
    return value
  }

  private mutating func call(function name: String, _ operands: [Operand], _ last: TemplateValue?, _ position: Position) throws(TemplateError) -> TemplateValue {
    if name == "and" || name == "or" {
      guard !operands.isEmpty || last != nil else { throw fail("wrong number of args for \(name): want at least 1 got 0", position) }
      var value = TemplateValue.none
      for operand in operands {
        value = try evaluate(operand)
        if value.isTrue == (name == "or") { return value }
      }
      return last ?? value
    }
    guard let function = functions[name] else { throw fail("function \"\(name)\" is not defined", position) }
    var arguments: [TemplateValue] = []
    for operand in operands { arguments.append(try evaluate(operand)) }
    if let last { arguments.append(last) }
    guard function.arity.contains(arguments.count) else {
      let wanted = function.arity.lowerBound == function.arity.upperBound ? "\(function.arity.lowerBound)" : "at least \(function.arity.lowerBound)"
      throw fail("wrong number of args for \(name): want \(wanted) got \(arguments.count)", position)
    }
    do { return try function.body(arguments) } catch let error as TemplateFunctionError {
      throw fail("error calling \(name): \(error.message)", position)
    } catch { throw fail("error calling \(name): \(error)", position) }
  }
}
