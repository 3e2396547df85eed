import BuildInterface
import Testing

@testable import ManifoldCommands

@Suite struct LimitOptionTests {
  @Test func resources() throws {
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    let plan = try plan(
      ["--resource", "memory=512m", "--resource", "cpus=1.5", "--memory-swap", "1g", "--resource", "cpuset-cpus=0-1", "-c", "512", "--step-timeout", "1m30s", "."], in: scratch)
    let attributes = plan.request.frontendAttributes
    #expect(attributes["memory"] == "536870912" && attributes["memswap"] == "1073741824" && attributes["cpuquota"] == "150000" && attributes["cpuperiod"] == "100000")
    #expect(attributes["cpusetcpus"] == "0-1" && attributes["cpushares"] == "512" && plan.request.stepTimeout == 90)
    for (arguments, message) in [
      (["--resource", "memory"], "expected name=value"), (["--resource", "disk=1"], "there is no such limit"), (["--resource", "memory=0"], "a size above 0"),
      (["--resource", "cpus=0"], "a number of processors"), (["--cpu-quota", "-5"], "a number above 0"), (["--resource", "cpuset-cpus=a"], "a list"),
      (["--resource", "memory=2g", "--resource", "memory-swap=1g"], "less than memory alone"), (["--timeout", "soon"], "expected a time"), (["--timeout", "0"], "expected a time"),
    ] {
      let error = failure { _ = try ManifoldCommandsTests.plan(arguments + ["."], in: scratch) }
      #expect(error?.message.contains(message) == true && error?.domain == .usage, "\(arguments): \(error?.message ?? "none")")
    }
  }

  @Test func times() throws {
    for (text, seconds) in [("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), ("250ms", 0.25), ("1d", 86_400)] as [(String, Double)] {
      #expect(try LimitOptions.seconds(text, option: "--timeout") == seconds)
    }
    for text in ["", "s", "-5s", "1y", "1h30", "m5", "1e5", "∞", "0s"] { #expect(throws: BuildError.self) { try LimitOptions.seconds(text, option: "--timeout") } }
  }

  @Test func deadlines() async throws {
    let late = BuildError(.deadlineExceeded, .build, "late")
    #expect(try await Deadline.within(nil, late) { 1 } == 1)
    #expect(try await Deadline.within(60, late) { 2 } == 2)
    let error = await #expect(throws: BuildError.self) { try await Deadline.within(0.05, late) { try await Task.sleep(for: .seconds(60)) } }
    #expect(error?.code == .deadlineExceeded)
    // What failed by itself says so.
    await #expect(throws: BuildError.self) { try await Deadline.within(60, late) { throw BuildError(.unknown, .build, "own") } }
  }
}
