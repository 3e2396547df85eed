internal import ArgumentParser
internal import BuildInterface
internal import Synchronization

/// How much a build and its steps may take.
struct LimitOptions: ParsableArguments {
  @Option(
    name: .customLong("resource"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A limit of each RUN step, kept by a control group: memory=512m, memory-swap=1g, cpus=1.5, cpu-shares, cpu-period, cpu-quota, cpuset-cpus=0-3, cpuset-mems. May be repeated.",
      valueName: "name=value"))
  var resources: [String] = []

  @Option(name: .customLong("timeout"), parsing: .unconditional, help: ArgumentHelp("Stop the build when it takes longer, as 90s, 10m or 1h30m.", valueName: "time"))
  var timeout: String?

  @Option(name: .customLong("step-timeout"), parsing: .unconditional, help: ArgumentHelp("Fail a RUN step that takes longer.", valueName: "time"))
  var stepTimeout: String?

  // As options of their own, from before --resource.
  @Option(name: [.customLong("memory"), .customShort("m")], parsing: .unconditional, help: .hidden) var memory: String?
  @Option(name: .customLong("memory-swap"), parsing: .unconditional, help: .hidden) var memorySwap: String?
  @Option(name: [.customLong("cpu-shares"), .customShort("c")], parsing: .unconditional, help: .hidden) var cpuShares: String?
  @Option(name: .customLong("cpu-period"), parsing: .unconditional, help: .hidden) var cpuPeriod: String?
  @Option(name: .customLong("cpu-quota"), parsing: .unconditional, help: .hidden) var cpuQuota: String?
  @Option(name: .customLong("cpuset-cpus"), parsing: .unconditional, help: .hidden) var cpusetCPUs: String?
  @Option(name: .customLong("cpuset-mems"), parsing: .unconditional, help: .hidden) var cpusetMems: String?

  private static let attributes = [
    "memory": "memory", "memory-swap": "memswap", "cpu-shares": "cpushares", "cpu-period": "cpuperiod", "cpu-quota": "cpuquota", "cpuset-cpus": "cpusetcpus",
    "cpuset-mems": "cpusetmems",
  ]

  /// The frontend's attributes for the limits of steps.
  func resourceAttributes() throws -> [String: String] {
    let own: [(String, String?)] = [
      ("memory", memory), ("memory-swap", memorySwap), ("cpu-shares", cpuShares), ("cpu-period", cpuPeriod), ("cpu-quota", cpuQuota), ("cpuset-cpus", cpusetCPUs),
      ("cpuset-mems", cpusetMems),
    ]
    var out: [String: String] = [:]
    for (name, value) in own { if let value { try add(name, value, option: "--\(name)", to: &out) } }
    for entry in resources {
      let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map { $0.drop { $0 == " " } }.map { text in
        var text = text
        while text.last == " " { text.removeLast() }
        return String(text)
      }
      guard parts.count == 2 else { throw BuildError.usage("--resource \(entry): expected name=value, such as memory=512m") }
      try add(parts[0], parts[1], option: "--resource \(parts[0])", to: &out)
    }
    if let swap = out["memswap"].flatMap({ Int64($0) }), swap > 0, let memory = out["memory"].flatMap({ Int64($0) }), swap < memory {
      throw BuildError.usage("--resource memory-swap: memory and swap together cannot be less than memory alone")
    }
    return out
  }

  private func add(_ name: String, _ value: String, option: String, to out: inout [String: String]) throws {
    func wrong(_ expected: String) -> BuildError { BuildError.usage("\(option) \(value): expected \(expected)") }
    if name == "cpus" {
      guard let cpus = Double(value), cpus >= 0.01, cpus <= 10_000 else { throw wrong("a number of processors, such as 1.5") }
      out["cpuperiod"] = "100000"
      out["cpuquota"] = String(Int64(cpus * 100_000))
      return
    }
    guard let attribute = Self.attributes[name] else {
      throw BuildError.usage("--resource \(name): there is no such limit", suggestion: "Limits are \((Self.attributes.keys + ["cpus"]).sorted().joined(separator: ", ")).")
    }
    switch name {
    case "memory", "memory-swap":
      if name == "memory-swap", value == "-1" {
        out[attribute] = value
        return
      }
      let bytes = try StepSettings.bytes(value, option: option)
      guard bytes > 0 else { throw wrong("a size above 0") }
      out[attribute] = String(bytes)
    case "cpuset-cpus", "cpuset-mems":
      guard !value.isEmpty, value.allSatisfy({ $0.isASCII && $0.isNumber || $0 == "," || $0 == "-" }) else { throw wrong("a list, such as 0-3 or 0,2") }
      out[attribute] = value
    default:
      guard let number = Int64(value), number > 0 else { throw wrong("a number above 0") }
      out[attribute] = String(number)
    }
  }

  /// Seconds of a time as people write it: `90`, `90s`, `1.5h`, `1h30m`.
  static func seconds(_ text: String, option: String) throws -> Double {
    let units: [String: Double] = ["ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400]
    func wrong() -> BuildError { BuildError.usage("\(option) \(text): expected a time, such as 90s, 10m or 1h30m") }
    if let plain = Double(text), plain > 0, plain.isFinite, text.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }) { return plain }
    var rest = text[...]
    var total = 0.0
    while !rest.isEmpty {
      let number = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      rest = rest.dropFirst(number.count)
      let unit = rest.prefix { $0.isASCII && $0.isLetter }
      rest = rest.dropFirst(unit.count)
      guard let value = Double(number), let factor = units[String(unit)] else { throw wrong() }
      total += value * factor
    }
    guard total > 0, total < 1e9 else { throw wrong() }
    return total
  }

  func checkedTimeout() throws -> Double? { try timeout.map { try Self.seconds($0, option: "--timeout") } }
  func checkedStepTimeout() throws -> Double? { try stepTimeout.map { try Self.seconds($0, option: "--step-timeout") } }
}

/// Stops work that takes too long.
enum Deadline {
  private final class Flag: Sendable { let value = Atomic<Bool>(false) }

  /// Cancels `body` after so many seconds; throws `error` when that was what ended it.
  static func within<T: Sendable>(_ seconds: Double?, _ error: BuildError, _ body: @Sendable @escaping () async throws -> T) async throws -> T {
    guard let seconds else { return try await body() }
    let isOver = Flag()
    return try await withThrowingTaskGroup(of: T?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        try? await Task.sleep(for: .seconds(seconds))
        if !Task.isCancelled { isOver.value.store(true, ordering: .relaxed) }
        return nil
      }
      do {
        while let value = try await group.next() {
          group.cancelAll()
          if let value { return value }
        }
        throw error
      } catch let cause {
        if isOver.value.load(ordering: .relaxed), cause is CancellationError || (cause as? BuildError)?.code == .cancelled { throw error }
        throw cause
      }
    }
  }
}
