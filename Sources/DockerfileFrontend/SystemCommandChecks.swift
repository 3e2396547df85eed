internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

/// The rule PlatformCommandForeign: one operating system's command in a stage that is built for another one too.
extension Converter {
  /// The operating systems that each stage is built for, by its place in the file. Which stages a platform needs is decided by text alone (FROM base-${TARGETOS}), so nothing
  /// is looked up. Empty unless Windows is among the platforms asked for.
  func systemsOfStages() -> [Int: Set<String>] {
    guard request.platforms.contains(where: { $0.os == "windows" }) else { return [:] }
    var systems: [Int: Set<String>] = [:], looked: Set<String> = []
    for platform in request.platforms where looked.insert(platform.os).inserted {
      var request = request
      (request.target, request.checks) = (platform, .silent)
      var other = Converter(request)
      guard let target = try? other.stagesByText() else { continue }
      let reachable = Set(target.reachable.map(ObjectIdentifier.init))
      for (i, stage) in other.table.stages.prefix(request.dockerfile.stages.count).enumerated() where reachable.contains(ObjectIdentifier(stage)) {
        systems[i, default: []].insert(other.platform(of: stage).os)
      }
    }
    return systems
  }

  private mutating func stagesByText() throws -> StageState {
    (globals, declared) = try globalArguments(stageName: options.target.isEmpty ? request.dockerfile.stages.last?.name ?? "" : options.target, given: buildArguments)
    try addStages()
    let target = try targetStage()
    try findDependencies()
    return target
  }

  private func platform(of stage: StageState) -> Platform {
    var stage = stage
    // A stage is added after the one it continues, so this ends.
    while let base = stage.base { stage = base }
    return stage.platform ?? targetPlatform
  }

  func checkSystemCommands() {
    let systems = systemsOfStages()
    // A shell that was chosen is meant for all systems; stages inherit it.
    var hasShell: Set<ObjectIdentifier> = []
    for (i, stage) in table.stages.prefix(request.dockerfile.stages.count).enumerated() {
      if let base = stage.base, hasShell.contains(ObjectIdentifier(base)) { hasShell.insert(ObjectIdentifier(stage)) }
      let written = request.dockerfile.stages[i]
      for instruction in written.instructions {
        if case .shell = instruction { hasShell.insert(ObjectIdentifier(stage)) }
        guard let systems = systems[i], systems.contains("windows"), case .run(let run) = instruction else { continue }
        check(run, of: stage, systems, hasShell: hasShell.contains(ObjectIdentifier(stage)))
      }
    }
  }

  private func check(_ run: RunInstruction, of stage: StageState, _ systems: Set<String>, hasShell: Bool) {
    let scope = checks.merging(comments: run.origin.comments)
    let name = stage.name.map { "the stage \($0)" } ?? "this stage"
    let others = systems.subtracting(["windows"]).sorted().joined(separator: " and ")
    if let command = SystemCommand.first(in: run, .unix) {
      scope.report(
        .platformCommandForeign, others.isEmpty ? "\(command) is no command of Windows, which \(name) is built for" : "\(command) is a command of \(others), and \(name) is built for windows too",
        at: run.origin.range)
    } else if !others.isEmpty, let command = SystemCommand.first(in: run, .windows) {
      scope.report(.platformCommandForeign, "\(command) is a command of Windows, and \(name) is built for \(others) too", at: run.origin.range)
    } else if !others.isEmpty, !hasShell, run.command.prependsShell {
      scope.report(
        .platformCommandForeign, "Without a SHELL this line is for /bin/sh on \(others) and for cmd on windows, and \(name) is built for both", at: run.origin.range)
    }
  }
}

/// Commands that one kind of system has and the other has not.
enum SystemCommand {
  enum Kind { case unix, windows }

  private static let unix: Set<String> = [
    "apk", "apt", "apt-get", "aptitude", "dpkg", "yum", "dnf", "microdnf", "tdnf", "zypper", "rpm", "pacman", "xbps-install", "emerge", "opkg", "useradd", "adduser", "usermod", "groupadd",
    "addgroup", "chmod", "chown", "chgrp", "ldconfig", "update-ca-certificates", "update-alternatives", "locale-gen", "ln", "touch", "sed", "grep", "awk", "uname", "export",
    "sh", "bash", "ash", "dash", "su", "sudo",
  ]
  private static let windows: Set<String> = [
    "powershell", "choco", "msiexec", "reg", "setx", "icacls", "takeown", "dism", "xcopy", "robocopy", "certutil", "netsh", "regsvr32", "wusa", "vs_buildtools",
    "add-windowsfeature", "install-windowsfeature", "enable-windowsoptionalfeature", "invoke-webrequest", "expand-archive", "remove-item", "new-item", "set-itemproperty", "start-process",
  ]

  /// The first word of `run` that is such a command, as written.
  static func first(in run: RunInstruction, _ kind: Kind) -> String? {
    for word in words(of: run) {
      let name = SlashPath.base(word.replacing("\\", with: "/")).lowercased()
      switch kind {
      case .unix: if unix.contains(name) || ["/bin/", "/usr/", "/sbin/", "/opt/"].contains(where: word.hasPrefix) { return word }
      case .windows:
        let stem = ["exe", "cmd", "bat", "msi"].reduce(name) { $0.hasSuffix("." + $1) ? String($0.dropLast($1.count + 1)) : $0 }
        if windows.contains(stem) || stem != name || hasDrive(word) { return word }
      }
    }
    return nil
  }

  private static func hasDrive(_ word: String) -> Bool {
    let bytes = Array(word.utf8.prefix(3))
    return bytes.count == 3 && bytes[1] == UInt8(ascii: ":") && (bytes[2] == UInt8(ascii: "\\") || bytes[2] == UInt8(ascii: "/")) && (bytes[0] | 0x20 >= 0x61 && bytes[0] | 0x20 <= 0x7a)
  }

  /// What stands where a command is: the first words of a list or a pipe, variables set before them left out.
  private static func words(of run: RunInstruction) -> [String] {
    guard run.command.prependsShell else { return run.command.arguments.first.map { [$0] } ?? [] }
    let text = ([run.command.arguments.joined(separator: " ")] + run.command.heredocs.map(\.content)).joined(separator: "\n")
    return text.split(whereSeparator: { "&|;\n({".contains($0) }).compactMap { part in
      part.split(whereSeparator: { $0 == " " || $0 == "\t" }).first { !$0.contains("=") && $0 != "!" && $0 != "\\" && !$0.hasPrefix("<<") }.map(String.init)
    }
  }
}
