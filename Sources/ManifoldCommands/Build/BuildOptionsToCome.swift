internal import ArgumentParser
internal import BuildInterface

/// Options of the peers' build that are not served yet. They are parsed, so that each is refused by its name.
struct BuildOptionsToCome: ParsableArguments {
  @Option(name: .customLong("builder"), parsing: .unconditional, help: .hidden) var builder: String?
  @Option(name: .customLong("policy"), parsing: .unconditionalSingleValue, help: .hidden) var policy: [String] = []
  // Without effect for the peers too.
  @Flag(name: .customLong("rm"), help: .hidden) var rm = false
  @Flag(name: .customLong("force-rm"), help: .hidden) var forceRM = false
  @Flag(name: .customLong("compress"), help: .hidden) var compress = false
  @Flag(name: .customLong("squash"), help: .hidden) var squash = false
  @Option(name: .customLong("isolation"), parsing: .unconditional, help: .hidden) var isolation: String?
  @Option(name: .customLong("security-opt"), parsing: .unconditionalSingleValue, help: .hidden) var securityOptions: [String] = []

  /// Warnings about what is passed over.
  var warnings: [String] {
    var out: [String] = []
    if squash { out.append("--squash has no effect: squash inside the build, with a stage that copies the result") }
    if isolation != nil { out.append("--isolation has no effect") }
    if !securityOptions.isEmpty { out.append("--security-opt has no effect") }
    return out
  }

  func refuse() throws {
    if let policy = policy.first { throw BuildError.notYet("--policy \(policy)", suggestion: "Policies (Rego) are judged by a BuildKit builder; without --policy everything is allowed, as there by default.") }
    if let builder { throw BuildError.notYet("--builder \(builder)") }
  }
}
