internal import BuildInterface

/// Several failures of one kind told as one: what is missing is told for all platforms at once, before any step runs.
enum ManyFailures {
  /// What to throw of `errors` (in order, not empty): all that is not found together, else the first that is something else.
  static func one(of errors: [any Error]) -> any Error {
    if let other = errors.first(where: { ($0 as? BuildError)?.code != .notFound || ($0 as? BuildError)?.domain != .registry }) { return other }
    let missing = errors.compactMap { $0 as? BuildError }
    guard var combined = missing.first else { return CancellationError() }
    var messages: [String] = [], suggestions: [String] = []
    for error in missing {
      if !messages.contains(error.message) { messages.append(error.message) }
      if let suggestion = error.suggestion, !suggestions.contains(suggestion) { suggestions.append(suggestion) }
      for source in error.sources where !combined.sources.contains(source) { combined.sources.append(source) }
    }
    combined.message = messages.joined(separator: "\n")
    combined.suggestion = suggestions.isEmpty ? nil : suggestions.joined(separator: "\n")
    return combined
  }
}
