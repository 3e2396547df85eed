internal import ArgumentParser

/// Options that every verb takes, before or after its name.
struct GlobalOptions: ParsableArguments {
  @Option(name: .long, help: ArgumentHelp("Where images, layers and the build cache are kept.", discussion: "MANIFOLD_ROOT sets it too. Default: /var/lib/manifold for root, else the XDG data folder.", valueName: "dir"))
  var root: String?

  @Flag(name: .long, help: "Tell what goes on inside.")
  var debug = false

  @Option(
    name: .customLong("insecure-registry"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Talk to this registry without verified TLS, or in plain HTTP. May be repeated. Loopback registries need it not.", valueName: "host[:port]"))
  var insecureRegistries: [String] = []

  func settings(jobs: Int? = nil) -> EngineSettings {
    EngineSettings(root: root, insecureRegistries: Set(insecureRegistries), jobs: jobs, debug: debug)
  }

  /// `manifold --root X build …` as `manifold build --root X …`: the parser knows options of the verb only behind it.
  static func moved(behindVerb arguments: [String]) -> [String] {
    var globals: [String] = []
    var i = 0
    while i < arguments.count {
      let argument = arguments[i]
      if argument == "--debug" {
        globals.append(argument)
        i += 1
      } else if argument.hasPrefix("--root=") || argument.hasPrefix("--insecure-registry=") {
        globals.append(argument)
        i += 1
      } else if argument == "--root" || argument == "--insecure-registry", i + 1 < arguments.count {
        globals += [argument, arguments[i + 1]]
        i += 2
      } else {
        break
      }
    }
    guard !globals.isEmpty, i < arguments.count, !arguments[i].hasPrefix("-") else { return arguments }
    var rest = Array(arguments[i...])
    // `imagetools inspect`: options belong to the inner verb.
    let verbs = rest[0] == "imagetools" && rest.count > 1 && !rest[1].hasPrefix("-") ? 2 : 1
    rest.insert(contentsOf: globals, at: verbs)
    return rest
  }
}
