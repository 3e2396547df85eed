import BuildDaemon
import BuildInterface
import BuildKitProto
import OCIModel
import Testing

@Suite struct TranslationTests {
  typealias Wire = Moby_Buildkit_V1_SolveRequest

  @Test func olderFieldsMeanWhatTheyMeant() throws {
    var wire = Wire()
    wire.ref = "r"
    wire.frontend = "gateway.v0"
    wire.frontendAttrs = ["source": "dockerfile.v0", "filename": "f", "build-arg:SOURCE_DATE_EPOCH": "7", "attest:provenance": "mode=max"]
    wire.exporterDeprecated = "image"
    wire.exporterAttrsDeprecated = ["name": "n"]
    wire.cache.exportRefDeprecated = "r/c"
    wire.cache.exportAttrsDeprecated = ["mode": "max"]
    wire.cache.importRefsDeprecated = ["r/a", "r/b"]
    wire.internal = true
    let request = try SolveTranslation.request(wire, allowed: [])
    #expect(request.frontend == "dockerfile.v0" && request.frontendAttributes["source"] == nil && request.frontendAttributes["attest:provenance"] == "mode=max")
    #expect(request.exports == [ExportRequest(type: "image", attributes: ["name": "n", "source-date-epoch": "7"], id: "0")])
    #expect(request.cacheExports == [CacheOption(type: "registry", attributes: ["mode": "max", "ref": "r/c"])])
    #expect(request.cacheImports == ["r/a", "r/b"].map { CacheOption(type: "registry", attributes: ["ref": $0]) })
    #expect(request.isInternal && request.definition == nil)
  }

  @Test func severalExportersAreNumbered() throws {
    var wire = Wire()
    wire.exporterDeprecated = "image"
    wire.exporters = ["image", "oci", "local"].map { type in
      var one = Moby_Buildkit_V1_Exporter()
      one.type = type
      return one
    }
    let request = try SolveTranslation.request(wire, allowed: [])
    #expect(request.exports.map(\.type) == ["image", "oci", "local"] && request.exports.map(\.id) == ["0", "1", "2"])
  }

  static func wrong(_ change: (inout Wire) -> Void) -> Wire {
    var wire = Wire()
    change(&wire)
    return wire
  }
  static func cache(_ type: String, _ attributes: [String: String]) -> Moby_Buildkit_V1_CacheOptionsEntry {
    var out = Moby_Buildkit_V1_CacheOptionsEntry()
    (out.type, out.attrs) = (type, attributes)
    return out
  }

  @Test func whatIsWrongIsSaidInBuildKitsWords() {
    let table: [(Wire, String)] = [
      (Self.wrong { $0.compatibilityVersion = 40 }, "unsupported compatibility-version 40: upgrade the daemon (max supported: 30)"),
      (Self.wrong { $0.compatibilityVersion = 11 }, "unsupported compatibility-version 11 (supported: 10 20 30)"),
      (Self.wrong { $0.cache.exports = [Self.cache("registry", ["ref": "a"]), Self.cache("registry", ["ref": "a", "mode": "max"])] }, "duplicate cache exports [registry]"),
      (Self.wrong { $0.entitlements = ["network.host"] }, "granting entitlement network.host is not allowed by build daemon configuration"),
      (Self.wrong { $0.entitlements = ["everything"] }, "unknown entitlement everything"),
      (Self.wrong { $0.proxyNetwork = true }, "builds with an enforced proxy network (proxy-network) are not supported here"),
    ]
    for (wire, message) in table {
      let error = #expect(throws: BuildError.self) { try SolveTranslation.request(wire, allowed: ["security.insecure"]) }
      #expect(error?.message == message)
    }
  }

  @Test func allowedEntitlementsPass() throws {
    var wire = Wire()
    wire.entitlements = ["security.insecure", "device=vendor.com/class=x"]
    wire.cache.exports = [Self.cache("inline", [:]), Self.cache("inline", [:])]
    let request = try SolveTranslation.request(wire, allowed: ["security.insecure", "device"])
    #expect(request.entitlements == ["security.insecure", "device=vendor.com/class=x"])
    #expect(request.cacheExports.count == 1)
  }

  @Test func filtersAreContainerds() throws {
    func record(_ id: String, _ type: String, mutable: Bool = false) -> UsageRecord { UsageRecord(id: id, type: type, mutable: mutable) }
    let records = [record("a1", "regular"), record("a2", "source.local", mutable: true), record("b1", "exec.cachemount")]
    let table: [([String], [String])] = [
      ([], ["a1", "a2", "b1"]), ([""], ["a1", "a2", "b1"]), (["id~=^a"], ["a1", "a2"]), (["id~=/^a/,mutable"], ["a2"]), (["type==regular", "type==exec.cachemount"], ["a1", "b1"]),
      (["type!=regular,immutable"], ["b1"]), (["id==\"a1\""], ["a1"]), (["type==regular", ""], ["a1", "a2", "b1"]),
    ]
    for (texts, ids) in table {
      let filter = try RecordFilter.usage(texts)
      #expect(records.filter(filter.matches).map(\.id) == ids, "\(texts)")
    }
    for text in ["==x", "id=x", "id==a,", "id==\"a", "nothing==x", "id~=(", ",id"] { #expect(throws: BuildError.self, "\(text)") { try RecordFilter.usage([text]) } }
    let labels = try RecordFilter.parse(["labels.\"a.b\"==c", "id==x"])
    #expect(labels.contains { $0.matches { $0 == "labels.a.b" ? "c" : nil } })
    #expect(!labels.contains { $0.matches { _ in nil } })
  }

  @Test func addressesAreRead() throws {
    let table: [(String, ListenAddress, Bool)] = [
      ("unix:///run/x.sock", .unix(path: "/run/x.sock"), true), ("tcp://127.0.0.1:1234", .tcp(host: "127.0.0.1", port: 1234), true), ("tcp://localhost:0", .tcp(host: "localhost", port: 0), true),
      ("tcp://[::1]:1", .tcp(host: "::1", port: 1), true), ("tcp://0.0.0.0:1234", .tcp(host: "0.0.0.0", port: 1234), false), ("tcp://:1234", .tcp(host: "", port: 1234), false),
      ("tcp://127.0.0.1.example.com:1", .tcp(host: "127.0.0.1.example.com", port: 1), false), ("tcp://[::]:1", .tcp(host: "::", port: 1), false), ("fd://", .inherited(""), true),
      ("fd://name", .inherited("name"), true),
    ]
    for (text, address, isLoopback) in table {
      let read = try ListenAddress(text)
      #expect(read == address && read.isLoopback == isLoopback && (text == "\(read)"))
    }
    for text in ["/run/x.sock", "unix://x.sock", "tcp://1.2.3.4", "tcp://::1:5", "tcp://h:99999", "npipe:////./pipe/x", "unix:///" + String(repeating: "x", count: 120)] {
      #expect(throws: DaemonError.self, "\(text)") { try ListenAddress(text) }
    }
  }
}
