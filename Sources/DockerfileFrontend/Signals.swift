internal import DockerfileSyntax

/// The signals that STOPSIGNAL takes: Linux's, by number or by name with or without `SIG`.
enum Signals {
  static let names: Set<String> = {
    var names: Set<String> = [
      "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV",
      "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
    ]
    for i in 1...15 { names.insert("RTMIN+\(i)") }
    for i in 1...14 { names.insert("RTMAX-\(i)") }
    return names
  }()

  static func isSignal(_ text: String) -> Bool {
    if let number = Int(text) { return number != 0 }
    let upper = text.uppercased()
    return names.contains(upper.hasPrefix("SIG") ? String(upper.dropFirst(3)) : upper)
  }

  /// The signal that was meant, with `SIG`.
  static func nearest(to text: String) -> String? {
    let upper = text.uppercased()
    return Suggestion.nearest(to: upper.hasPrefix("SIG") ? upper : "SIG" + upper, among: names.map { "SIG" + $0 }.sorted())
  }
}
