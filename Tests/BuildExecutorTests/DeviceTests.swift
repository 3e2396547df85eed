#if os(Linux)
  import HostOS
  import OCIModel
  import Synchronization
  import Testing

  @testable import BuildExecutor

  final class Collected: Sendable {
    private let bytes = Mutex<[UInt8]>([])
    func add(_ more: [UInt8]) { bytes.withLock { $0 += more } }
    var text: String { bytes.withLock { String(decoding: $0, as: UTF8.self) } }
  }

  @Suite struct DeviceSpecTests {
    private func folder(_ files: [String: String]) throws -> String {
      let path = try Files.makeTemporaryDirectory(in: Fixture.own, prefix: "cdi-")
      for (name, text) in files { try Files.writeAtomically(Array(text.utf8), to: "\(path)/\(name)") }
      return path
    }

    static func spec(_ kind: String, _ devices: String, more: String = "") -> String { #"{"cdiVersion":"0.6.0","kind":"\#(kind)"\#(more),"devices":[\#(devices)]}"# }

    @Test func devicesAreFoundAsBuildKitDoes() throws {
      let low = try folder([
        "a.json": Self.spec("v/c", #"{"name":"one","containerEdits":{"env":["A=low"]}},{"name":"two","annotations":{"org.mobyproject.buildkit.device.class":"v/fast"}}"#, more: #","containerEdits":{"env":["COMMON=1"]}"#),
        "b.json": Self.spec("x/y", #"{"name":"z","annotations":{"org.mobyproject.buildkit.device.autoallow":"true"}}"#),
        "c.yaml": "cdiVersion: 0.6.0\n", "d.txt": "no", "broken.json": "{",
      ])
      let high = try folder(["a.json": Self.spec("v/c", #"{"name":"one","containerEdits":{"env":["A=high"]}}"#)])
      let specs = DeviceSpecs(directories: [low, "/no/such", high], autoAllowed: ["v/c=two"])
      #expect(specs.devices.map(\.name) == ["v/c=one", "v/c=two", "x/y=z"])
      #expect(specs.devices.map(\.isAutoAllowed) == [false, true, true])
      #expect(specs.problems.count == 2 && specs.problems.contains { $0.contains("c.yaml") && $0.contains("JSON alone") }, "\(specs.problems)")
      func names(_ requests: String...) throws -> [String] { try specs.find(requests.map { DeviceRequest($0) }).map(\.name) }
      #expect(try names("v/c") == ["v/c=one"] && names("v/c=*") == ["v/c=one", "v/c=two"] && names("v/c=two", "v/c=*") == ["v/c=two", "v/c=one"] && names("v/fast") == ["v/c=two"])
      #expect(try specs.find([DeviceRequest("v/c=three", isOptional: true)]).isEmpty)
      let error = #expect(throws: ExecutorError.self) { try names("v/c=three") }
      #expect(error?.message.contains("required device \"v/c=three\" is not registered; there are v/c=one") == true)
      #expect(specs.edits(for: try specs.find([DeviceRequest("v/c=one"), DeviceRequest("v/c=two")])).environment == ["A=high", "COMMON=1"])
    }

    @Test func conflictsCountForNeither() throws {
      let both = try folder(["a.json": Self.spec("v/c", #"{"name":"one"}"#), "b.json": Self.spec("v/c", #"{"name":"one"},{"name":"two"}"#)])
      let specs = DeviceSpecs(directories: [both], autoAllowed: [])
      #expect(specs.devices.map(\.name) == ["v/c=two"] && specs.problems.count == 1)
    }

    @Test func editsAreTheRuntimesOwn() throws {
      let edits = """
        {"env":["A=b"],"deviceNodes":[{"path":"/dev/null"},{"path":"/dev/own","type":"c","major":1,"minor":5,"fileMode":438,"uid":7,"permissions":"r"}],
        "mounts":[{"hostPath":"/etc","containerPath":"/x","options":["ro","bind"]}],"hooks":[{"hookName":"createRuntime","path":"/bin/true","args":["true"]}],"additionalGids":[44]}
        """
      let document = try DeviceDocument(parsing: Array(Self.spec("v/c", #"{"name":"d","containerEdits":\#(edits)}"#).utf8))
      let made = try #require(document.devices.first?.edits)
      #expect(made.nodes[0] == JSONObject([("path", "/dev/null"), ("type", "c"), ("major", 1), ("minor", 3)]))
      #expect(made.nodes[1] == JSONObject([("path", "/dev/own"), ("type", "c"), ("major", 1), ("minor", 5), ("fileMode", 438), ("uid", 7)]))
      #expect(made.rules[1]["access"] == "r" && made.groups == [44] && made.mounts == [.init(hostPath: "/etc", containerPath: "/x", options: ["ro", "bind"])])
      #expect(made.hooks == [.init(name: "createRuntime", json: ["path": "/bin/true", "args": ["true"]])])
    }

    @Test(arguments: [
      "{}", #"{"cdiVersion":"0.6.0","kind":"v","devices":[{"name":"a"}]}"#, #"{"cdiVersion":"9.0","kind":"v/c","devices":[{"name":"a"}]}"#, #"{"cdiVersion":"0.6.0","kind":"v/c","devices":[]}"#,
      spec("v/c", #"{"name":"a","containerEdits":{"deviceNodes":[{"path":"/no/such"}]}}"#), spec("v/c", #"{"name":"a","containerEdits":{"deviceNodes":[{"path":"/etc"}]}}"#),
      spec("v/c", #"{"name":"a","containerEdits":{"hooks":[{"hookName":"later","path":"/x"}]}}"#), spec("v/c", #"{"name":"a","containerEdits":{"env":["x"]}}"#),
      spec("v/c", #"{"name":"a","containerEdits":{"mounts":[{"hostPath":"etc","containerPath":"/x"}]}}"#), spec("v/c", #"{"name":"a","containerEdits":{"intelRdt":{"closID":"x"}}}"#),
    ]) func refuses(_ text: String) { #expect(throws: (any Error).self) { try DeviceDocument(parsing: Array(text.utf8)) } }

    @Test(.enabled(if: Fixture.canRun, "needs root, an OCI runtime and apt")) func aStepHasItsDevices() async throws {
      let edits = """
        {"env":["DEVICE=mine"],"deviceNodes":[{"path":"/dev/mine","type":"c","major":1,"minor":3}],"mounts":[{"hostPath":"/etc/hostname","containerPath":"/opt/name","options":["ro","nosuid"]}],
        "additionalGids":[44]}
        """
      let specs = try folder(["a.json": Self.spec("v/c", #"{"name":"d","containerEdits":\#(edits)}"#)])
      var configuration = ContainerExecutor.Configuration.fromEnvironment(scratch: specs + "/scratch")
      configuration.deviceDirectories = [specs]
      let executor = try ContainerExecutor(configuration)
      var spec = ProcessSpec(arguments: ["/bin/sh", "-c", "echo x > /dev/mine && echo $DEVICE; test -s /opt/name && echo named; id -G; grep CapEff /proc/self/status"], environment: ["PATH=/bin"])
      spec.devices = [DeviceRequest("v/c=d")]
      let collected = Collected(), root = try await Fixture.writable()
      let exit = try await executor.run(spec, root: root.plan) { output in
        switch output {
        case .standardOutput(let bytes), .standardError(let bytes): collected.add(bytes)
        }
      }
      #expect(exit.code == 0 && collected.text.hasPrefix("mine\nnamed\n0 44\n"), "\(collected.text)")
      // What was made for the mount is gone.
      #expect(try root.upper.statusIfPresent("opt/name") == nil)
      spec.devices = [DeviceRequest("v/c=other")]
      let request = spec
      await #expect { try await executor.run(request, root: try await Fixture.writable().plan) { _ in } } throws: { ($0 as? ExecutorError)?.code == .device }
    }
  }
#endif
