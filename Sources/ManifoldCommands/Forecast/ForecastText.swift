internal import BuildInterface
internal import BuildProgress
internal import DockerfileSyntax
internal import OCIModel

/// `--call=plan` for people.
struct ForecastText {
  let forecast: BuildForecast
  /// How the person names the client's directories, by their names in the build.
  let directories: [String: String]
  let width: Int

  init(_ forecast: BuildForecast, directories: [String: String], width: Int = 100) {
    (self.forecast, self.directories, self.width) = (forecast, directories, min(120, max(80, width)))
  }

  var text: String {
    let rows = ForecastRow.all(forecast)
    return [platforms, steps(rows), images, sources, summary, advice].filter { !$0.isEmpty }.joined(separator: "\n")
  }

  private var all: [String] { forecast.targets.map(\.id) }
  private func steps(of target: BuildForecast.Target) -> [BuildForecast.Step] {
    let own = Set(target.steps)
    return forecast.steps.filter { own.contains($0.digest) && $0.isShown }
  }

  // MARK: Platforms

  private var platforms: String {
    var table = AlignedText(padding: 3)
    let hasFiles = Set(forecast.targets.map(\.file)).count > 1
    table.add(["PLATFORM"] + (hasFiles ? ["FILE"] : []) + ["STEPS", "RUN", "HOW RUN STEPS RUN"])
    for target in forecast.targets {
      let steps = steps(of: target), runs = steps.filter { $0.support != nil }
      var how: [String] = []
      let native = runs.count { $0.support == .native }
      if native > 0 { how.append(native == runs.count ? "native" : "\(native) native") }
      for by in Set(runs.compactMap(\.emulator)).sorted() {
        let count = runs.count { $0.emulator == by }
        how.append("\(count == runs.count ? "" : "\(count) ")emulated by \(by)")
      }
      for reason in Set(runs.compactMap(\.obstacle)).sorted() { how.append("cannot run here: \(reason)") }
      table.add([target.id] + (hasFiles ? [target.file] : []) + ["\(steps.count)", "\(runs.count)", how.isEmpty ? "-" : how.joined(separator: ", ")])
    }
    return table.flush()
  }

  // MARK: Steps

  private func steps(_ rows: [ForecastRow]) -> String {
    let files = forecast.targets.map(\.file).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
    var table = AlignedText(padding: 3), out = ""
    // All files' columns are alike.
    var cells: [(file: String, cells: [String])] = []
    for file in files {
      for row in rows where row.file == file {
        let place = (row.name.stage.isEmpty ? "" : row.name.stage + " ") + "\(row.name.number)/\(row.name.count)"
        cells.append((file, [place, runs(row), cached(row), row.instruction]))
      }
      for (stage, steps, targets) in skipped(file) {
        cells.append((file, [stage, "skipped" + (targets.isEmpty ? "" : " for " + targets), "-", "\(steps) step\(steps == 1 ? "" : "s") that the target does not need"]))
      }
    }
    if cells.isEmpty { return "" }
    let head = ["STEP", "RUNS", "CACHED"]
    let used = (0..<3).map { i in (cells.map(\.cells[i].unicodeScalars.count) + [head[i].count]).max() ?? 0 }.reduce(0, +) + 9
    table.add(head + ["INSTRUCTION"])
    for cell in cells { table.add(Array(cell.cells.prefix(3)) + [Self.cut(cell.cells[3], to: max(24, width - used))]) }
    var lines = table.flush().split(separator: "\n").map(String.init)
    if files.count == 1 { return lines.joined(separator: "\n") + "\n" }
    out = lines.removeFirst() + "\n"
    for file in files where cells.contains(where: { $0.file == file }) {
      out += "\(TerminalText.singleLine(file)):\n"
      for (line, cell) in zip(lines, cells) where cell.file == file { out += line + "\n" }
    }
    return out
  }

