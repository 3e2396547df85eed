extension RunMountOption {
  static let keys = [
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src", "dst", "destination",
    "ro", "rw", "readwrite", "env",
  ]

  /// Reads what must be known before expansion: `from`.
  init(_ text: String) throws(DockerfileError) {
    self.text = text
    from = nil
    for field in try RunMountOption.fields(text) {
      guard let (key, value) = field.cut(at: "="), key.asciiLowercased == "from" else { continue }
      let scalars = Array(value.unicodeScalars)
      if let dollar = scalars.firstIndex(of: "$"), dollar != scalars.count - 1 {
        throw DockerfileError(.badMount, "from=\(value) holds a variable, which a mount's from cannot: name a stage after it with FROM \(value) AS …, and mount from that", fault: [text, field, value])
      }
      from = value.isEmpty ? nil : value
    }
  }

  static func fields(_ text: String) throws(DockerfileError) -> [String] {
    guard let fields = GoValues.csvFields(text) else {
      throw DockerfileError(.badMount, text.isEmpty ? "--mount has no options" : "--mount=\(text) is no comma-separated list: a quote is out of place", fault: [text])
    }
    return fields
  }

  /// The mount with variables expanded and all options checked.
  ///
  /// - Throws: ``DockerfileError`` without a place, or what `expand` throws.
  public func resolved(expanding expand: WordExpander) throws -> RunMount {
    var mount = RunMount()
    var isAccessGiven = false
    for field in try RunMountOption.fields(text) {
      try placed(field) {
        guard let (name, raw) = field.cut(at: "=") else { return try mount.setBare(field, isAccessGiven: &isAccessGiven) }
        try mount.set(name.asciiLowercased, to: try expand(raw), field: field, isAccessGiven: &isAccessGiven)
      }
    }
    if !isAccessGiven { mount.readOnly = mount.kind != .cache && mount.kind != .tmpfs }
    try placed { try mount.check() }
    return mount
  }

  /// Errors of `body` are at this mount, and there at `field`, and there at what they say themselves.
  private func placed(_ field: String? = nil, _ body: () throws -> Void) throws {
    do { try body() } catch var error as DockerfileError {
      let inner = error.fault?.needles ?? field?.cut(at: "=").map { [$0.1] } ?? []
      error.fault = WordFault([text] + (field.map { [$0] } ?? []) + inner)
      throw error
    }
  }
}

extension RunMount {
  private func invalid(_ key: String, _ value: String, _ wanted: String) -> DockerfileError {
    DockerfileError(.badMount, "\(key)=\(value) of --mount is not valid: \(wanted)", fault: [value])
  }

  private func misplaced(_ key: String, _ kinds: String) -> DockerfileError {
    DockerfileError(.badMount, "\(key) means nothing for a mount of type \(kind.rawValue); it goes with \(kinds)", fault: [key])
  }

  /// An option without a value.
  fileprivate mutating func setBare(_ field: String, isAccessGiven: inout Bool) throws(DockerfileError) {
    switch field.asciiLowercased {
    case "readonly", "ro": (readOnly, isAccessGiven) = (true, true)
    case "readwrite", "rw": (readOnly, isAccessGiven) = (false, true)
    case "required":
      guard kind == .secret || kind == .ssh else { throw misplaced("required", "secret and ssh") }
      required = true
    default:
      let near = Suggestion.nearest(to: field.asciiLowercased, among: RunMountOption.keys)
      throw DockerfileError(.badMount, "\(field.quoted) in --mount needs a value: \(field)=…", suggestion: near)
    }
  }

