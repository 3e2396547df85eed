internal import Binaries
internal import LayerArchive
internal import OCIModel

/// Whether what the image starts with (ENTRYPOINT and CMD) is there and can be started.
struct StartCheck {
  let table: FileTable
  let config: ImageConfig
  let platform: Platform
  let report: (Finding.Severity, Finding.Code, ByteString?, Int, String) -> Void

  /// runc's and Docker's where the image sets none.
  static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  private static let deepest = 4

  func run() {
    let entrypoint = config.config.entrypoint ?? [], command = config.config.cmd ?? []
    let words = entrypoint + command
    guard let first = words.first else { return }
    let what = entrypoint.isEmpty ? "CMD" : "ENTRYPOINT"
    if platform.os == "windows" { return windows(first, what) }
    guard !first.isEmpty else { return report(.error, .missingCommand, nil, -1, "\(what) is an empty name") }
    check(first, what, depth: 0)
    // `tini -- program`: the program is named by CMD, or behind it.
    if let dashes = words.firstIndex(of: "--"), dashes > 0, dashes + 1 < words.count, dashes < entrypoint.count || entrypoint.isEmpty {
      let isOwn = dashes + 1 < entrypoint.count || entrypoint.isEmpty
      if !words[dashes + 1].hasPrefix("-") { check(words[dashes + 1], isOwn ? what : "CMD", depth: 0) }
    }
    shell(words, what)
  }

  private var workingDirectory: ByteString { ByteString(text: config.config.workingDir) }

  private enum Place { case found(FileTable.Found), missing, unusable(FileTable.Found, String) }

  /// As a runtime looks a program up: by its path from the working directory, or in PATH.
  private func find(_ name: String) -> Place {
    if name.contains("/") { return judged(table.lookup(ByteString(text: name), in: workingDirectory)) }
    let path = config.config.env.last { $0.hasPrefix("PATH=") }.map { String($0.dropFirst(5)) } ?? Self.defaultPath
    var unusable: Place?
    for folder in path.split(separator: ":", omittingEmptySubsequences: true).prefix(256) {
      switch judged(table.lookup(ByteString(text: folder + "/" + name), in: workingDirectory)) {
      case .found(let found): return .found(found)
      case .unusable(let found, let why): unusable = unusable ?? .unusable(found, why)
      case .missing: continue
      }
    }
    return unusable ?? .missing
  }

  private func judged(_ lookup: FileTable.Lookup) -> Place {
    guard case .found(let found) = lookup else { return .missing }
    guard found.node.facts.kind == .file else { return .unusable(found, "is a \(found.node.facts.kind.rawValue)") }
    return found.node.facts.isExecutable ? .found(found) : .unusable(found, "is not executable (mode \(String(found.node.facts.mode, radix: 8)))")
  }

  private func isInVolume(_ name: String) -> Bool {
    let path = (name.hasPrefix("/") ? ByteString(text: name) : workingDirectory.appending(ByteString(text: name))).components
    return config.config.volumes.contains { volume in path.starts(with: ByteString(text: volume).components) }
  }

  /// `name` as a runtime takes it; `what` says who names it.
  private func check(_ name: String, _ what: String, depth: Int) {
    switch find(name) {
    case .missing:
      if name.contains("/"), isInVolume(name) { return report(.warning, .missingCommand, nil, -1, "\(what) names \(name), which is not in the image: it must come with the volume") }
      let place = name.contains("/") ? "is not in the image" : "is in none of PATH's folders"
      report(.error, .missingCommand, name.hasPrefix("/") ? ByteString(text: name) : nil, -1, "\(what) names \(name), which \(place)")
    case .unusable(let found, let why): report(.error, .commandNotExecutable, found.path, found.node.layer, "\(what) names \(name), which \(why)")
    case .found(let found): checkForm(found, name, what, depth)
    }
  }

  private func checkForm(_ found: FileTable.Found, _ name: String, _ what: String, _ depth: Int) {
    let layer = found.node.layer
    let shown = "\(what) names \(name), which"
    switch found.node.facts.program?.form {
    case nil, .other?:
      let why = found.node.facts.size == 0 ? "is empty" : "is neither a program nor a script with #!"
      report(.error, .commandNotExecutable, found.path, layer, "\(shown) \(why)")
    case .damaged(let why)?: report(.error, .commandNotExecutable, found.path, layer, "\(shown) is damaged: \(why)")
    case .binary(.script(let interpreter, let argument))?: checkScript(found, shown, interpreter, argument, depth)
    case .binary(let file)?:
      guard let misfit = file.misfit(on: platform, arm: found.node.facts.program?.arm) else { return }
      // What the look at all programs tells of already is not told twice.
      let told = file.isAtHome(in: found.path.parent.components.map(\.description)) ? nil : ProgramCheck.weight(misfit, file, platform, starts: false)
      if told == nil, let (severity, code) = ProgramCheck.weight(misfit, file, platform, starts: true) { report(severity, code, found.path, layer, "\(shown) \(misfit.message)") }
    }
  }

