import HostOS
import OCIModel

/// What a build's plain progress says of its steps.
struct PlainSteps {
  /// Names in the order in which they were first shown, `[internal] …` ones left out.
  private(set) var names: [String] = []
  /// How each ended: CACHED, DONE, CANCELED or ERROR.
  private(set) var ends: [String: String] = [:]
  /// What each wrote, without numbers and times.
  private(set) var logs: [String: [String]] = [:]

  init(_ text: String) {
    var byNumber: [Substring: String] = [:]
    for line in text.split(separator: "\n") where line.hasPrefix("#") {
      guard let space = line.firstIndex(of: " ") else { continue }
      let number = line[..<space], rest = line[line.index(after: space)...]
      guard let name = byNumber[number] else {
        byNumber[number] = String(rest)
        if !rest.contains("internal] ") { names.append(String(rest)) }
        continue
      }
      let word = rest.prefix { $0.isLetter && $0.isUppercase }
      if ["CACHED", "DONE", "ERROR", "CANCELED"].contains(word) {
        ends[name] = String(word)
      } else if let second = rest.firstIndex(of: " "), Double(rest[..<second]) != nil {
        logs[name, default: []].append(String(rest[rest.index(after: second)...]))
      }
    }
  }

  /// How the one step ended whose name contains `text`; nil when there is none, or several that ended differently.
  subscript(_ text: String) -> String? {
    let found = Set(names.filter { $0.contains(text) }.map { ends[$0] ?? "" })
    return found.count == 1 ? found.first : nil
  }

  /// What the steps wrote whose names contain `text`.
  func log(_ text: String) -> [String] { names.filter { $0.contains(text) }.flatMap { logs[$0] ?? [] } }

  /// How the steps of the Dockerfile ended, base images left out: only they are always looked at anew.
  var own: [String: String] { ends.filter { $0.key.hasPrefix("[") && !$0.key.contains("internal] ") && !$0.key.contains("] FROM ") } }
}

extension ProcessOutput {
  var steps: PlainSteps { PlainSteps(errorText) }
  var code: Int32? { if case .exited(let code) = status { code } else { nil } }
}

extension Environment {
  /// `manifold build --progress=plain …`.
  func build(_ context: String, _ more: [String] = [], environment: [String: String] = [:], input: [UInt8] = []) async throws -> ProcessOutput {
    try await tool.run(["build", "--progress=plain"] + more + [context], environment: environment, input: input)
  }
}

/// This machine, as one of the base image's platforms, and another one of them.
enum Host {
  static let platform = Platform.current.normalized.description
  static let machine = platform == "linux/arm64" ? "aarch64" : "x86_64"
  static let other = platform == "linux/arm64" ? "linux/amd64" : "linux/arm64"
  static let otherMachine = platform == "linux/arm64" ? "x86_64" : "aarch64"
}