  fileprivate mutating func set(_ key: String, to value: String, field: String, isAccessGiven: inout Bool) throws(DockerfileError) {
    func bool() throws(DockerfileError) -> Bool {
      guard let bool = GoValues.bool(value) else { throw invalid(key, value, "it takes true or false") }
      return bool
    }
    func number(radix: Int = 10) throws(DockerfileError) -> UInt32 {
      guard let number = GoValues.uint32(value, radix: radix) else {
        throw invalid(key, value, radix == 8 ? "it takes permission bits in octal, such as 0755" : "it takes a number")
      }
      return number
    }
    switch key {
    case "type": kind = try choice(value, key)
    case "from": from = value
    case "source", "src": source = value
    case "target", "dst", "destination": target = value
    case "readonly", "ro": (readOnly, isAccessGiven) = (try bool(), true)
    case "readwrite", "rw": (readOnly, isAccessGiven) = (try !bool(), true)
    case "required":
      guard kind == .secret || kind == .ssh else { throw misplaced(key, "secret and ssh") }
      required = try bool()
    case "size":
      guard kind == .tmpfs else { throw misplaced(key, "tmpfs") }
      guard let size = GoValues.bytes(value) else { throw invalid(key, value, "it takes a size such as 64m or 1g") }
      sizeLimit = size
    case "id": id = value
    case "sharing": sharing = try choice(value, key)
    case "mode": mode = try number(radix: 8)
    case "uid": uid = try number()
    case "gid": gid = try number()
    case "env": environmentVariable = value
    default:
      let near = Suggestion.nearest(to: key, among: RunMountOption.keys)
      throw DockerfileError(.badMount, "--mount has no option \(key) (in \(field.quoted))", suggestion: near, fault: [key])
    }
  }

  private func choice<T: RawRepresentable & CaseIterable>(_ value: String, _ key: String) throws(DockerfileError) -> T where T.RawValue == String {
    if let choice = T(rawValue: value.asciiLowercased) { return choice }
    let known = T.allCases.map(\.rawValue)
    let message = "\(key)=\(value) of --mount is not known; known are \(known.joined(separator: ", "))"
    throw DockerfileError(.badMount, message, suggestion: Suggestion.nearest(to: value, among: known))
  }

  /// The rules between options.
  fileprivate func check() throws(DockerfileError) {
    if kind == .bind || kind == .tmpfs {
      for (key, isGiven) in [("mode", mode != nil), ("uid", uid != nil), ("gid", gid != nil)] where isGiven {
        throw misplaced(key, "cache, secret and ssh")
      }
    }
    if kind == .secret {
      if !from.isEmpty { throw DockerfileError(.badMount, "a secret mount takes no from: secrets come from the client", fault: ["from"]) }
      if source.isEmpty, target.isEmpty, id.isEmpty {
        throw DockerfileError(.badMount, "a secret mount needs an id, or a target to take it from")
      }
      if !source.isEmpty, !id.isEmpty { throw DockerfileError(.badMount, "a secret mount takes id or source, not both: they mean the same", fault: ["source"]) }
    }
    if sharing != nil, kind != .cache { throw misplaced("sharing", "cache") }
  }
}

extension RunDevice {
  /// Reads the value of `--device`.
  init(_ text: String) throws(DockerfileError) {
    guard let fields = GoValues.csvFields(text) else {
      throw DockerfileError(.badMount, text.isEmpty ? "--device has no value" : "--device=\(text) is no comma-separated list: a quote is out of place")
    }
    for field in fields {
      let (name, value) = field.cut(at: "=").map { ($0.0.asciiLowercased, Optional($0.1)) } ?? (field.asciiLowercased, nil)
      switch (name, value) {
      case ("required", nil): required = true
      case ("required", let value?):
        guard let bool = GoValues.bool(value) else { throw DockerfileError(.badMount, "required=\(value) of --device must be true or false") }
        required = bool
      case ("name", let value?):
        guard self.name.isEmpty else { throw DockerfileError(.badMount, "--device names two devices, \(self.name) and \(value)") }
        self.name = value
      case _ where self.name.isEmpty: self.name = field
      case (_, nil): throw DockerfileError(.badMount, "\(field.quoted) in --device needs a value: \(field)=…")
      default:
        let near = Suggestion.nearest(to: name, among: ["name", "required"])
        throw DockerfileError(.badMount, "--device has no option \(name) (in \(field.quoted))", suggestion: near)
      }
    }
  }
}
