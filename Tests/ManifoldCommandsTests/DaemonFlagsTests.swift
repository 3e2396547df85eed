import BuildInterface
import BuildkitdConfig
import Testing

@testable import ManifoldCommands

@Suite struct DaemonFlagsTests {
  static let facts = CommandFacts(environment: ["XDG_RUNTIME_DIR": "/run/user/7"], workingDirectory: "/work")
  static func settings(_ words: String...) throws -> DaemonSettings { try DaemonSettings(DaemonFlags(parsing: words), facts, isRoot: false) }

  @Test func flagsAreReadAsGoReadsThem() throws {
    let settings = try Self.settings(
      "--addr", "unix:///a.sock", "-addr=tcp://127.0.0.1:1", "--root", "r", "--root=state", "--tlscert", "c.pem", "--tlskey=/k.pem", "--tlscacert", "ca.pem", "--group", "docker",
      "--allow-insecure-entitlement", "network.host", "--allow-insecure-entitlement=security.insecure", "--oci-worker-labels", "a=b=c", "--oci-worker-platform", "linux/arm64",
      "--debug=true", "--log-format", "json", "--stop-timeout", "2m", "--max-builds", "3", "--oci-max-parallelism", "4", "--insecure-listen")
    #expect(settings.addresses == ["unix:///a.sock", "tcp://127.0.0.1:1"])
    #expect(settings.engine.root == "/work/state" && settings.engine.daemon?.worker.maxParallelism == 4)
    #expect(settings.certificate == "/work/c.pem" && settings.key == "/k.pem" && settings.clientAuthority == "/work/ca.pem")
    #expect(settings.group == "docker" && settings.allowsPlaintext && settings.entitlements == ["network.host", "security.insecure"])
    #expect(settings.labels == ["a": "b=c"] && settings.platforms.map(\.description) == ["linux/arm64"])
    #expect(settings.logLevel == "debug" && settings.logsJSON && settings.stopTimeout == 120 && settings.maxBuilds == 3)
  }

  @Test func withoutFlagsItListensWhereClientsLook() throws {
    #expect(try Self.settings().addresses == ["unix:///run/user/7/buildkit/buildkitd.sock"])
    #expect(DaemonSettings.defaultAddress([:], isRoot: true) == "unix:///run/buildkit/buildkitd.sock")
  }

  /// All of buildkitd's (cmd/buildkitd/main*.go).
  @Test(arguments: [
    "rootless", "config=x", "debug", "trace", "root=x", "addr=x", "log-format=text", "log-level=info", "group=x", "debugaddr=x", "tlscert=x", "tlskey=x", "tlscacert=x",
    "allow-insecure-entitlement=x", "proxy-network=false", "otel-socket-path=x", "cdi-disabled", "cdi-spec-dir=x", "save-cache-debug", "oci-worker=auto", "oci-worker-labels=x",
    "oci-worker-snapshotter=x", "oci-worker-proxy-snapshotter-path=x", "oci-worker-platform=x", "oci-worker-net=x", "oci-cni-config-path=x", "oci-cni-binary-dir=x", "oci-cni-pool-size=1",
    "oci-worker-binary=x", "oci-worker-apparmor-profile=x", "oci-worker-selinux", "oci-max-parallelism=1", "oci-worker-rootless", "oci-worker-no-process-sandbox", "oci-worker-gc",
    "oci-worker-gc-keepstorage=1", "containerd-worker=x", "containerd-worker-addr=x", "containerd-worker-labels=x", "containerd-worker-platform=x", "containerd-worker-namespace=x",
    "containerd-worker-runtime=x", "containerd-worker-net=x", "containerd-cni-config-path=x", "containerd-cni-binary-dir=x", "containerd-cni-pool-size=1", "containerd-worker-snapshotter=x",
    "containerd-worker-apparmor-profile=x", "containerd-worker-selinux", "containerd-max-parallelism=1", "containerd-worker-rootless", "containerd-worker-gc", "containerd-worker-gc-keepstorage=x",
  ]) func everyFlagOfBuildkitdIsTaken(_ flag: String) throws {
    #expect(try DaemonFlags(parsing: ["--" + flag]).request == .run)
  }

  @Test func whatHasNoEffectIsSaidOnce() throws {
    let flags = try DaemonFlags(parsing: ["--containerd-worker=true", "--containerd-worker", "true", "--oci-worker-snapshotter", "overlayfs", "--save-cache-debug=false"])
    #expect(flags.notices.count == 2 && flags.notices.allSatisfy { $0.contains("has no effect here") })
  }

  @Test func mistakesAreNamed() {
    let table: [([String], String)] = [
      (["--adr", "x"], "there is no flag --adr"), (["--addr"], "--addr needs a value"), (["word"], "the daemon takes no arguments, only flags: \"word\""),
      (["--debug=maybe"], "--debug is on or off: \"maybe\" is neither true nor false"), (["--proxy-network"], "--proxy-network is not supported: steps cannot be kept to a proxy here"),
      (["--tlscert", "x"], "--tlscert and --tlskey belong together"), (["--allow-insecure-entitlement", "all"], "--allow-insecure-entitlement all: there are network.host, security.insecure and device"),
      (["--stop-timeout", "soon"], "--stop-timeout soon: expected a duration, such as 30s or 5m"), (["--max-builds=0"], "--max-builds 0: the daemon would build nothing"),
    ]
    for (words, message) in table {
      let error = #expect(throws: BuildError.self) { try DaemonSettings(DaemonFlags(parsing: words), Self.facts, isRoot: false) }
      #expect(error?.message == message)
    }
  }

  @Test func theProgramsNameSaysWhichCommandLineItTakes() {
    #expect(Manifold.arguments(["/usr/bin/manifold", "build", "."]) == ["build", "."])
    #expect(Manifold.arguments(["/usr/local/bin/buildkitd", "--debug"]) == ["daemon", DaemonCommand.buildkitdMark, "--debug"])
  }

  @Test func helpTellsOfEveryFlagOfOurs() {
    let help = DaemonFlags.help(asBuildkitd: false)
    for name in ["addr", "insecure-listen", "max-builds", "stop-timeout", "tlscacert"] { #expect(help.contains("--\(name)")) }
  }
}
