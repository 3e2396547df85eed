#if os(Linux)
  internal import CNetwork
  package import HostOS
  internal import OCIModel

  /// One network namespace with its plugins' work done.
  package struct StepNamespace: Sendable {
    let id: String
    /// Keeps it alive.
    package let descriptor: HostOS.Descriptor
    let attachment: NetworkPlugins.Attachment
    let result: JSONValue
  }

  /// Network namespaces for steps, set up by CNI plugins; those that no step has are kept for the next. Of each there is a record in a file before its plugins are run,
  /// so that the next to open undoes what a killed process left: addresses given away, rules of a firewall. The namespaces themselves, and the devices in
  /// them, end with the process. Whoever opens it calls `close`.
  package actor StepNetworks {
    package struct Options: Sendable {
      package enum Mode: Sendable, Hashable {
        /// As a file says.
        case file(String)
        /// A bridge of our own (BuildKit's bridge mode).
        case bridge(name: String, subnet: String)
      }
      package var mode: Mode
      /// Where plugins' programs are.
      package var directories: [String]
      /// Namespaces kept ready.
      package var poolSize: Int
      /// For records; made when missing.
      package var records: String
      package init(mode: Mode, directories: [String], poolSize: Int, records: String) {
        (self.mode, self.directories, self.poolSize, self.records) = (mode, directories, poolSize, records)
      }
    }
    private struct Idle {
      var namespace: StepNamespace
      var since: ContinuousClock.Instant
    }

    private let plugins: NetworkPlugins
    private let poolSize: Int
    private let records: String
    /// Made by us, and so removed at the end.
    private let ownBridge: String?
    /// Beyond the pool's size a namespace is kept so long for a next step.
    private static let grace = Duration.seconds(300)
    private var idle: [Idle] = []
    private var inUse: Set<String> = []
    private var works: [Int: Task<Void, Never>] = [:]
    private var lastWork = 0
    private var reaper: Task<Void, Never>?
    private var isFilling = false, isClosed = false
    /// What could not be undone, to be told.
    private let notice: @Sendable (String) -> Void

    private init(_ plugins: NetworkPlugins, _ options: Options, ownBridge: String?, notice: @escaping @Sendable (String) -> Void) {
      self.plugins = plugins
      self.notice = notice
      poolSize = options.poolSize
      records = options.records
      self.ownBridge = ownBridge
    }

    /// Makes a first namespace, so that what is configured wrongly is told at once. Throws `ExecutorError.network`.
    package static func open(_ options: Options, notice: @escaping @Sendable (String) -> Void = { _ in }) async throws -> StepNetworks {
      let networks = try await Blocking.run { () -> StepNetworks in
        let (plugins, bridge) = try plugins(options)
        try plugins.check()
        try Files.makeDirectories(options.records, mode: 0o700)
        return StepNetworks(plugins, options, ownBridge: bridge, notice: notice)
      }
      await networks.sweep()
      let first = try await networks.make(hostname: nil)
      await networks.keep(first)
      return networks
    }

    /// Blocks.
    private static func plugins(_ options: Options) throws -> (NetworkPlugins, String?) {
      switch options.mode {
      case .file(let path):
        let bytes: [UInt8]
        do { bytes = try Files.read(path, limit: NetworkConfiguration.limit) } catch { throw ExecutorError(.network, "cannot read the network configuration \(path) (cniConfigPath)", cause: error) }
        return (NetworkPlugins(configuration: try NetworkConfiguration(parsing: bytes, path: path), directories: options.directories), nil)
      case .bridge(let name, let subnet):
        // Those that come with BuildKit are called so, and lie among other programs.
        let own = ["bridge", "host-local", "firewall"].map { Processes.executablePath("buildkit-cni-" + $0) }
        let folders = own.compactMap { $0 }.map { String($0[..<($0.lastIndex(of: "/") ?? $0.startIndex)]) }
        let hasOwn = folders.count == own.count
        var directories: [String] = []
        for folder in hasOwn ? folders : options.directories where !directories.contains(folder) { directories.append(folder) }
        if Files.exists("/sys/class/net/" + name), !Files.exists("/sys/class/net/\(name)/bridge") {
          throw ExecutorError(.network, "the network device \(name) (bridgeName) is there already, and is no bridge")
        }
        let configuration = NetworkConfiguration.bridge(name, subnet: subnet, prefix: hasOwn ? "buildkit-cni-" : "")
        return (NetworkPlugins(configuration: configuration, directories: directories), Files.exists("/sys/class/net/" + name) ? nil : name)
      }
    }

    // MARK: Steps

    /// For one step. With a name of its own the step gets a namespace of its own, too: plugins may make names known. Whoever takes gives back.
    package func take(hostname: String?) async throws -> StepNamespace {
      if isClosed { throw ExecutorError(.network, "the networks of steps are closed") }
      if hostname ?? "" == "", let last = idle.popLast() {
        inUse.insert(last.namespace.id)
        fill()
        return last.namespace
      }
      let made = try await make(hostname: hostname.flatMap { $0.isEmpty ? nil : $0 })
      inUse.insert(made.id)
      return made
    }

    /// `isReusable`: the step could not change it.
    package func give(_ namespace: StepNamespace, isReusable: Bool) {
      inUse.remove(namespace.id)
      if isReusable, !isClosed, namespace.attachment.hostname == nil { keep(namespace) } else { work { await $0.release(namespace) } }
    }

    private func keep(_ namespace: StepNamespace) {
      idle.append(Idle(namespace: namespace, since: .now))
      fill()
      reap()
    }

    /// Up to the pool's size, one after the other.
    private func fill() {
      guard !isFilling, !isClosed, idle.count < poolSize else { return }
      isFilling = true
      work { await $0.fillPool() }
    }

    private func fillPool() async {
      defer { isFilling = false }
      while !isClosed, idle.count < poolSize {
        do { idle.insert(Idle(namespace: try await make(hostname: nil), since: .now), at: 0) } catch {
          // The step that needs one tells it.
          return
        }
      }
    }

    private func reap() {
      guard reaper == nil, idle.count > poolSize, !isClosed else { return }
      reaper = Task { [weak self] in
        while true {
          guard (try? await Task.sleep(for: .seconds(30))) != nil, let self, await self.dropSurplus() else { return }
        }
      }
    }

    /// Whether there is still a surplus.
    private func dropSurplus() -> Bool {
      while idle.count > poolSize, let oldest = idle.first, .now - oldest.since > Self.grace {
        idle.removeFirst()
        work { await $0.release(oldest.namespace) }
      }
      if idle.count > poolSize { return true }
      reaper = nil
      return false
    }

    /// Work that nobody waits for but `close`.
    private func work(_ body: @escaping @Sendable (StepNetworks) async -> Void) {
      lastWork += 1
      let number = lastWork
      works[number] = Task {
        await body(self)
        self.works[number] = nil
      }
    }

    /// Undoes all that is there.
    package func close() async {
      isClosed = true
      reaper?.cancel()
      let rest = idle
      idle = []
      for entry in rest { work { await $0.release(entry.namespace) } }
      while let next = works.values.first { await next.value }
      if let ownBridge, inUse.isEmpty { _ = try? await Blocking.run { manifold_remove_bridge(ownBridge) } }
    }

    // MARK: Making and undoing

    private func make(hostname: String?) async throws -> StepNamespace {
      let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz")
      let id = String((0..<25).map { _ in letters[Int.random(in: 0..<36)] })
      // A thread of its own, which ends: one that could not go back to its namespace must serve nobody else.
      let made = try await DedicatedThread.run {
        var isStranded: Int32 = 0
        return manifold_network_namespace(&isStranded)
      }
      guard made >= 0 else {
        throw ExecutorError(.network, "cannot make a network namespace", cause: HostError(errno: -made, operation: "unshare", path: ""))
      }
      let descriptor = HostOS.Descriptor(owning: made)
      let attachment = NetworkPlugins.Attachment(id: id, namespace: "/proc/\(ProcessIdentity.current.pid)/fd/\(made)", hostname: hostname)
      try await write(attachment, result: nil)
      let plugins = plugins
      // Not cut short: a plugin that is killed leaves who knows what.
      let result: JSONValue
      do { result = try await Task { try await plugins.add(attachment) }.value } catch {
        await forget(id)
        withExtendedLifetime(descriptor) {}
        throw error
      }
      try await write(attachment, result: result)
      return StepNamespace(id: id, descriptor: descriptor, attachment: attachment, result: result)
    }

    private func release(_ namespace: StepNamespace) async {
      let notice = notice
      await plugins.delete(namespace.attachment, result: namespace.result) { notice("a step's network could not be taken down: \($0)") }
      await forget(namespace.id)
      withExtendedLifetime(namespace.descriptor) {}
    }

    // MARK: Records

    private func write(_ attachment: NetworkPlugins.Attachment, result: JSONValue?) async throws {
      let owner = ProcessIdentity.current
      let record: JSONValue = [
        "pid": .int(owner.pid), "startTime": .int(owner.startTime), "bootID": .string(owner.bootID), "pidNamespace": .int(owner.pidNamespace),
        "hostname": .string(attachment.hostname ?? ""), "configuration": plugins.configuration.json, "directories": .array(plugins.directories.map { .string($0) }), "result": result ?? .null,
      ]
      let path = "\(records)/\(attachment.id)"
      try await Blocking.run { try Files.writeAtomically(record.encoded(escapeHTML: false), to: path, mode: 0o600, durable: false) }
    }

    private func forget(_ id: String) async {
      let directory = records
      _ = try? await Blocking.run { try Directory.open(directory).unlink(id) }
    }

    /// What dead processes left.
    private func sweep() async {
      let directory = records
      let names = (try? await Blocking.run { try Directory.open(directory).entries().map(\.name) }) ?? []
      for name in names.sorted() {
        let bytes = try? await Blocking.run { try Files.read("\(directory)/\(name)", limit: 4 << 20) }
        guard let bytes, let record = try? JSONValue(parsing: bytes), let pid = record["pid"]?.intValue, let start = record["startTime"]?.intValue, let boot = record["bootID"]?.stringValue,
          let space = record["pidNamespace"]?.intValue, let configuration = record["configuration"],
          let network = try? NetworkConfiguration(parsing: configuration.encoded(escapeHTML: false), path: name)
        else {
          // Not ours, or cut short while it was written: then no plugin had been run.
          if name.count == 25 { await forget(name) }
          continue
        }
        let owner = ProcessIdentity(pid: Int32(truncatingIfNeeded: pid), startTime: UInt64(truncatingIfNeeded: start), bootID: boot, pidNamespace: UInt64(truncatingIfNeeded: space))
        if owner.mayBeAlive { continue }
        let folders = record["directories"]?.arrayValue?.compactMap(\.stringValue) ?? plugins.directories
        let notice = notice, hostname = record["hostname"]?.stringValue ?? ""
        await NetworkPlugins(configuration: network, directories: folders).delete(
          NetworkPlugins.Attachment(id: name, namespace: "", hostname: hostname.isEmpty ? nil : hostname), result: record["result"]
        ) { notice("what a killed process left of a step's network could not be taken down: \($0)") }
        await forget(name)
      }
    }
  }
#endif
