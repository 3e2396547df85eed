internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel

extension Converter {
  /// Predefined platform arguments and the ARGs before the first FROM, with the build arguments given for them.
  func globalArguments(stageName: String, given: [String: String]) throws -> (environment: Environment, declared: [String: DeclaredArgument]) {
    let build = options.buildPlatform, target = targetPlatform
    var environment = Environment()
    var declared: [String: DeclaredArgument] = [:]
    let predefined = [
      ("BUILDPLATFORM", build.description), ("BUILDOS", build.os), ("BUILDOSVERSION", build.osVersion), ("BUILDARCH", build.architecture),
      ("BUILDVARIANT", build.variant), ("TARGETPLATFORM", target.fullDescription), ("TARGETOS", target.os), ("TARGETOSVERSION", target.osVersion),
      ("TARGETARCH", target.architecture), ("TARGETVARIANT", target.variant), ("TARGETSTAGE", stageName.isEmpty ? "default" : stageName),
    ]
    for (name, value) in predefined { environment[name] = buildArguments[name] ?? value }
    for instruction in request.dockerfile.globalArguments {
      for argument in instruction.arguments {
        var info = DeclaredArgument(name: argument.key, documentation: argument.documentation, range: instruction.origin.range)
        if let value = given[argument.key] {
          environment[argument.key] = value
          info.value = value
        } else if let value = argument.value {
          let expansion = try located(at: instruction.origin) { try lexer.expand(value, environment: StateWords(environment)) }
          environment[argument.key] = expansion.text
          info.value = expansion.text
          info.uses = expansion.matched
          // ARG A=${A}-x: what the old A was made of counts.
          if info.uses.remove(argument.key) != nil, let old = declared[argument.key] { info.uses.formUnion(old.uses) }
        }
        declared[argument.key] = info
      }
    }
    return (environment, declared)
  }

  /// ARG within a stage. A build argument wins over the default; without either, a global of the name counts.
  func dispatchArg(_ stage: StageState, _ arg: ArgInstruction, _ checks: CheckScope) throws {
    var declared: [String] = []
    for var argument in arg.arguments {
      checks.checkSecret(argument.key, in: "ARG", at: arg.origin)
      let inherits = buildArguments[argument.key] == nil && argument.value == nil && globals[argument.key] != nil
      if let given = buildArguments[argument.key] {
        argument.value = given
      } else if let value = argument.value {
        let expansion = try lexer.expand(value, environment: StateWords(stage.state.environment))
        checks.checkUndefined(expansion.unmatched, in: stage, at: arg.origin, escape: lexer.escape)
        argument.value = expansion.text
      } else {
        argument.value = globals[argument.key]
      }
      if let value = argument.value, !Converter.nonVariables.contains(argument.key) { stage.state.environment[argument.key] = value }
      stage.declare(argument)
      stage.outline.use(argument.key)
      if !inherits {
        stage.outline.declared[argument.key] = DeclaredArgument(
          name: argument.key, value: argument.value ?? "", documentation: argument.documentation, range: arg.origin.range)
      }
      declared.append(argument.key + (argument.value.map { "=" + $0 } ?? ""))
    }
    stage.commit("ARG " + declared.joined(separator: " "), layer: false, epoch: epoch)
  }

  /// Arguments that speak to the builder and are no variables of steps.
  static let nonVariables: Set<String> = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"]
}
