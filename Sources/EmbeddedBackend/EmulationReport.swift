internal import BuildEngine
internal import BuildExecutor
internal import BuildInterface
internal import OCIModel

/// What the executor knows of emulation, in the words of a build.
struct EmulationReport: EmulationPlanning {
  private let emulation: Emulation
  init(_ emulation: Emulation) { self.emulation = emulation }

  func support(for platforms: [Platform]) async -> [PlatformSupport] {
    let plan = await emulation.plan(for: platforms)
    return platforms.map { platform in
      let kind: PlatformSupport.Kind =
        switch plan[platform] {
        case .native?: .native
        case .hostRegistered(let interpreter, _)?: .emulated(by: interpreter.description + ", registered on this machine")
        case .privateRegistration(let interpreter, _)?: .emulated(by: interpreter.description)
        case .impossible(let reason, let mend)?: .impossible(reason: reason + (mend.isEmpty ? "" : "; mend it with: \(mend)"))
        case nil: .impossible(reason: "nothing is known of it")
        }
      return PlatformSupport(platform: platform, kind: kind)
    }
  }
}
