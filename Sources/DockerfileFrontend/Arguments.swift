internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel

extension Converter {
  /// Predefined platform arguments and the ARGs before the first FROM, build arguments applied.
  func globalArguments(stageName: String) throws -> Environment {
    let build = options.buildPlatform, target = targetPlatform
    var environment = Environment()
    let predefined = [
      ("BUILDPLATFORM", build.description), ("BUILDOS", build.os), ("BUILDOSVERSION", build.osVersion), ("BUILDARCH", build.architecture),
      ("BUILDVARIANT", build.variant), ("TARGETPLATFORM", target.fullDescription), ("TARGETOS", target.os), ("TARGETOSVERSION", target.osVersion),
      ("TARGETARCH", target.architecture), ("TARGETVARIANT", target.variant), ("TARGETSTAGE", stageName.isEmpty ? "default" : stageName),
    ]
    for (name, value) in predefined { environment[name] = buildArguments[name] ?? value }
    for instruction in request.dockerfile.globalArguments {
      for argument in instruction.arguments {
        if let given = buildArguments[argument.key] {
          environment[argument.key] = given
        } else if let value = argument.value {
          environment[argument.key] = try located(at: instruction.origin) { try lexer.expand(value, environment: StateWords(environment)).text }
        }
      }
    }
    return environment
  }

  /// SOURCE_DATE_EPOCH, from a build argument or a global ARG: the time of everything that is written. Its value becomes canonical.
  mutating func readEpoch() throws {
    let name = "SOURCE_DATE_EPOCH"
    guard let text = buildArguments[name] ?? globals[name].flatMap({ $0.isEmpty ? nil : $0 }) else { return }
    // A context on the client's disk has no time of its own (and there are no others yet): none is taken, as with BuildKit.
    if !text.isEmpty, text != "context" {
      guard let seconds = Int64(text) else {
        throw BuildError(
          .unimplemented, .usage, "SOURCE_DATE_EPOCH=\(text.prefix(100)): a time taken from a build source is not supported yet",
          suggestion: "give seconds since 1970, as in SOURCE_DATE_EPOCH=$(git log -1 --pretty=%ct)")
      }
      epoch = Timestamp(seconds: seconds)
    }
    let canonical = epoch.map { String($0.seconds) }
    if buildArguments[name] != nil { buildArguments[name] = canonical }
    if globals[name] != nil { globals[name] = canonical }
  }

  /// ARG within a stage. A build argument wins over the default; without either, a global of the name counts.
  func dispatchArg(_ stage: StageState, _ arg: ArgInstruction) throws {
    var declared: [String] = []
    for var argument in arg.arguments {
      if let given = buildArguments[argument.key] {
        argument.value = given
      } else if let value = argument.value {
        argument.value = try lexer.expand(value, environment: StateWords(stage.state.environment)).text
      } else {
        argument.value = globals[argument.key]
      }
      if let value = argument.value, !Converter.nonVariables.contains(argument.key) { stage.state.environment[argument.key] = value }
      stage.arguments.append(argument)
      declared.append(argument.key + (argument.value.map { "=" + $0 } ?? ""))
    }
    stage.commit("ARG " + declared.joined(separator: " "), layer: false, epoch: epoch)
  }

  /// Arguments that speak to the builder and are no variables of steps.
  static let nonVariables: Set<String> = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"]
}
