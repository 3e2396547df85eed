import BuildInterface
import HostOS
import Testing

@testable import ManifoldCommands

/// Every flag of `docker buildx build` (docs/reference/buildx_build.md and commands/build.go at buildx 0.31, hidden ones too), and what this program does with it.
@Suite struct FlagTableTests {
  enum Outcome: Sendable {
    case works
    /// Works, with a word that it changes nothing.
    case hasNoEffect
    /// Refused; the message names the flag.
    case refused
  }

  static let flags: [(name: String, values: [String], outcome: Outcome)] = [
    ("--add-host", ["a:1.2.3.4"], .works), ("--allow", ["network.host"], .works), ("--allow", ["security.insecure"], .works), ("--allow", ["device"], .works),
    ("--allow", ["device=vendor.com/net=eth0,alias=x"], .works), ("--allow", ["buildx.local.delete"], .works), ("--annotation", ["a=b"], .works),
    ("--attest", ["type=provenance,mode=max"], .works), ("--attest", ["type=sbom"], .refused), ("--build-arg", ["A=b"], .works), ("--builder", ["default"], .refused),
    ("--cache-from", ["reg.example/c"], .works), ("--cache-to", ["type=inline"], .works), ("--call", ["outline"], .works), ("--cgroup-parent", ["/x"], .works), ("--check", [], .works),
    ("--debug", [], .works), ("-D", [], .works), ("--file", ["Dockerfile"], .works), ("-f", ["Dockerfile"], .works), ("--iidfile", ["id"], .works), ("--label", ["a=b"], .works),
    ("--load", [], .works), ("--metadata-file", ["m.json"], .works), ("--network", ["host"], .works), ("--no-cache", [], .works), ("--no-cache-filter", ["a"], .works),
    ("--output", ["type=oci,dest=x.tar"], .works), ("-o", ["out"], .works), ("--platform", ["linux/arm64"], .works), ("--policy", ["filename=p.rego"], .refused),
    ("--print", ["targets"], .works), ("--progress", ["plain"], .works), ("--provenance", ["mode=max"], .works), ("--pull", [], .works), ("--push", [], .works), ("--quiet", [], .works),
    ("-q", [], .works), ("--resource", ["memory=1g"], .works), ("--sbom", ["true"], .refused), ("--sbom", ["false"], .works), ("--secret", ["id=s,env=S"], .works),
    ("--shm-size", ["64m"], .works), ("--ssh", ["default"], .works), ("--tag", ["x"], .works), ("-t", ["x"], .works), ("--target", ["a"], .works), ("--ulimit", ["nofile=1"], .works),
    // Hidden.
    ("--memory", ["1g"], .works), ("-m", ["1g"], .works), ("--memory-swap", ["-1"], .works), ("--cpu-shares", ["5"], .works), ("-c", ["5"], .works), ("--cpu-period", ["1000"], .works),
    ("--cpu-quota", ["1000"], .works), ("--cpuset-cpus", ["0"], .works), ("--cpuset-mems", ["0"], .works), ("--compress", [], .works), ("--isolation", ["x"], .hasNoEffect),
    ("--security-opt", ["x"], .hasNoEffect), ("--squash", [], .hasNoEffect), ("--rm", [], .works), ("--force-rm", [], .works),
  ]

