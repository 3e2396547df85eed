#if os(Linux)
  import HostOS
  import OCIModel
  import Testing

  @testable import BuildExecutor

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  @Suite struct NetworkConfigurationTests {
    @Test func readsListsAndSinglePlugins() throws {
      let list = try NetworkConfiguration(parsing: Array(#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a","ipam":{"type":"i"}},{"type":"b","x":1}]}"#.utf8), path: "/c")
      #expect(list.name == "n" && list.version == "1.0.0" && list.types == ["a", "b"] && list.allTypes == ["a", "i", "b"] && list.plugins[1]["x"] == 1)
      let one = try NetworkConfiguration(parsing: Array(#"{"name":"n","type":"a"}"#.utf8), path: "/c")
      #expect(one.types == ["a"] && one.version == "0.1.0")
    }

    @Test(arguments: ["", "[]", "{}", #"{"name":"n"}"#, #"{"name":"../n","type":"a"}"#, #"{"name":"n","type":"../../bin/sh"}"#, #"{"name":"n","plugins":[]}"#, #"{"name":"n","plugins":[1]}"#])
    func refuses(_ text: String) {
      let error = #expect(throws: ExecutorError.self) { try NetworkConfiguration(parsing: Array(text.utf8), path: "/c") }
      #expect(error?.code == .network && error?.message.contains("/c") == true)
    }

    @Test func resolvers() {
      let host = "nameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions x\n"
      #expect(HostFiles.resolverConfiguration(from: host) == "nameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions x\n")
      #expect(HostFiles.resolverConfiguration(from: host, isolated: true) == "nameserver 10.0.0.1\nsearch a b\noptions x\n")
      #expect(HostFiles.resolverConfiguration(from: "nameserver ::1\n", isolated: true).hasPrefix("nameserver 8.8.8.8\n"))
      let own = HostFiles.Resolver(nameservers: ["127.0.0.1"], options: ["o:1", "p"], searchDomains: ["c"])
      #expect(HostFiles.resolverConfiguration(from: host, instead: own, isolated: true) == "nameserver 127.0.0.1\nsearch c\noptions o:1 p\n")
      #expect(HostFiles.asksResolved("nameserver 127.0.0.53\n") && !HostFiles.asksResolved(host))
    }
  }

  /// Networks by plugins that are scripts: they write down how they were called, and give the namespace's loopback device an address more.
  @Suite(.enabled(if: Fixture.canRun, "needs root, an OCI runtime and apt"), .serialized) struct StepNetworkTests {
    struct Place {
      let path: String
      var log: [String] { (Files.text(path + "/log") ?? "").split(separator: "\n").map(String.init) }
      var records: [String] { ((try? Directory.open(path + "/net").entries()) ?? []).map(\.name) }

      init(_ plugins: String = #"[{"type":"first","k":"v"},{"type":"second"}]"#) async throws {
        path = try Files.makeTemporaryDirectory(in: Fixture.own, prefix: "net-")
        let root = try await Fixture.root(.current)
        let script = """
          #!/bin/sh
          input=$(cat)
          echo "$CNI_COMMAND $(basename $0) $CNI_CONTAINERID ${CNI_NETNS:+there} $CNI_IFNAME [$CNI_ARGS] $input" >> \(path)/log
          test -e \(path)/fail-$CNI_COMMAND-$(basename $0) && { echo '{"cniVersion":"1.0.0","code":7,"msg":"it cannot","details":"today"}'; exit 1; }
          if [ $CNI_COMMAND = ADD ]; then
            test $(basename $0) = first && nsenter --net="$CNI_NETNS" \(root)/bin/busybox ip addr add 10.77.0.2/32 dev lo
            echo '{"cniVersion":"1.0.0","by":"'$(basename $0)'"}'
          fi
          """
        try Files.makeDirectories(path + "/bin")
        for name in ["first", "second"] { try Files.writeAtomically(Array(script.utf8), to: "\(path)/bin/\(name)", mode: 0o755) }
        try Files.writeAtomically(Array(#"{"cniVersion":"1.0.0","name":"test","plugins":\#(plugins)}"#.utf8), to: path + "/net.conflist")
      }

      func open(pool: Int = 0) async throws -> StepNetworks {
        try await StepNetworks.open(.init(mode: .file(path + "/net.conflist"), directories: [path + "/none", path + "/bin"], poolSize: pool, records: path + "/net"))
      }
      func executor(_ networks: StepNetworks) throws -> ContainerExecutor { try ContainerExecutor(.fromEnvironment(scratch: path + "/scratch"), networks: networks) }

      func shell(_ executor: ContainerExecutor, _ script: String, change: (inout ProcessSpec) -> Void = { _ in }) async throws -> String {
        var spec = ProcessSpec(arguments: ["/bin/sh", "-c", script], environment: ["PATH=/bin"])
        change(&spec)
        let collected = Collected()
        let exit = try await executor.run(spec, root: try await Fixture.writable().plan) { output in
          switch output {
          case .standardOutput(let bytes), .standardError(let bytes): collected.add(bytes)
          }
        }
        return "\(collected.text)\(exit.code)"
      }
    }

    private func calls(_ place: Place, _ command: String) -> [String] { place.log.filter { $0.hasPrefix(command + " ") } }

    @Test func stepsAreInNamespacesThatPluginsMade() async throws {
      let place = try await Place()
      let networks = try await place.open()
      let executor = try place.executor(networks)
      #expect(try await place.shell(executor, "ip addr show lo | grep -c 10.77.0.2; cat /etc/resolv.conf | grep -c 127.0.0; true") == "1\n0\n0")
      #expect(try await place.shell(executor, "ip addr show lo | grep -c 10.77.0.2", change: { $0.network = .none }) == "0\n1")
      #expect(try await place.shell(executor, "ip addr show lo | grep -c 10.77.0.2", change: { $0.network = .host }) == "0\n1")
      // The first was made at the opening, and served.
      #expect(calls(place, "ADD").count == 2 && calls(place, "DEL").isEmpty && place.records.count == 1, "\(place.log)")
      // A name of its own is made known, and the namespace is nobody else's.
      #expect(try await place.shell(executor, "hostname", change: { $0.hostname = "mine" }) == "mine\n0")
      #expect(calls(place, "ADD").count == 4 && calls(place, "ADD")[2].contains("[K8S_POD_NAME=mine;IgnoreUnknown=1]"), "\(place.log)")
      // One in which a step could do anything is not used again.
      #expect(try await place.shell(executor, "ip addr add 10.78.0.1/32 dev lo", change: { $0.isInsecure = true }) == "0")
      #expect(try await place.shell(executor, "ip addr show lo | grep -c 10.78.0.1") == "0\n1")
      await networks.close()
      let log = place.log
      let id = log[0].split(separator: " ")[2]
      let own = log.filter { $0.contains(id) }
      #expect(own.map { $0.split(separator: " ")[0...1].joined(separator: " ") } == ["ADD first", "ADD second", "DEL second", "DEL first"], "\(log)")
      #expect(own[0].contains("there eth0 [] ") && own[0].contains(#""k":"v""#) && own[0].contains(#""name":"test","cniVersion":"1.0.0""#) && !own[0].contains("prevResult"))
      #expect(own[1].contains(#""prevResult":{"cniVersion":"1.0.0","by":"first"}"#) && own[2].contains(#""by":"second""#) && own[3].contains(#""by":"second""#))
      #expect(calls(place, "ADD").count == calls(place, "DEL").count && place.records.isEmpty)
    }

    @Test func aPoolIsKeptReady() async throws {
      let place = try await Place()
      let networks = try await place.open(pool: 3)
      for _ in 0..<600 where place.records.count < 3 || calls(place, "ADD").count < 6 { try await Task.sleep(for: .milliseconds(100)) }
      #expect(place.records.count == 3)
      let executor = try place.executor(networks)
      async let a = place.shell(executor, "sleep 1; ip addr show lo | grep -c 10.77.0.2")
      async let b = place.shell(executor, "sleep 1; ip addr show lo | grep -c 10.77.0.2")
      #expect(try await [a, b] == ["1\n0", "1\n0"])
      await networks.close()
      #expect(place.records.isEmpty && calls(place, "ADD").count == calls(place, "DEL").count, "\(place.log)")
    }

    @Test func cancelledStepsGiveBack() async throws {
      let place = try await Place()
      let networks = try await place.open()
      let executor = try place.executor(networks)
      let step = Task { try await place.shell(executor, "sleep 600") }
      try await Task.sleep(for: .milliseconds(500))
      step.cancel()
      _ = try? await step.value
      await networks.close()
      #expect(place.records.isEmpty && calls(place, "ADD").count == calls(place, "DEL").count, "\(place.log)")
    }

    @Test func whatFailsIsToldAndUndone() async throws {
      let place = try await Place()
      try Files.writeAtomically([], to: place.path + "/fail-ADD-second")
      let error = await #expect(throws: ExecutorError.self) { _ = try await place.open() }
      #expect(error?.message.contains("the network plugin \"second\" failed (ADD): it cannot: today") == true, "\(String(describing: error))")
      #expect(place.log.map { $0.split(separator: " ")[0...1].joined(separator: " ") } == ["ADD first", "ADD second", "DEL second", "DEL first"] && place.records.isEmpty, "\(place.log)")
      let lacking = try await Place(#"[{"type":"third"}]"#)
      let missing = await #expect(throws: ExecutorError.self) { _ = try await lacking.open() }
      #expect(missing?.message.contains("\"third\" is not in \(lacking.path)/none or \(lacking.path)/bin") == true && missing?.message.contains("containernetworking-plugins") == true)
      let nothing = await #expect(throws: ExecutorError.self) { _ = try await StepNetworks.open(.init(mode: .file("/no/such"), directories: [], poolSize: 0, records: place.path + "/net")) }
      #expect(nothing?.message.contains("/no/such") == true)
    }

    @Test func whatAKilledProcessLeftIsUndone() async throws {
      let place = try await Place()
      try Files.makeDirectories(place.path + "/net")
      func record(_ pid: Int32, _ start: UInt64) -> [UInt8] {
        let here = ProcessIdentity.current
        let json: JSONValue = [
          "pid": .int(pid), "startTime": .int(start), "bootID": .string(here.bootID), "pidNamespace": .int(here.pidNamespace), "hostname": "", "result": ["was": "it"],
          "configuration": ["cniVersion": "1.0.0", "name": "old", "plugins": [["type": "first"], ["type": "second"]]], "directories": [.string(place.path + "/bin")],
        ]
        return json.encoded()
      }
      let dead = String(repeating: "d", count: 25), alive = String(repeating: "a", count: 25), torn = String(repeating: "t", count: 25)
      try Files.writeAtomically(record(Int32.max, 1), to: "\(place.path)/net/\(dead)")
      try Files.writeAtomically(record(getpid(), ProcessIdentity.current.startTime), to: "\(place.path)/net/\(alive)")
      try Files.writeAtomically(Array("{".utf8), to: "\(place.path)/net/\(torn)")
      let networks = try await place.open()
      await networks.close()
      let old = place.log.filter { $0.contains(dead) }
      #expect(old.count == 2 && old[0].hasPrefix("DEL second \(dead)  eth0") && old[1].hasPrefix("DEL first") && old.allSatisfy { $0.contains(#""prevResult":{"was":"it"}"#) && $0.contains("\"old\"") }, "\(place.log)")
      #expect(place.records == [alive])
    }

    /// With Debian's own plugins: addresses, a bridge, masquerading.
    @Test(.enabled(if: debianPlugins, "needs Debian's containernetworking-plugins and iptables")) func aBridgeOfOurOwn() async throws {
      let place = try await Place()
      let name = "mfdtest\(getpid() % 100_000)"
      let options = StepNetworks.Options(mode: .bridge(name: name, subnet: "10.213.57.0/24"), directories: ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"], poolSize: 0, records: place.path + "/net")
      let networks: StepNetworks
      do { networks = try await StepNetworks.open(options) } catch let error as ExecutorError {
        // A kernel without tables for masquerading, as in some containers.
        print("StepNetworkTests: SKIPPING the bridge: \(error)")
        return
      }
      let executor = try place.executor(networks)
      let said = try await place.shell(executor, "ip -o addr show eth0; ip route; ip -o link show lo; ping -c 1 -W 5 10.213.57.1 > /dev/null && echo reached")
      #expect(said.contains("10.213.57.") && said.contains("default via 10.213.57.1") && said.contains("LOOPBACK,UP") && said.contains("reached"), "\(said)")
      #expect(Files.exists("/sys/class/net/\(name)/bridge"))
      await networks.close()
      #expect(!Files.exists("/sys/class/net/" + name) && place.records.isEmpty)
    }

    static let debianPlugins: Bool = {
      let found = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"].contains { folder in ["bridge", "host-local", "firewall"].allSatisfy { Files.exists("\(folder)/\($0)") } }
      let isThere = found && Processes.executablePath("iptables") != nil
      if !isThere { print("StepNetworkTests: SKIPPING the bridge: containernetworking-plugins or iptables are not installed") }
      return isThere
    }()
  }
#endif
