internal import BuildInterface
internal import OCIModel

/// A step's name in progress, taken apart: `[linux/amd64->arm64 build 2/5] RUN make`.
struct StepName: Equatable {
  /// Empty for the only stage of a file.
  var stage = ""
  var number: Int
  var count: Int
  var text: String

  /// nil for what is no step of a stage: `[internal] load build context`, or what another frontend calls a vertex.
  init?(_ name: String) {
    guard name.hasPrefix("["), let end = name.firstRange(of: "] ") else { return nil }
    // A number may be padded: `[ 2/15]`.
    let words = name[name.index(after: name.startIndex)..<end.lowerBound].split(separator: " ")
    guard let figures = words.last?.split(separator: "/"), figures.count == 2, let number = Int(figures[0]), let count = Int(figures[1]), words.count <= 3 else { return nil }
    (self.number, self.count) = (number, count)
    // No stage's name has a slash, and every platform's has.
    if words.count > 1, !words[words.count - 2].contains("/") { stage = String(words[words.count - 2]) }
    text = String(name[end.upperBound...])
  }
}

/// One instruction of a stage, on all platforms that need it: a row of the plan.
struct ForecastRow {
  var file: String
  var name: StepName
  var steps: [BuildForecast.Step]
  /// Those whose graph has one of the steps, in their order.
  var targets: [String]

  /// The instruction; as the file has it where platforms see it differently.
  var instruction: String {
    let texts = Set(steps.map { ForecastRow.text($0) })
    if texts.count == 1, let text = texts.first { return text }
    return steps.first.map { $0.text.isEmpty ? ForecastRow.text($0) : $0.text } ?? ""
  }

  static func text(_ step: BuildForecast.Step) -> String { StepName(step.name)?.text ?? step.name }

  /// The rows, by file, stage and number.
  static func all(_ forecast: BuildForecast) -> [ForecastRow] {
    struct Key: Hashable {
      var file: String, stage: String, number: Int, count: Int
    }
    var rows: [Key: ForecastRow] = [:], order: [Key] = []
    let needs = forecast.targets.map { Set($0.steps) }
    for step in forecast.steps where step.isShown {
      guard let name = StepName(step.name) else { continue }
      let users = zip(forecast.targets, needs).filter { $1.contains(step.digest) }.map(\.0)
      let key = Key(file: step.file.isEmpty ? users.first?.file ?? "" : step.file, stage: name.stage, number: name.number, count: name.count)
      if rows[key] == nil {
        order.append(key)
        rows[key] = ForecastRow(file: key.file, name: name, steps: [], targets: [])
      }
      rows[key]?.steps.append(step)
      for user in users.map(\.id) where rows[key]?.targets.contains(user) == false { rows[key]?.targets.append(user) }
    }
    let files = forecast.targets.map(\.file), stages = forecast.targets.flatMap { target in target.stages.enumerated().map { (target.file + "\n" + $1.name, $0) } }
    let places = Dictionary(stages) { first, _ in first }
    func rank(_ key: Key) -> (Int, Int, Int) { (files.firstIndex(of: key.file) ?? files.count, places[key.file + "\n" + key.stage] ?? 0, key.number) }
    return order.sorted { rank($0) < rank($1) }.compactMap { rows[$0] }
  }
}
