package import HostOS
package import OCIModel

/// One process to run in a root filesystem: what LLB's exec op asks for, resolved to mounts.
package struct ProcessSpec: Sendable {
  package enum Network: String, Sendable {
    /// The build's default. Without a network provider that is the host's network.
    case sandbox
    case host
    /// A network of its own with nothing but the loopback device.
    case none
  }

  package struct ExtraHost: Sendable, Hashable {
    package var name: String
    package var address: String
    package init(name: String, address: String) {
      self.name = name
      self.address = address
    }
  }

  package struct Limit: Sendable, Hashable {
    /// As `--ulimit` has it: `nofile`.
    package var name: String
    /// -1 is unlimited.
    package var soft: Int64
    package var hard: Int64
    package init(name: String, soft: Int64, hard: Int64) {
      self.name = name
      self.soft = soft
      self.hard = hard
    }
  }

  package var arguments: [String]
  /// `NAME=VALUE`, in order; nothing is added.
  package var environment: [String]
  /// Made, owned by the user, when it does not exist.
  package var workingDirectory: String
  /// As USER has it: `name`, `uid`, `user:group`; names are looked up in the root filesystem. Empty is root.
  package var user: String
  package var hostname: String?
  /// The control group above the step's, from the root of each hierarchy; empty is this program's own.
  package var cgroupParent: String
  package var network: Network
  /// With all privileges that this program has itself: every capability, device and system call, /sys and /proc/sys writable (`RUN --security=insecure`).
  package var isInsecure: Bool
  /// By the Container Device Interface.
  package var devices: [DeviceRequest] = []
  package var extraHosts: [ExtraHost]
  package var limits: [Limit]
  package var resources: StepResources
  /// In the order of mounting. A later one on the same destination replaces the earlier, defaults (`/dev/shm`) included.
  package var mounts: [ProcessMount]
  package var platform: Platform
  package var readOnlyRoot: Bool
  /// Remove, after the step, the parents too that had to be made for mount points (`exec.meta.removemountstubs.recursive`).
  package var removesStubParents: Bool

  package init(
    arguments: [String], environment: [String] = [], workingDirectory: String = "/", user: String = "", hostname: String? = nil,
    cgroupParent: String = "", network: Network = .sandbox, isInsecure: Bool = false, extraHosts: [ExtraHost] = [], limits: [Limit] = [], resources: StepResources = StepResources(), mounts: [ProcessMount] = [],
    platform: Platform = .current, readOnlyRoot: Bool = false, removesStubParents: Bool = true
  ) {
    self.arguments = arguments
    self.environment = environment
    self.workingDirectory = workingDirectory
    self.user = user
    self.hostname = hostname
    self.cgroupParent = cgroupParent
    self.network = network
    self.isInsecure = isInsecure
    self.extraHosts = extraHosts
    self.limits = limits
    self.resources = resources
    self.mounts = mounts
    self.platform = platform
    self.readOnlyRoot = readOnlyRoot
    self.removesStubParents = removesStubParents
  }
}

/// Something mounted for the process beside its root.
package struct ProcessMount: Sendable {
  package enum Source: Sendable {
    case plan(MountPlan)
    /// A file that exists in memory only, while the process runs: a secret.
    case memory(bytes: [UInt8], mode: UInt32, uid: UInt32, gid: UInt32)
    /// A socket that exists in memory only, while the process runs. Connections to it are handed over as they come.
    case socket(mode: UInt32, uid: UInt32, gid: UInt32, connected: @Sendable (HostOS.Descriptor) -> Void)
  }
  package var destination: String
  package var source: Source
  /// What of the source is mounted: a path resolved beneath it, symbolic links included. Empty or `/`: all of it.
  package var subpath: String
  package var readOnly: Bool

  package init(destination: String, source: Source, subpath: String = "", readOnly: Bool = false) {
    self.destination = destination
    self.source = source
    self.subpath = subpath
    self.readOnly = readOnly
  }
  package init(destination: String, plan: MountPlan, subpath: String = "", readOnly: Bool = false) {
    self.init(destination: destination, source: .plan(plan), subpath: subpath, readOnly: readOnly)
  }
}

/// Bytes that a step wrote, as they came.
package enum StepOutput: Sendable, Equatable {
  case standardOutput([UInt8])
  case standardError([UInt8])
}

/// Where a process's standard streams go.
package enum StepStreams: Sendable {
  /// No input; output is handed over as it comes, from one thread at a time, which is not Swift's own and may block.
  case captured(@Sendable (StepOutput) -> Void)
  /// The descriptors themselves. With `terminal` they are a terminal, and the process gets one of its own that is copied to and from it.
  /// `signals` are passed on to the process (SIGWINCH resizes its terminal).
  case attached(input: HostOS.Descriptor, output: HostOS.Descriptor, error: HostOS.Descriptor, terminal: Bool, signals: AsyncStream<Int32>?)
}

/// How a process ended.
package struct StepExit: Sendable, Equatable {
  /// As a shell has it: 128 and the signal's number when a signal ended it.
  package var code: Int32
  /// The machine or a control group was out of memory, and the kernel killed a process meanwhile.
  package var outOfMemory: Bool
  /// What the OCI runtime said when it could not start the process (no such program, …).
  package var runtimeMessage: String?
  package var signal: Int32? { code > 128 && code < 128 + 65 ? code - 128 : nil }

  package init(code: Int32, outOfMemory: Bool = false, runtimeMessage: String? = nil) {
    self.code = code
    self.outOfMemory = outOfMemory
    self.runtimeMessage = runtimeMessage
  }
}

/// Runs processes in root filesystems.
package protocol StepExecutor: Sendable {
  /// Runs one process to its end. Cancelling the task kills it and all its children, and returns when they are gone (CancellationError).
  ///
  /// `locks` stay open in the container's supervisor for as long as it lives, so that a lock is held even when this program is killed.
  /// Throws `ExecutorError` when it could not be run; an exit status other than zero is no error.
  func run(_ spec: ProcessSpec, root: MountPlan, locks: [HostOS.Descriptor], streams: StepStreams) async throws -> StepExit
  /// Why steps cannot be limited so; nil when they can.
  func obstacle(to resources: StepResources) async -> (any Error)?
  /// The devices that steps can have now. Blocks.
  func devices() -> DeviceSpecs
}

extension StepExecutor {
  package func obstacle(to resources: StepResources) async -> (any Error)? { nil }
  package func devices() -> DeviceSpecs { DeviceSpecs(directories: [], autoAllowed: []) }

  package func run(
    _ spec: ProcessSpec, root: MountPlan, locks: [HostOS.Descriptor] = [], output: @escaping @Sendable (StepOutput) -> Void
  ) async throws -> StepExit {
    try await run(spec, root: root, locks: locks, streams: .captured(output))
  }
}
