internal import ArgumentParser
internal import BuildProgress
internal import ImageChecks
internal import ImageStores
internal import OCIModel

/// `manifold diff`: what differs between two images, or two platforms of one.
struct DiffCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff", abstract: "Show what differs between two images, or two platforms of one.", usage: "manifold diff [options] <image> [<image>]",
    discussion: """
      Examples:
        manifold diff reg/me/app:1 reg/me/app:2
        manifold diff --files --platform linux/arm64 reg/me/app:1 local:app
        manifold diff --files --platform linux/amd64,linux/arm64 reg/me/app:1
        manifold diff --json reg/me/app:1 oci-layout://build/app | jq .images[].config

      An image is REF (in a registry), oci-layout://PATH[:TAG][@DIGEST], or local:NAME (in the store of this machine).

      Compared are the platforms that there are, and for each that both have the config, field by field (variables and labels by name), and the layers, by what they unpack \
      to. --files reads the layers and compares the files that they make: type, mode, owner, size, content, link, device, attributes; times are not compared. \
      With one --platform that platform of both is compared; with two the first image's first with the second image's second. Attestations are not compared, but for whether \
      an image has any.

      - is what the first has, + what the second has, ~ what both have and differs. --json prints one object: equal, a, b, index, platforms (onlyA, onlyB), and images with \
      config, layers and, with --files, files.

      Exit status, as diff's: 0 the images are equal; 1 they differ; 2 the command line is wrong or an image cannot be read; 3 a registry cannot be reached or refuses; \
      130 interrupted.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("One image, or two.", valueName: "image")) var images: [String] = []
  @Option(name: .long, parsing: .unconditionalSingleValue, help: ArgumentHelp("The platform to compare, or two: comma separated, or the option twice.", valueName: "platform"))
  var platform: [String] = []
  @Flag(name: .long, help: "Compare files too: reads the layers of both.") var files = false
  @Flag(name: .long, help: "Print one JSON object.") var json = false

  func validate() throws {
    guard (1...2).contains(images.count) else { throw ValidationError("diff needs two images, or one and two platforms") }
    let platforms = try CheckOptions.platforms(platform)
    if platforms.count > 2 { throw ValidationError("diff compares two platforms at most: --platform names \(platforms.count)") }
    if images.count == 1, platforms.count != 2 { throw ValidationError("one image is compared with itself on two platforms: give a second image, or --platform with two platforms") }
    for image in images { _ = try ImageLocation(parsing: image) }
  }

  mutating func run() async throws {
    let locations = try images.map { try ImageLocation(parsing: $0) }
    guard let first = locations.first, let second = locations.last else { return }
    let options = ImageComparison.Options(platforms: try CheckOptions.platforms(platform), files: files)
    let difference = try await CheckOptions.reporting {
      try await ImageCommands.withAccess(global, locations) { access in
        try await ImageComparison(access.source(first), access.source(second), options).run()
      }
    }
    if json {
      Terminal.output(difference.json(nameA: "\(first)", nameB: "\(second)").encoded(.indented("  ")) + [0x0a])
    } else {
      Terminal.output(DifferenceText(nameA: "\(first)", nameB: "\(second)", difference: difference).text)
    }
    if !difference.isEmpty { throw ExitCode(1) }
  }
}

/// A difference for people.
struct DifferenceText {
  let nameA: String
  let nameB: String
  let difference: ImageDifference

  var text: String {
    if difference.isEmpty { return "" }
    var out = line("--- \(nameA)@\(difference.a.digest)") + line("+++ \(nameB)@\(difference.b.digest)")
    if !difference.onlyA.isEmpty || !difference.onlyB.isEmpty {
      out += "platforms:\n"
      for platform in difference.onlyA { out += line("  - \(platform.fullDescription)") }
      for platform in difference.onlyB { out += line("  + \(platform.fullDescription)") }
    }
    if !difference.fields.isEmpty { out += "index:\n" + difference.fields.map { field($0, "  ") }.joined() }
    for pair in difference.images { out += text(pair) }
    return out
  }

  private func line(_ text: String) -> String { TerminalText.singleLine(text) + "\n" }

  private func field(_ field: FieldChange, _ indent: String) -> String {
    (field.a.map { line("\(indent)- \(field.name)=\($0)") } ?? "") + (field.b.map { line("\(indent)+ \(field.name)=\($0)") } ?? "")
  }

  private func text(_ pair: ImagePair) -> String {
    let names = (pair.a.platform.fullDescription, pair.b.platform.fullDescription)
    let title = names.0 == names.1 ? names.0 : "\(names.0) and \(names.1)"
    if pair.isEmpty { return line("\(title): \(pair.a.digest == pair.b.digest ? "the same" : "no difference")") }
    var out = line("\(title):")
    if !pair.config.isEmpty { out += "  config:\n" + pair.config.map { field($0, "    ") }.joined() }
    if pair.layers.contains(where: { $0.state != .shared }) { out += layers(pair.layers) }
    if let files = pair.files, !files.isEmpty { out += self.files(files) }
    return out
  }

  private func layers(_ layers: [ImagePair.Layer]) -> String {
    func some(_ state: ImagePair.Layer.State) -> [ImagePair.Layer] { layers.filter { $0.state == state } }
    let counts = [ImagePair.Layer.State.shared, .repacked, .removed, .added].compactMap { state -> String? in
      let these = some(state)
      return these.isEmpty ? nil : "\(these.count) \(state.rawValue) (\(HumanFigures.size(these.reduce(0) { $0 + $1.size })))"
    }
    var out = "  layers: \(counts.joined(separator: ", "))\n"
    for layer in layers {
      let made = layer.createdBy.map { $0.count > 80 ? "  " + $0.prefix(79) + "…" : "  " + $0 } ?? ""
      switch layer.state {
      case .shared: continue
      case .removed: out += line("    - \(Digest.short(layer.digest))  \(HumanFigures.size(layer.size))\(made)")
      case .added: out += line("    + \(Digest.short(layer.digest))  \(HumanFigures.size(layer.size))\(made)")
      case .repacked:
        guard let other = layer.other else { continue }
        out += line("    ~ \(Digest.short(layer.digest)) → \(Digest.short(other.digest))  \(HumanFigures.size(layer.size)) → \(HumanFigures.size(other.size)), the same files\(made)")
      }
    }
    return out
  }

  private func files(_ files: [FileChange]) -> String {
    func count(_ kind: FileChange.Kind) -> Int { files.lazy.filter { $0.kind == kind }.count }
    let counts = [(FileChange.Kind.removed, "removed"), (.added, "added"), (.changed, "changed")].filter { count($0.0) > 0 }.map { "\(count($0.0)) \($0.1)" }
    var out = "  files: \(counts.joined(separator: ", "))\n"
    for file in files {
      switch file.kind {
      case .removed: out += line("    - \(file.path)\(facts(file.facts))")
      case .added: out += line("    + \(file.path)\(facts(file.facts))")
      case .changed: out += line("    ~ \(file.path)  \(file.aspects.map(aspect).joined(separator: ", "))")
      }
    }
    return out
  }

  private func aspect(_ aspect: FileChange.Aspect) -> String {
    switch aspect.name {
    case "content": "content"
    case "attributes": "attributes"
    default: "\(aspect.name) \(aspect.a) → \(aspect.b)"
    }
  }

  private func facts(_ facts: FileFacts) -> String {
    switch facts.kind {
    case .file: "  \(facts.modeText) \(facts.ownerText) \(HumanFigures.size(facts.size))"
    case .symbolicLink: " -> \(facts.target)"
    case .directory: "/  \(facts.modeText) \(facts.ownerText)"
    default: "  \(facts.kind.rawValue) \(facts.modeText) \(facts.ownerText)"
    }
  }
}
