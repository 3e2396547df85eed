import Foundation
import HostOS
import OCIModel
import Testing

/// The user's SSH agent in steps and for repositories, with the real ssh-agent and ssh-add.
@Suite(.enabled(if: Tool.builds)) struct SSHTests {
  /// ssh-add with its libraries, in a folder of its own: the base image has none. Answers the words that start it there.
  private static func client(in folder: String) async throws -> String? {
    guard let program = Processes.executablePath("ssh-add"), ["ssh-agent", "ssh-keygen", "ldd"].allSatisfy({ Processes.executablePath($0) != nil }) else { return nil }
    try Files.makeDirectories(folder)
    let listed = try await checked("ldd", [program]).outputText.split(whereSeparator: \.isWhitespace).filter { $0.hasPrefix("/") }.map(String.init)
    for file in listed + [program] { try await checked("cp", ["-L", file, folder]) }
    guard let loader = listed.first(where: { $0.contains("/ld-") }) else { return nil }
    return "/t/\((loader as NSString).lastPathComponent) --library-path /t /t/ssh-add"
  }

  /// An agent of the test's own with one key. Answers its socket and the key's fingerprint.
  private static func withAgent(_ scratch: String, _ body: (_ socket: String, _ fingerprint: String) async throws -> Void) async throws {
    let socket = scratch + "/agent.sock"
    let child = try Child("ssh-agent", ["-D", "-a", socket], environment: ["PATH": "/usr/bin:/bin"], outputPath: scratch + "/agent.log")
    defer {
      child.kill(SIGTERM)
      child.wait()
    }
    for _ in 0..<600 where !Files.exists(socket) { try await Task.sleep(for: .milliseconds(100)) }
    try await checked("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "lent", "-f", scratch + "/key"])
    let added = try await Processes.run("ssh-add", ["-q", scratch + "/key"], environment: ["SSH_AUTH_SOCK": socket, "PATH": "/usr/bin:/bin"])
    try #require(added.succeeded, "\(added.everything)")
    let fingerprint = try await checked("ssh-keygen", ["-l", "-f", scratch + "/key.pub"]).outputText.split(separator: " ")[1]
    try await body(socket, String(fingerprint))
  }

  @Test(.timeLimit(.minutes(5))) func stepsUseTheAgent() async throws {
    try await withEnvironment { environment in
      guard let add = try await Self.client(in: environment.scratch + "/context/t") else { return print("SKIPPED: ssh-add, ssh-agent and ldd are needed (make deps)") }
      try await Self.withAgent(environment.scratch) { socket, fingerprint in
        let base = try await environment.base()
        let context = try environment.context(
          "context",
          [
            "Dockerfile": """
              FROM \(base) AS t
              COPY t /t
              FROM \(base)
              RUN --mount=from=t,source=/t,target=/t --mount=type=ssh,required \(add) -l && echo $SSH_AUTH_SOCK && stat -c '%a %u:%g %F' $SSH_AUTH_SOCK
              RUN --mount=from=t,source=/t,target=/t --mount=type=ssh \(add) -D; echo removing ended with $?
              RUN --mount=from=t,source=/t,target=/t --mount=type=ssh,id=keys,target=/sock,uid=7,gid=8,mode=0666 \(add) -l; stat -c '%a %u:%g' /sock
              RUN --mount=type=ssh,id=absent echo without $(ls /run/buildkit 2>/dev/null)
              """
          ])
        let flags = ["--ssh", "default", "--ssh", "keys=\(environment.scratch)/key"]
        let image = environment.image("ssh:1")
        let built = try await environment.build(context, flags + ["-t", image, "--push"], environment: ["SSH_AUTH_SOCK": socket])
        try #require(built.succeeded, "\(built.everything)")
        #expect(built.steps.log("required").joined(separator: "\n").contains(fingerprint), "\(built.everything)")
        #expect(built.steps.log("required").suffix(2) == ["/run/buildkit/ssh_agent.0", "600 0:0 socket"], "\(built.everything)")
        #expect(built.steps.log("-D").contains { $0.hasPrefix("removing ended with 1") }, "\(built.everything)")
        #expect(built.steps.log("id=keys").joined().contains(fingerprint) && built.steps.log("id=keys").last == "666 7:8", "\(built.everything)")
        #expect(built.steps.log("id=absent") == ["without"])
        // Nothing of it stays, and it is no part of a key.
        let tree = try await environment.unpacked(image, Host.platform)
        #expect(!Files.exists(tree + "/run/buildkit") && !Files.exists(tree + "/sock"))
        let again = try await environment.build(context, ["-t", "again"])
        #expect(again.succeeded && again.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(again.everything)")
        let missing = try await environment.build(context, ["--no-cache"])
        #expect(missing.code == 2 && missing.errorText.contains("the SSH agent \"default\" is needed") && missing.errorText.contains("--ssh default"), "\(missing.everything)")
        // The agent of the keys is gone with the build.
        #expect(try FileManager.default.contentsOfDirectory(atPath: "/tmp").filter { $0.hasPrefix("manifold-ssh-") && Files.exists("/tmp/\($0)/agent") }.isEmpty)
        let noKey = try await environment.build(context, ["--ssh", "default=\(context)/Dockerfile"])
        #expect(noKey.code == 2 && noKey.errorText.contains("is no private key"), "\(noKey.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func withoutRoot() async throws {
    try await withEnvironment { environment in
      guard let add = try await Self.client(in: environment.scratch + "/context/t") else { return print("SKIPPED: ssh-add, ssh-agent and ldd are needed (make deps)") }
      try await OrdinaryUser.with(.many) { user in
        let own = try user.directory("own", in: environment)
        try await checked("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", own + "/key"])
        try Directory.open(own).setOwner("key", uid: user.uid, gid: user.gid)
        let fingerprint = try await checked("ssh-keygen", ["-l", "-f", own + "/key.pub"]).outputText.split(separator: " ")[1]
        let base = try await environment.base()
        let context = try environment.context(
          "context", ["Dockerfile": "FROM \(base)\nRUN --mount=source=t,target=/t --mount=type=ssh,required \(add) -l && stat -c '%a %u' $SSH_AUTH_SOCK\n"])
        try await checked("chmod", ["-R", "a+rX", context])
        let built = try await user.run(environment.tool, root: own + "/root", ["build", "--progress=plain", "--ssh", "default=\(own)/key", context])
        try #require(built.succeeded, "\(built.everything)")
        #expect(built.steps.log("required").joined().contains(fingerprint) && built.steps.log("required").last == "600 0", "\(built.everything)")
      }
    }
  }

  private static let repository = #"""
    export HOME=$PWD GIT_CONFIG_GLOBAL=$PWD/config
    git config --global user.name t; git config --global user.email t@t; git config --global init.defaultBranch main
    git init -q work && cd work && mkdir sub && echo inside > sub/file && git add . && git commit -qm one && git clone -q --bare . ../r.git
    """#

  /// A stand-in for ssh that runs the command on this machine, and writes down how it was called and which keys it could use.
  @Test(.timeLimit(.minutes(5))) func repositoriesOverSSH() async throws {
    guard ["git", "ssh-add", "ssh-agent"].allSatisfy({ Processes.executablePath($0) != nil }) else { return print("SKIPPED: git and openssh-client are needed (make deps)") }
    try await withEnvironment { environment in
      let root = environment.scratch + "/git"
      try Files.makeDirectories(root + "/bin")
      let made = try await Processes.run("sh", ["-ec", Self.repository], workingDirectory: root)
      try #require(made.succeeded, "\(made.everything)")
      let fake = "#!/bin/sh\necho \"$@\" >> \(root)/called\nssh-add -l >> \(root)/keys 2>&1\nfor last; do :; done\nexec sh -c \"$last\"\n"
      try Files.writeAtomically(Array(fake.utf8), to: root + "/bin/ssh", mode: 0o755)
      try await Self.withAgent(environment.scratch) { socket, fingerprint in
        let context = try environment.context("c", ["Dockerfile": "FROM scratch\nADD git@host.invalid:\(root)/r.git#main:sub /a/\nADD ssh://me@host.invalid:2222\(root)/r.git /b/\n"])
        let variables = ["SSH_AUTH_SOCK": socket, "PATH": root + "/bin:/usr/bin:/bin:/usr/sbin:/sbin"]
        let out = environment.scratch + "/out"
        let built = try await environment.build(context, ["--ssh", "default", "-o", out], environment: variables)
        try #require(built.succeeded, "\(built.everything)")
        #expect(Files.text(out + "/a/file") == "inside\n" && Files.text(out + "/b/sub/file") == "inside\n")
        let called = try #require(Files.text(root + "/called"))
        #expect(called.contains("-F /dev/null") && called.contains("git@host.invalid") && called.contains("-p 2222 me@host.invalid"), "\(called)")
        #expect(Files.text(root + "/keys")?.contains(fingerprint) == true)
        let missing = try await environment.build(context, ["--no-cache"], environment: variables)
        #expect(missing.code == 2 && missing.errorText.contains("the SSH agent \"default\" is needed"), "\(missing.everything)")
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func repositoriesOfARealServer() async throws {
    guard HostFacts.isRoot, Files.exists("/usr/sbin/sshd"), ["git", "ssh", "ssh-agent", "ssh-keygen"].allSatisfy({ Processes.executablePath($0) != nil }) else {
      return print("SKIPPED: root, git and an SSH server (openssh-server) are needed")
    }
    try await withEnvironment { environment in
      let root = environment.scratch + "/sshd", home = environment.tool.root + "-home/.ssh"
      try Files.makeDirectories(root)
      try Files.makeDirectories(home)
      try Files.makeDirectories("/run/sshd")
      let made = try await Processes.run("sh", ["-ec", Self.repository], workingDirectory: root)
      try #require(made.succeeded, "\(made.everything)")
      for key in ["host", "mine", "other"] { try await checked("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", "\(root)/\(key)"]) }
      let port = try await freePort()
      let settings = """
        Port \(port)
        ListenAddress 127.0.0.1
        HostKey \(root)/host
        AuthorizedKeysFile \(root)/mine.pub
        PidFile none
        UsePAM no
        StrictModes no
        PermitRootLogin yes
        PasswordAuthentication no
        """
      try Files.writeAtomically(Array(settings.utf8), to: root + "/sshd.conf")
      let server = try Child("/usr/sbin/sshd", ["-D", "-e", "-f", root + "/sshd.conf"], environment: ["PATH": "/usr/bin:/bin"], outputPath: root + "/log")
      defer {
        server.kill(SIGTERM)
        server.wait()
      }
      for _ in 0..<600 where Files.text(root + "/log")?.contains("listening") != true { try await Task.sleep(for: .milliseconds(100)) }
      let context = try environment.context("c", ["Dockerfile": "FROM scratch\nADD ssh://root@127.0.0.1:\(port)\(root)/r.git#main:sub /a/\n"])
      func build(_ key: String) async throws -> ProcessOutput { try await environment.build(context, ["--no-cache", "--ssh", "default=\(root)/\(key)", "-o", environment.scratch + "/out"]) }
      let built = try await build("mine")
      try #require(built.succeeded, "\(built.everything)\n\(Files.text(root + "/log") ?? "")")
      #expect(Files.text(environment.scratch + "/out/a/file") == "inside\n")
      let refused = try await build("other")
      #expect(refused.code == 1 && refused.errorText.contains("Permission denied") && refused.errorText.contains("ssh-add -l"), "\(refused.everything)")
      // A server whose key is another than the user knows is not believed.
      func knows(_ key: String) throws {
        let line = try #require(Files.text("\(root)/\(key).pub")).split(separator: " ").prefix(2).joined(separator: " ")
        try Files.writeAtomically(Array("[127.0.0.1]:\(port) \(line)\n".utf8), to: home + "/known_hosts")
      }
      try knows("host")
      #expect(try await build("mine").succeeded)
      try knows("other")
      let foreign = try await build("mine")
      #expect(foreign.code == 1 && foreign.errorText.contains("known_hosts"), "\(foreign.everything)")
    }
  }

  /// A port that nobody has, for a moment.
  private func freePort() async throws -> Int {
    let output = try await checked("python3", ["-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"])
    return try #require(Int(output.outputText.trimmingCharacters(in: .whitespacesAndNewlines)))
  }
}