  static func cut(_ text: String, to width: Int) -> String {
    let text = text.split(whereSeparator: { $0 == "\n" || $0 == "\r" || $0 == "\t" }).joined(separator: " ")
    return text.unicodeScalars.count <= width ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(width - 1))) + "…"
  }

  private func runs(_ row: ForecastRow) -> String {
    let count = row.steps.count
    var words: [String] = []
    if all.count > 1 {
      if row.targets.count == 1, let only = row.targets.first {
        words.append(only)
      } else if count == 1 {
        words.append(row.targets.count == all.count ? "once" : "once for \(row.targets.count) platforms")
      } else {
        words.append("\(count) times")
      }
    }
    let runs = row.steps.filter { $0.support != nil }
    if !runs.isEmpty {
      let native = runs.count { $0.support == .native }, emulated = runs.count { $0.emulator != nil }, impossible = runs.count - native - emulated
      let kinds = [(native, "native"), (emulated, "emulated"), (impossible, "impossible")].filter { $0.0 > 0 }
      words += kinds.map { kinds.count == 1 ? $0.1 : "\($0.0) \($0.1)" }
    }
    return words.isEmpty ? "-" : words.joined(separator: ", ")
  }

  private func cached(_ row: ForecastRow) -> String {
    let hits = row.steps.count { $0.cache == .hit }
    if hits == row.steps.count { return "yes" }
    if hits > 0 { return "\(hits) of \(row.steps.count)" }
    return row.steps.allSatisfy { $0.cache == .miss } ? "no" : "?"
  }

  private func skipped(_ file: String) -> [(stage: String, steps: Int, targets: String)] {
    let targets = forecast.targets.filter { $0.file == file }
    return (targets.first?.stages ?? []).compactMap { stage in
      if stage.steps == 0 { return nil }
      let without = targets.filter { target in target.stages.contains { $0.name == stage.name && !$0.isNeeded } }
      if without.isEmpty { return nil }
      return (stage.name, stage.steps, without.count == targets.count ? "" : without.count == 1 ? without[0].id : "\(without.count) platforms")
    }
  }

  // MARK: What is read

  private func names(_ targets: [String]) -> String { targets.count == all.count && all.count > 1 ? "all" : targets.joined(separator: ", ") }

  private var images: String {
    if forecast.images.isEmpty { return "" }
    var table = AlignedText(padding: 3)
    table.add("BASE IMAGE", "DIGEST", "FROM", "TO FETCH", "PLATFORMS")
    var groups: [(image: BuildForecast.Image, missing: Int64, platforms: [String])] = []
    for image in forecast.images {
      if let i = groups.firstIndex(where: { $0.image.name == image.name && $0.image.digest == image.digest && $0.image.isLocal == image.isLocal }) {
        groups[i].missing += image.missing
        groups[i].platforms.append(image.platform.description)
      } else {
        groups.append((image, image.missing, [image.platform.description]))
      }
    }
    for group in groups {
      table.add(
        group.image.name, String(group.image.digest.description.prefix(19)), group.image.isLocal ? "local store" : "registry",
        group.missing == 0 ? "-" : "up to \(HumanFigures.size(group.missing))", Self.cut(names(group.platforms), to: 40))
    }
    return table.flush()
  }

  private var sources: String {
    if forecast.sources.isEmpty { return "" }
    var table = AlignedText(padding: 3)
    table.add("CONTEXT", "READS", "PLATFORMS")
    for source in forecast.sources {
      var reads = source.kind == .context ? source.paths.isEmpty ? "all files" : source.paths.joined(separator: ", ") : "-"
      if !source.excludes.isEmpty { reads += " (\(source.excludes.count) ignore pattern\(source.excludes.count == 1 ? "" : "s"))" }
      let name = source.kind == .context ? directories[source.name].map { "\(source.name) (\($0))" } ?? source.name : source.name
      table.add(name, Self.cut(reads, to: 60), names(source.targets))
    }
    return table.flush()
  }

  // MARK: The end

  private var summary: String {
    let steps = forecast.steps.filter(\.isShown)
    let needs = forecast.targets.map { Set($0.steps) }
    func word(_ count: Int, _ thing: String) -> String { "\(count) \(thing)\(count == 1 ? "" : "s")" }
    var parts = [word(steps.count, "step")]
    if all.count > 1 { parts.append("\(steps.count { step in needs.allSatisfy { $0.contains(step.digest) } }) shared by all platforms") }
    let cached = steps.count { $0.cache == .hit }
    if cached > 0 { parts.append("\(cached) cached") }
    var out = "\(word(all.count, "platform")), \(parts.joined(separator: ", "))"
    let emulated = steps.filter { $0.emulator != nil }
    if !emulated.isEmpty {
      let platforms = emulated.map(\.platform.description).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
      out += "; \(word(emulated.count, "RUN step")) emulated: \(platforms.joined(separator: ", "))"
    } else if steps.contains(where: { $0.support == .native }), !steps.contains(where: { $0.obstacle != nil }) {
      out += "; every RUN step native"
    }
    let impossible = steps.count { $0.obstacle != nil }
    if impossible > 0 { out += "; \(word(impossible, "RUN step")) cannot run here" }
    return out + "\n"
  }

  private var advice: String {
    forecast.advice.map { warning in
      let lines = [warning.short] + warning.detail.dropFirst()
      return "ADVICE " + lines.map { TerminalText.multiLine(String(decoding: $0, as: UTF8.self)) }.joined(separator: "\n") + "\n"
    }.joined(separator: "\n")
  }
}

extension BuildForecast {
  /// The warnings that are about how steps run.
  var advice: [VertexWarning] { warnings.filter { String(decoding: $0.short, as: UTF8.self).hasPrefix(CheckRule.emulatedCrossCompile.name + ":") } }
}

extension BuildForecast.Step {
  /// A base image has a table of its own, and the merge of a linked copy is no work.
  var isShown: Bool { kind != .image && kind != .merge && StepName(name) != nil }
  /// What emulates its process.
  var emulator: String? { if case .emulated(let by)? = support { by } else { nil } }
  /// Why its process cannot run.
  var obstacle: String? { if case .impossible(let reason)? = support { reason } else { nil } }
}