  @Test(arguments: flags.indices) func does(_ index: Int) throws {
    let (name, values, outcome) = Self.flags[index]
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    let listener = try SocketListener(at: "agent", in: try Directory.open(scratch.path), mode: 0o600)
    defer { listener.close() }
    func plan(_ arguments: [String]) throws -> BuildPlan {
      try ManifoldCommandsTests.plan(arguments + ["-t", "x", "."], in: scratch, environment: ["SSH_AUTH_SOCK": scratch.path + "/agent", "S": "s"])
    }
    // As two words, and with =.
    var forms = [[name] + values]
    if name.hasPrefix("--"), let value = values.first { forms.append(["\(name)=\(value)"]) }
    if name.hasPrefix("--"), values.isEmpty { forms.append(["\(name)=true"]) }
    for form in forms {
      switch outcome {
      case .works, .hasNoEffect:
        let made = try plan(form)
        #expect(made.warnings.contains { $0.contains("no effect") } == (outcome == .hasNoEffect), "\(made.warnings)")
      case .refused:
        let error = try #require(failure { _ = try plan(form) })
        #expect(error.code == .unimplemented && error.message.contains(name == "--attest" ? "--attest" : name), "\(error.message)")
      }
    }
    if values.isEmpty, name.hasPrefix("--") { #expect(throws: Never.self) { try plan([name + "=false"]) } }
  }

  @Test func entitlementsThatThereAreNot() throws {
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    for (text, said) in [("network.hst", "network.host"), ("fs.read=/x", "bake"), ("security.insecure=yes", "no value"), ("buildx.local.delete=true", "no value"), ("everything", "can be allowed")] {
      let error = try #require(failure { _ = try plan(["--allow", text, "."], in: scratch) })
      #expect("\(error.message) \(error.suggestion ?? "")".contains(said), "\(error)")
    }
    #expect(try plan(["--allow", "network.host", "--allow", "security.insecure", "--allow", "", "."], in: scratch).request.entitlements == ["network.host", "security.insecure"])
  }

  @Test func environmentThatIsNotServed() throws {
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    let policy = try #require(failure { _ = try plan(["."], in: scratch, environment: ["EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "p.json"]) })
    #expect(policy.message.contains("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"))
    #expect(try plan(["-t", "x", "."], in: scratch, environment: ["BUILDX_BUILDER": "mine"]).warnings.contains { $0.contains("BUILDX_BUILDER=mine has no effect") })
    #expect(try plan(["-t", "x", "."], in: scratch, environment: ["BUILDX_BUILDER": "default"]).warnings.isEmpty)
  }

  @Test func agents() throws {
    let scratch = try Scratch()
    for name in ["Dockerfile", "k1", "k2"] { try scratch.file(name) }
    let listener = try SocketListener(at: "agent", in: try Directory.open(scratch.path), mode: 0o600)
    defer { listener.close() }
    let socket = scratch.path + "/agent", own = ["SSH_AUTH_SOCK": socket]
    func made(_ flags: [String], _ environment: [String: String] = [:]) throws -> BuildPlan { try plan(flags + ["."], in: scratch, environment: environment) }
    #expect(try made(["--ssh", "default"], own).client.agents == ["default": socket])
    #expect(try made(["--ssh", "="], own).client.agents == ["default": socket])
    #expect(try made(["--ssh", "deploy"], own).client.agents == ["deploy": socket])
    #expect(try made(["--ssh", "default=agent", "--ssh", "keys=k1,k2"]).client.agents == ["default": socket])
    #expect(try made(["--ssh", "default=agent", "--ssh", "keys=k1,k2"]).sshKeys == ["keys": [scratch.path + "/k1", scratch.path + "/k2"]])
    #expect(try made([], own).client.agents.isEmpty)
    let wrong: [([String], String)] = [
      (["--ssh", "default"], "SSH_AUTH_SOCK"), (["--ssh", "a=absent"], "absent"), (["--ssh", "a=agent,k1"], "not for both"), (["--ssh", "a=agent,agent"], "one socket"),
      (["--ssh", "a=k1", "--ssh", "a=k2"], "given before"), (["--ssh", "a=."], "directory"),
    ]
    for (flags, said) in wrong {
      let error = try #require(failure { _ = try made(flags) })
      #expect(error.code == .invalidArgument && error.message.contains(said), "\(error)")
    }
    for (text, isOne) in [("ssh://h/x", true), ("git@h.example:a/b.git", true), ("https://git@h/x", false), ("./git@h:x", false), ("git@h", false), (".", false)] {
      #expect(try ContextInput.isOverSSH(text) == isOne, "\(text)")
    }
  }

  @Test func metadataHoldsWarnings() throws {
    #expect(MetadataFile.holdsWarnings(["BUILDX_METADATA_WARNINGS": "1"]) && !MetadataFile.holdsWarnings([:]) && !MetadataFile.holdsWarnings(["BUILDX_METADATA_WARNINGS": "no"]))
  }
}
