import HostOS

/// What a container's supervisor is to do, in the form supervisor.c reads: operations and arguments, each ended by NUL, and the descriptors that
/// they name by number.
struct SupervisorPlan {
  private(set) var text: [UInt8] = []
  /// An argument with a NUL in it would be read as further operations.
  private(set) var isMalformed = false
  /// From number 5 on; the first five are the plan itself, the control socket and the standard streams.
  private(set) var descriptors: [Descriptor] = []
  let scratch: String

  init(scratch: String) {
    self.scratch = scratch
    add("scratch", scratch)
  }

  private mutating func add(_ words: String...) {
    for word in words {
      if word.utf8.contains(0) { isMalformed = true }
      text += word.utf8
      text.append(0)
    }
  }
  private mutating func number(of descriptor: Descriptor) -> String {
    descriptors.append(descriptor)
    return String(descriptors.count + 4)
  }

  mutating func directory(_ name: String) { add("directory", name) }
  mutating func file(_ name: String, mode: UInt32 = 0o644, _ contents: String) { add("file", name, String(mode, radix: 8), contents) }
  mutating func mount(_ tree: Directory, at name: String) { add("mount", number(of: tree.descriptor), name) }
  mutating func bind(_ path: String, of name: String, at target: String) { add("bind", name, path, target) }
  mutating func hide(_ path: String) { add("hide", path) }
  mutating func mountControlGroups(at path: String) { add("control-groups", path) }
  mutating func newUserNamespace() { add("user") }
  mutating func network(_ namespace: Descriptor) { add("network", number(of: namespace)) }
  mutating func register(_ line: String) { add("register", line) }
  mutating func probe() { add("probe") }
  mutating func arguments(_ arguments: [String]) { for argument in arguments { add("argument", argument) } }
  /// `version`: of the control groups, when only harmless device files are to open there; 0 when that does not matter.
  mutating func cgroup(_ name: String, beneath parent: Directory, version: Int32, settings: [StepResources.Setting] = []) {
    let number = number(of: parent.descriptor)
    add("cgroup", number, name, String(version))
    for setting in settings { add("cgroup-setting", number, "\(name)/\(setting.file)", setting.value) }
  }
  mutating func removeCgroup(_ path: String) { add("runtime-cgroup", path) }
  mutating func hold(_ descriptor: Descriptor) { descriptors.append(descriptor) }
}
