internal import BuildInterface

/// Values of options about steps, in the form the frontend takes.
enum StepSettings {
  /// Bytes as people write them: `64m`, `1.5GiB`, `1024`; units of 1024, as Docker has them.
  static func bytes(_ text: String, option: String) throws -> Int64 {
    let wrong = BuildError.usage("\(option) \(text): expected a size, such as 128m or 1g")
    var digits = text[...]
    var suffix = ""
    while let last = digits.last, last.isLetter || last == " " {
      suffix = String(last).lowercased() + suffix
      digits.removeLast()
    }
    if suffix.hasPrefix(" ") { suffix.removeFirst() }
    let units: [String: Int] = ["": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5]
    var unit = suffix
    if unit.hasSuffix("b") { unit.removeLast() }
    if unit.hasSuffix("i"), unit.count > 1 { unit.removeLast() }
    guard let power = units[unit], let number = Double(digits), number >= 0, digits.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }) else {
      throw wrong
    }
    var value = number
    for _ in 0..<power { value *= 1024 }
    guard value < 9.2e18 else { throw wrong }
    return Int64(value)
  }

  static let limitNames = [
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
  ]

  /// `--ulimit name=soft[:hard]`, each name once, in the order of names.
  static func ulimits(_ texts: [String]) throws -> String {
    var byName: [String: String] = [:]
    for text in texts {
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2 else { throw BuildError.usage("--ulimit \(text): expected name=soft[:hard], such as nofile=1024:2048") }
      guard limitNames.contains(parts[0]) else {
        throw BuildError.usage("--ulimit \(text): there is no limit \"\(parts[0])\"", suggestion: "Limits are \(limitNames.joined(separator: ", ")).")
      }
      let numbers = parts[1].split(separator: ":", omittingEmptySubsequences: false).map { Int64($0) }
      guard (1...2).contains(numbers.count), let soft = numbers[0], let hard = numbers[numbers.count - 1] else {
        throw BuildError.usage("--ulimit \(text): expected one or two numbers, soft[:hard]")
      }
      guard hard == -1 || (soft != -1 && soft <= hard) else { throw BuildError.usage("--ulimit \(text): the soft limit is above the hard limit") }
      byName[parts[0]] = "\(parts[0])=\(soft):\(hard)"
    }
    return byName.sorted { $0.key < $1.key }.map(\.value).joined(separator: ",")
  }

  /// Where `host-gateway` leads: steps have the host's network, so the host is where they are.
  static let hostGateway = "127.0.0.1"

  /// `--add-host name:address` or `name=address`; several may stand in one, with commas.
  static func hosts(_ texts: [String]) throws -> String {
    var out: [String] = []
    for text in texts {
      for field in try CommaFields.parse(text, option: "--add-host") {
        guard let separator = field.firstIndex(of: "=") ?? field.firstIndex(of: ":") else {
          throw BuildError.usage("--add-host \(field): expected name:address")
        }
        let name = String(field[..<separator])
        let addresses = String(field[field.index(after: separator)...])
        guard !name.isEmpty, !addresses.isEmpty else { throw BuildError.usage("--add-host \(field): expected name:address") }
        for var address in addresses.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
          if address == "host-gateway" { address = hostGateway }
          if address.count > 2, address.hasPrefix("["), address.hasSuffix("]") { address = String(address.dropFirst().dropLast()) }
          guard InternetAddress.isValid(address) else { throw BuildError.usage("--add-host \(field): \"\(address)\" is not an IP address") }
          out.append("\(name)=\(address)")
        }
      }
    }
    return out.joined(separator: ",")
  }

  /// `KEY=value`, or with `environment` given `KEY` alone, which takes the variable if it is set.
  static func pairs(_ texts: [String], option: String, environment: [String: String]? = nil) throws -> [String: String] {
    var out: [String: String] = [:]
    for text in texts {
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard !parts[0].isEmpty else { throw BuildError.usage("\(option) \(text): the key is missing") }
      if parts.count == 2 {
        out[parts[0]] = parts[1]
      } else if let environment {
        if let value = environment[text] { out[text] = value }
      } else {
        out[text] = ""
      }
    }
    return out
  }
}
