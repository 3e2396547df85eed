internal import BuildInterface
internal import OCIModel

/// The Dockerfiles of a build, with the platforms that each is for: one, unless platforms have attributes of their own.
struct PlatformVariants: Sendable {
  struct Variant: Sendable {
    var options: FrontendOptions
    var attributes: [String: String]
    /// Places in the build's list of platforms.
    var places: [Int]
  }
  private(set) var variants: [Variant] = []
  /// The whole build's.
  let options: FrontendOptions

  init(_ environment: FrontendEnvironment) throws {
    options = try FrontendOptions(environment: environment)
    let named = try PlatformAttributes.platforms(in: environment.attributes)
    if named.isEmpty {
      variants = [Variant(options: options, attributes: environment.attributes, places: Array(0..<max(1, options.platforms.count)))]
      return
    }
    let platforms = options.platforms.isEmpty ? [options.buildPlatform.normalized] : options.platforms
    if let unknown = named.filter({ !platforms.contains($0) }).min(by: { $0.description < $1.description }) {
      throw BuildError(
        .invalidArgument, .usage, "\(unknown) has attributes of its own, and is not built", suggestion: "built are \(platforms.map(\.description).joined(separator: ", "))")
    }
    for (place, platform) in platforms.enumerated() {
      let attributes = try PlatformAttributes.of(platform, in: environment.attributes)
      if let i = variants.firstIndex(where: { $0.attributes == attributes }) {
        variants[i].places.append(place)
        continue
      }
      var own = environment
      own.attributes = attributes
      variants.append(Variant(options: try FrontendOptions(environment: own), attributes: attributes, places: [place]))
    }
  }

  static func ambiguous(_ question: String) -> BuildError {
    BuildError(
      .invalidArgument, .usage, "\(question) is asked of one Dockerfile, and the platforms differ in theirs or in its arguments",
      suggestion: "ask for one platform alone: --platform with -f, --target and --build-arg as they are for it")
  }
}
