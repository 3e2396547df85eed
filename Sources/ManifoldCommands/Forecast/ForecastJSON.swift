internal import BuildInterface
internal import BuildProgress
internal import OCIModel

/// `--call=plan,format=json`: docs/plan.md says what each member means. Members are added, never changed.
struct ForecastJSON {
  let forecast: BuildForecast
  private let needs: [Set<Digest>]
  init(_ forecast: BuildForecast) {
    self.forecast = forecast
    needs = forecast.targets.map { Set($0.steps) }
  }

  var value: JSONValue {
    var out = JSONObject([("version", 1), ("buildPlatform", .string(forecast.buildPlatform.description)), ("multiPlatform", .bool(forecast.isMultiPlatform))])
    out["platforms"] = .array(forecast.targets.map(target))
    out["steps"] = .array(forecast.steps.map(step))
    out["images"] = .array(
      forecast.images.map { image in
        [
          "name": .string(image.name), "platform": .string(image.platform.description), "digest": .string(image.digest.description),
          "place": .string(image.isLocal ? "store" : "registry"), "layers": .int(image.layers), "missingBytes": .int(image.missing),
        ]
      })
    out["sources"] = .array(
      forecast.sources.map { source in
        [
          "kind": .string(source.kind.rawValue), "name": .string(source.name), "paths": texts(source.paths), "excludes": texts(source.excludes),
          "platforms": texts(source.targets),
        ]
      })
    out["advice"] = .array(forecast.advice.map(advice))
    out["summary"] = summary
    return .object(out)
  }

  private func texts(_ list: [String]) -> JSONValue { .array(list.map { .string($0) }) }

  private func target(_ target: BuildForecast.Target) -> JSONValue {
    let stages = target.stages.map { stage -> JSONValue in ["name": .string(stage.name), "needed": .bool(stage.isNeeded), "steps": .int(stage.steps)] }
    return [
      "platform": .string(target.id), "file": .string(target.file), "stages": .array(stages), "steps": texts(target.steps.map(\.description)),
    ]
  }

  private func step(_ step: BuildForecast.Step) -> JSONValue {
    let users = zip(forecast.targets, needs).filter { $1.contains(step.digest) }.map(\.0.id)
    var out = JSONObject([("digest", .string(step.digest.description)), ("name", .string(step.name)), ("kind", .string(step.kind.rawValue))])
    if let name = StepName(step.name) {
      out["stage"] = .string(name.stage)
      (out["number"], out["of"], out["instruction"]) = (.int(name.number), .int(name.count), .string(name.text))
    }
    out["platform"] = .string(step.platform.description)
    (out["platforms"], out["shared"]) = (texts(users), .bool(users.count > 1))
    switch step.support {
    case .native?: out["runs"] = "native"
    case .emulated(let by)?: (out["runs"], out["emulator"]) = ("emulated", .string(by))
    case .impossible(let reason)?: (out["runs"], out["reason"]) = ("impossible", .string(reason))
    case nil: break
    }
    out["cache"] = .string(step.cache.rawValue)
    out["inputs"] = texts(step.inputs.map(\.description))
    if let lines = step.lines { out["source"] = ["file": .string(step.file), "firstLine": .int(lines.lowerBound), "lastLine": .int(lines.upperBound)] }
    return .object(out)
  }

  private func advice(_ warning: VertexWarning) -> JSONValue {
    var out = JSONObject([("message", .string(String(decoding: warning.short, as: UTF8.self)))])
    if let source = warning.sourceInfo, let line = warning.ranges.first?.start.line { (out["file"], out["line"]) = (.string(source.filename), .int(line)) }
    if warning.detail.count > 1, let patch = warning.detail.last { out["patch"] = .string(String(decoding: patch, as: UTF8.self)) }
    return .object(out)
  }

  /// Counts what the table shows: neither base images nor merges.
  private var summary: JSONValue {
    let steps = forecast.steps.filter(\.isShown)
    return [
      "platforms": .int(forecast.targets.count), "steps": .int(steps.count), "shared": .int(steps.count { step in needs.count { $0.contains(step.digest) } > 1 }),
      "native": .int(steps.count { $0.support == .native }), "emulated": .int(steps.count { $0.emulator != nil }), "impossible": .int(steps.count { $0.obstacle != nil }),
      "cached": .int(steps.count { $0.cache == .hit }),
    ]
  }
}
