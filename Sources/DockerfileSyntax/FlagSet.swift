/// The `--flags` that an instruction knows, and their values.
struct FlagSet {
  enum Kind { case bool, string, strings }

  /// The instructions that know a flag, for those that do not.
  private static let owners: [String: [String]] = [
    "from": ["COPY"], "chown": ["COPY", "ADD"], "chmod": ["COPY", "ADD"], "link": ["COPY", "ADD"], "parents": ["COPY"], "exclude": ["COPY", "ADD"], "checksum": ["ADD"],
    "keep-git-dir": ["ADD"], "unpack": ["ADD"], "mount": ["RUN"], "network": ["RUN"], "security": ["RUN"], "device": ["RUN"], "platform": ["FROM"], "interval": ["HEALTHCHECK"],
    "timeout": ["HEALTHCHECK"], "retries": ["HEALTHCHECK"], "start-period": ["HEALTHCHECK"], "start-interval": ["HEALTHCHECK"],
  ]

  private let kinds: [(name: String, kind: Kind)]
  private(set) var used: Set<String> = []
  private var values: [String: [String]] = [:]

  init(_ kinds: [(name: String, kind: Kind)] = []) { self.kinds = kinds }

  /// Reads the flags of an instruction.
  mutating func parse(_ node: InstructionNode) throws(DockerfileError) {
    let instruction = node.keyword.asciiUppercased
    for (index, flag) in node.flags.enumerated() {
      let focus = node.range(ofFlag: index)
      let (written, value) = flag.cut(at: "=").map { ($0.0, Optional($0.1)) } ?? (flag, nil)
      let name = String(written.unicodeScalars.dropFirst(2))
      guard let kind = kinds.first(where: { $0.name == name })?.kind else {
        let known = kinds.map(\.name)
        let list = known.isEmpty ? "it takes none" : "known are " + known.map { "--" + $0 }.joined(separator: ", ")
        let near = Suggestion.nearest(to: name, among: known).map { "--" + $0 }
        throw DockerfileError(.unknownFlag, "\(instruction) has no flag \(written) (\(list))", focus: node.range(ofFlag: index, part: .name), suggestion: near)
          .advising(FlagSet.owners[name].map { "--\(name) is a flag of \($0.joined(separator: " and "))" })
      }
      if kind != .strings, used.contains(name) {
        throw DockerfileError(.badFlag, "\(instruction) has \(written) twice", focus: focus)
      }
      used.insert(name)
      switch kind {
      case .bool:
        switch value?.asciiLowercased {
        case nil, "true": values[name] = ["true"]
        case "false": values[name] = ["false"]
        case "": throw DockerfileError(.badFlag, "\(written)= of \(instruction) has no value; write \(written), \(written)=true or \(written)=false", focus: focus)
        default: throw DockerfileError(.badFlag, "\(written) of \(instruction) is true or false, not \((value ?? "").quoted)", focus: node.range(ofFlag: index, part: .value))
        }
      case .string, .strings:
        guard let value else { throw DockerfileError(.badFlag, "\(written) of \(instruction) needs a value: \(written)=…", focus: focus) }
        values[name, default: []].append(value)
      }
    }
  }

  /// The value of a flag, or nil when it is not given or empty.
  func string(_ name: String) -> String? {
    guard let value = values[name]?.first, !value.isEmpty else { return nil }
    return value
  }

  /// All values of a flag, in order.
  func strings(_ name: String) -> [String] { values[name] ?? [] }

  /// A flag that is true or false, or nil when it is not given.
  func bool(_ name: String) -> Bool? { values[name].map { $0 == ["true"] } }
}
