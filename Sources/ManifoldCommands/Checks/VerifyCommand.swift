internal import ArgumentParser
internal import ImageChecks
internal import ImageStores
internal import OCIModel

/// `manifold verify`: whether an image is whole, and its programs are for its platforms.
struct VerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check that an image is whole and that its programs are for its platforms.", usage: "manifold verify [options] <image>",
    discussion: """
      Examples:
        manifold verify reg/me/app:1
        manifold verify --shallow reg/me/app:1
        manifold verify --deep --platform linux/arm64 oci-layout://build/app
        manifold verify --json local:app | jq '.findings[] | {platform, path, message}'

      An image is REF (in a registry), oci-layout://PATH[:TAG][@DIGEST], or local:NAME (in the store of this machine).

      What is read: manifests, configs, and each layer of the images once, as a stream (nothing is kept). So digests, sizes and diff IDs are checked; and for every platform \
      the files that its layers make: executables and shared libraries are for its CPU and ABI (ELF, PE), the ELF interpreter of each is in the image, and what \
      ENTRYPOINT and CMD name is there and can be started. Attestations are looked for, and are about an image of the index. Layers that may not be \
      passed on (Windows base layers) are looked for, not read.
      --shallow reads no layer: blobs are asked for by HEAD requests (which some registries answer from memory, whatever became of the content), and nothing is said of files. --deep reads all that there is: attestations, artifacts and layers that may \
      not be passed on too.

      One line a finding on standard output: severity, platform, path, layer, what is wrong, [code]. An error is wrong whoever runs the image; a warning may be meant \
      so; a note is nothing wrong.

      --json prints one object: name, digest, mediaType, depth, ok, images (platform, digest), attestations, layersRead, bytesRead, findings (severity, code, platform, \
      manifest, path, blob, createdBy, message; those that do not apply are left out), and omitted, the number of findings beyond the thousandth of a kind and image.

      Exit status: 0 no errors (with --strict: no warnings either); 1 findings; 2 the command line is wrong or the image cannot be looked at; 3 its registry cannot be reached or \
      refuses; 130 interrupted.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The image to check.", valueName: "image")) var image: String
  @Flag(name: .long, help: "Read and hash everything, attestations too.") var deep = false
  @Flag(name: .long, help: "Read manifests and configs only.") var shallow = false
  @Option(name: .long, parsing: .unconditionalSingleValue, help: ArgumentHelp("Only these platforms: comma separated, may be repeated. Default: all.", valueName: "platform"))
  var platform: [String] = []
  @Flag(name: .long, help: "Warnings count as errors.") var strict = false
  @Flag(name: .long, help: "Print one JSON object.") var json = false

  func validate() throws {
    if deep, shallow { throw ValidationError("--deep and --shallow exclude one another") }
    _ = try ImageLocation(parsing: image)
    _ = try CheckOptions.platforms(platform)
  }

  mutating func run() async throws {
    let location = try ImageLocation(parsing: image)
    let depth: ImageVerification.Depth = deep ? .deep : shallow ? .shallow : .layers
    let options = ImageVerification.Options(depth: depth, platforms: try CheckOptions.platforms(platform))
    let report = try await CheckOptions.reporting {
      try await ImageCommands.withAccess(global, [location]) { access in try await ImageVerification(access.source(location), options).run() }
    }
    let text = VerificationText(name: location.description, report: report, depth: depth, strict: strict)
    if json {
      Terminal.output(text.json.encoded(.indented("  ")) + [0x0a])
    } else {
      Terminal.output(text.lines)
      Terminal.error(text.summary)
    }
    if !text.isGood { throw ExitCode(1) }
  }
}

/// What `verify` and `diff` share.
enum CheckOptions {
  static func platforms(_ words: [String]) throws -> [Platform] {
    try words.flatMap { $0.split(separator: ",").map { $0.trimmingSpaces() } }.map { try Platform(parsing: $0) }
  }

  /// Here 1 is an answer, so failing is 2 or more.
  static func reporting<T>(_ body: () async throws -> T) async throws -> T {
    do { return try await body() } catch {
      let code = ManifoldExit.of(error)
      guard code == ManifoldExit.build else { throw error }
      Terminal.error(ErrorText.of(error))
      throw ExitCode(ManifoldExit.usage)
    }
  }
}

extension Substring {
  fileprivate func trimmingSpaces() -> String {
    var text = self
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return String(text)
  }
}