  private func checkScript(_ found: FileTable.Found, _ shown: String, _ interpreter: String, _ argument: String?, _ depth: Int) {
    guard depth < Self.deepest else { return }
    let layer = found.node.layer
    let note = interpreter.hasSuffix("\r") ? " (the file has Windows line ends)" : ""
    let name = interpreter.hasSuffix("\r") ? String(interpreter.dropLast()) + "\\r" : interpreter
    switch judged(table.lookup(ByteString(text: interpreter), in: workingDirectory)) {
    case .missing: report(.error, .missingInterpreter, found.path, layer, "\(shown) is a script for \(name), which is not in the image\(note)")
    case .unusable(let other, let why): report(.error, .missingInterpreter, found.path, layer, "\(shown) is a script for \(name), and /\(other.path) \(why)")
    case .found(let program):
      if program.path != found.path { checkForm(program, name, "the script /\(found.path)", depth + 1) }
      guard interpreter.hasSuffix("/env"), var words = argument?.split(whereSeparator: { $0 == " " || $0 == "\t" }) else { return }
      if words.first == "-S" { words.removeFirst() }
      // env's options and settings are beyond us.
      guard let inner = words.first, !inner.hasPrefix("-"), !inner.contains("=") else { return }
      if case .missing = find(String(inner)) {
        let carriage = inner.hasSuffix("\r") ? " (the file has Windows line ends)" : ""
        report(.error, .missingInterpreter, found.path, layer, "\(shown) is a script for \(inner.filter { $0 != "\r" }), which is in none of PATH's folders\(carriage)")
      }
    }
  }

  // MARK: shell form

  private static let shells: Set<String> = ["/bin/sh", "sh", "/bin/bash", "bash", "/bin/ash", "ash", "/usr/bin/sh", "/usr/bin/bash", "/bin/dash", "dash"]
  /// POSIX's reserved words and built-in commands, and bash's.
  private static let builtins: Set<String> = [
    ".", ":", "[", "[[", "!", "{", "}", "(", "alias", "bg", "bind", "break", "builtin", "caller", "case", "cd", "command", "compgen", "complete", "continue", "declare", "dirs", "disown", "do",
    "done", "echo", "elif", "else", "enable", "esac", "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "function", "getopts", "hash", "help", "history", "if", "in", "jobs",
    "kill", "let", "local", "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read", "readonly", "return", "select", "set", "shift", "shopt", "source", "suspend", "test", "then", "time",
    "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
  ]

  /// `/bin/sh -c "exec program …"`: the program too, where it stands there plainly.
  private func shell(_ words: [String], _ what: String) {
    guard words.count >= 3, Self.shells.contains(words[0]), words[1] == "-c", let program = Self.plainCommand(words[2]) else { return }
    guard case .missing = find(program) else { return }
    if program.contains("/"), isInVolume(program) { return }
    // A shell that has programs in itself needs no files for them.
    var severity = Finding.Severity.error
    if case .found(let shell) = find(words[0]), shell.path.lastComponent.description.contains("busybox") { severity = program.contains("/") ? .error : .warning }
    let place = program.contains("/") ? "is not in the image" : "is in none of PATH's folders"
    report(severity, .missingCommand, program.hasPrefix("/") ? ByteString(text: program) : nil, -1, "\(what) has the shell run \(program), which \(place)")
  }

  /// The first command of a shell's text when it is a plain word that is not the shell's own; nil where it takes a shell to tell.
  static func plainCommand(_ text: String) -> String? {
    for word in text.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\n" }) {
      if word == "exec" { continue }
      let plain = word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._+-".contains($0)) }
      if plain { return builtins.contains(String(word)) || word.hasPrefix("-") ? nil : String(word) }
      // `program;` and `program|more` end the word.
      let head = word.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || "/._+-".contains($0)) }
      if let end = word.dropFirst(head.count).first, !head.isEmpty, ";|&<>".contains(end), !(end == "<" || end == ">") || !head.allSatisfy(\.isNumber) {
        return builtins.contains(String(head)) ? nil : String(head)
      }
      return nil
    }
    return nil
  }

  // MARK: Windows

  /// Leniently: names have no case, and much of what an image starts is in base layers of others.
  private func windows(_ name: String, _ what: String) {
    guard name.utf8.count > 3, name.dropFirst().hasPrefix(":\\") || name.dropFirst().hasPrefix(":/") else { return }
    let parts = name.dropFirst(3).split(whereSeparator: { $0 == "\\" || $0 == "/" }).map { $0.lowercased() }
    guard let files = table.root.children["Files"]?.node, !parts.isEmpty else { return }
    var node = files
    for part in parts {
      let next = node.children.first { $0.key.description.lowercased() == part }?.value.node
      guard let next else { return report(.warning, .missingCommand, nil, -1, "\(what) names \(name), which is in none of the layers that were read") }
      // Links and junctions are beyond us.
      if next.facts.kind == .symbolicLink { return }
      node = next
    }
    if node.facts.kind == .directory { report(.error, .commandNotExecutable, nil, -1, "\(what) names \(name), which is a folder") }
  }
}
