internal import BuildInterface
internal import OCIModel

/// Says of one build's steps why each was, or was not, taken from the cache, by comparison with the build before it.
struct Explanation: Sendable {
  let record: BuildRecord
  let previous: BuildRecord?
  /// Of the content keys of both, as far as the store has them.
  let listings: [Digest: TreeListing]

  var steps: [BuildExplanation.Step] {
    let byDigest = Dictionary(record.steps.map { ($0.digest, $0) }) { a, _ in a }
    return record.steps.filter { !$0.name.hasPrefix("[internal]") }.map { step in
      BuildExplanation.Step(
        name: step.name, platform: step.platform, outcome: .init(rawValue: step.outcome.rawValue) ?? .waiting, duration: step.duration, reasons: reasons(step, byDigest))
    }
  }

  private func reasons(_ step: BuildRecord.Step, _ byDigest: [Digest: BuildRecord.Step]) -> [BuildExplanation.Reason] {
    switch step.outcome {
    case .cached: return [.init(.unchanged, "its definition and what it reads are those of an earlier build")]
    case .waiting: return [.init(.notReached, neededByCachedOnly(step) ? "nothing that ran needed it" : "the build ended before it")]
    default: break
    }
    if step.isForced { return [.init(.forced, "--no-cache or --no-cache-filter had it run anew")] }
    guard let previous else { return [.init(.first, "there is no earlier build of this Dockerfile, context and target in this store's history")] }
    guard let old = counterpart(of: step, in: previous) else { return [.init(.new, "the build before had no such step")] }
    var reasons = step.facts.differences(from: old.facts).map(Self.reason)
    let oldSteps = Dictionary(previous.steps.map { ($0.digest, $0) }) { a, _ in a }
    for (i, input) in step.inputs.enumerated() { reasons += inputReasons(input, i < old.inputs.count ? old.inputs[i] : nil, byDigest, oldSteps) }
    if step.inputs.count < old.inputs.count { reasons.append(.init(.input, "it reads from \(old.inputs.count - step.inputs.count) steps fewer than before")) }
    if !reasons.isEmpty { return reasons }
    if step.inputs.isEmpty { return [.init(.source, "the same as before: what a build begins with is looked up each time, and not fetched again")] }
    switch old.outcome {
    case .failed: return [.init(.notKept, "nothing changed, but it failed in the build before")]
    case .cancelled, .waiting: return [.init(.notKept, "nothing changed, but the build before ended without its result")]
    default: return [.init(.gone, "nothing changed, but its result was not in the store any more (pruned, or made under another --root)")]
    }
  }

  private func neededByCachedOnly(_ step: BuildRecord.Step) -> Bool {
    record.outcome == .completed || record.steps.contains { $0.outcome == .cached && $0.inputs.contains { $0.step == step.digest } }
  }

  // MARK: - The same step in another build

  /// By its whole name, else by its place: stage and number within it, whatever it says now.
  private func counterpart(of step: BuildRecord.Step, in other: BuildRecord) -> BuildRecord.Step? {
    if let same = other.steps.first(where: { $0.digest == step.digest }) { return same }
    let candidates = other.steps.filter { $0.platform == step.platform && Self.kind($0) == Self.kind(step) }
    let words = Self.words(step.name)
    let namesakes = candidates.filter { Self.words($0.name) == words }
    let place = Self.place(step.name)
    return namesakes.first { Self.place($0.name) == place } ?? candidates.first { place != nil && Self.place($0.name) == place } ?? namesakes.first
  }

  private static func kind(_ step: BuildRecord.Step) -> String { step.facts.facts.first?.name.split(separator: " ").first.map(String.init) ?? "" }

  /// `RUN make` of `[linux/arm64 build 2/5] RUN make`.
  private static func words(_ name: String) -> Substring {
    guard name.hasPrefix("["), let end = name.firstIndex(of: "]") else { return name[...] }
    return name[name.index(after: end)...].drop { $0 == " " }
  }

  /// Stage and number of `[linux/arm64 build 2/5] RUN make`: `build 2`. Builds for one platform leave that out of names, and ones of a single stage the stage.
  private static func place(_ name: String) -> String? {
    guard name.hasPrefix("["), let end = name.firstIndex(of: "]") else { return nil }
    let parts = name[name.index(after: name.startIndex)..<end].split(separator: " ").filter { !$0.hasPrefix("linux/") && !$0.hasPrefix("windows/") && !$0.contains("->") }
    guard let last = parts.last, let slash = last.firstIndex(of: "/") else { return nil }
    return (parts.dropLast().map(String.init) + [String(last[..<slash])]).joined(separator: " ")
  }

  // MARK: - Reasons

  private static func reason(_ difference: StepDifference) -> BuildExplanation.Reason {
    func short(_ text: String) -> String { text.count > 160 ? text.prefix(157) + "…" : text }
    switch (difference.old, difference.new) {
    case (nil, let new?): return .init(.definition, "\(difference.name) is new: \(short(new))")
    case (let old?, nil): return .init(.definition, "\(difference.name) is gone: it was \(short(old))")
    case (let old, let new): return .init(.definition, "\(difference.name) changed from \(short(old ?? "")) to \(short(new ?? ""))")
    }
  }

  private func inputReasons(
    _ input: BuildRecord.Step.Input, _ old: BuildRecord.Step.Input?, _ steps: [Digest: BuildRecord.Step], _ oldSteps: [Digest: BuildRecord.Step]
  ) -> [BuildExplanation.Reason] {
    guard let source = steps[input.step] else { return [] }
    guard let old else { return [.init(.input, "it reads from \(source.name), which it did not before")] }
    if let key = input.content, let oldKey = old.content {
      if key == oldKey { return [] }
      guard let now = listings[key], let before = listings[oldKey] else { return [.init(.content, "what it takes from \(source.name) changed")] }
      let changes = now.changes(from: before)
      if changes.isEmpty { return [.init(.content, "what it takes from \(source.name) changed")] }
      let from = source.name.hasPrefix("[internal]") ? "" : " in \(source.name)"
      return [("modified", changes.modified), ("added", changes.added), ("removed", changes.removed)].compactMap { word, paths in
        paths.isEmpty ? nil : .init(.content, "\(word)\(from): \(Self.list(paths))")
      }
    }
    // An input without a key of its content counts by its definition.
    if input.step == old.step || source.outcome == .cached { return [] }
    if source.name.hasPrefix("[internal]") { return [] }
    guard let was = oldSteps[old.step], was.facts != source.facts || source.outcome != .cached else { return [] }
    return [.init(.input, "it stands on \(source.name), which was built anew")]
  }

  private static func list(_ paths: [String]) -> String {
    let shown = paths.prefix(10).map { $0.hasPrefix("/") ? String($0.dropFirst()) : $0 }.joined(separator: ", ")
    return paths.count > 10 ? "\(shown) and \(paths.count - 10) more" : shown
  }
}
