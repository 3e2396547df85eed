// swift-tools-version: 6.1
import PackageDescription

// The targets and who may import whom: the table of ARCHITECTURE.md ("The parts"). `make lint` and the test run compare the two.
// MANIFOLD_ONLY=A,B keeps only those targets, what they need and their tests: a short loop while working on one part.

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let http = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let grpcCore = Target.Dependency.product(name: "GRPCCore", package: "grpc-swift-2")
let grpcTransport = Target.Dependency.product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport")
let grpcProtobuf = Target.Dependency.product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")

struct Part {
  enum Kind { case library, executable, c, systemLibrary(pkgConfig: String, apt: [String]) }
  var name: String
  var kind: Kind
  var own: [String]
  var external: [Target.Dependency]
  init(_ name: String, _ kind: Kind = .library, own: [String] = [], external: [Target.Dependency] = []) {
    (self.name, self.kind, self.own, self.external) = (name, kind, own, external)
  }
}

/// MANIFOLD_FUZZ=1 (Scripts/fuzz sets it): only FuzzProgram and what it needs, all of ours instrumented for libFuzzer and the address sanitizer.
let fuzzes = Context.environment["MANIFOLD_FUZZ"] == "1"

var parts: [Part] = [
  // Pure: no I/O
  Part("OCIModel", external: [crypto]),
  Part("PathPatterns"),
  Part("GoTemplate"),
  Part("Binaries", own: ["OCIModel"]),
  Part("DockerfileSyntax"),
  Part("BuildProgress", own: ["OCIModel"]),
  Part("BuildKitProto", external: [protobuf]),
  Part("LLB", own: ["BuildKitProto", "OCIModel"], external: [protobuf]),
  Part("BuildInterface", own: ["OCIModel", "BuildProgress", "LLB", "BuildKitProto"], external: [protobuf]),
  // System
  Part("CHostOS", .c),
  Part("CNetwork", .c),
  Part("HostOS", own: ["CHostOS"], external: [system, nioPosix, nioCore, subprocess]),
  Part("CLibdeflate", .systemLibrary(pkgConfig: "libdeflate", apt: ["libdeflate-dev"])),
  Part("CZstd", .systemLibrary(pkgConfig: "libzstd", apt: ["libzstd-dev"])),
  Part("CIsal", .systemLibrary(pkgConfig: "libisal", apt: ["libisal-dev"])),
  Part("LayerArchive", own: ["OCIModel", "HostOS", "CHostOS", "CLibdeflate", "CZstd", "CIsal"]),
  Part("ContentStore", own: ["OCIModel", "HostOS"], external: [grdb]),
  Part("OCIRegistry", own: ["OCIModel", "ContentStore", "HostOS"], external: [http, nioCore, nioPosix, nioHTTP1, nioSSL]),
  Part("ImageStores", own: ["OCIModel", "ContentStore", "OCIRegistry", "HostOS"], external: [nioCore]),
  Part("ImageTools", own: ["OCIModel", "HostOS", "LayerArchive", "ContentStore", "OCIRegistry", "ImageStores"], external: [nioCore]),
  Part("BuildkitdConfig", own: ["OCIModel", "HostOS", "OCIRegistry"], external: [toml]),
  Part("DockerEngine", own: ["OCIModel", "HostOS"], external: [http, nioCore, nioPosix, nioHTTP1, nioSSL]),
  Part("ImageChecks", own: ["OCIModel", "OCIRegistry", "ContentStore", "ImageStores", "LayerArchive", "Binaries", "HostOS"], external: [nioCore]),
  // Engine
  Part("BuildSolver", own: ["OCIModel", "BuildProgress"]),
  Part("BuildSnapshots", own: ["HostOS", "LayerArchive", "ContentStore", "OCIModel"], external: [grdb]),
  Part("DockerfileFrontend", own: ["DockerfileSyntax", "PathPatterns", "LLB", "BuildKitProto", "BuildInterface", "BuildProgress", "OCIModel"]),
  Part("BuildExecutor", own: ["CHostOS", "CNetwork", "HostOS", "OCIModel", "Binaries"]),
  Part(
    "BuildEngine",
    own: [
      "OCIModel", "PathPatterns", "Binaries", "DockerfileSyntax", "BuildKitProto", "LLB", "BuildInterface", "BuildProgress", "HostOS", "LayerArchive", "ContentStore",
      "OCIRegistry", "BuildSolver", "DockerfileFrontend", "BuildSnapshots", "BuildExecutor", "BuildOutputs",
    ], external: [protobuf, grdb, http, nioCore, nioHTTP1]),
  Part(
    "EmbeddedBackend",
    own: [
      "OCIModel", "BuildEngine", "BuildInterface", "BuildProgress", "BuildkitdConfig", "OCIRegistry", "HostOS", "ContentStore", "BuildSnapshots", "BuildExecutor",
    ]),
  // Wire
  Part("BuildKitAPI", own: ["BuildKitProto", "BuildInterface", "OCIModel"], external: [grpcCore, grpcProtobuf, protobuf]),
  Part(
    "BuildSession", own: ["BuildKitAPI", "BuildKitProto", "BuildInterface", "PathPatterns", "OCIRegistry", "OCIModel", "HostOS", "ContentStore"],
    external: [grpcCore, grpcTransport, grpcProtobuf, protobuf, nioCore, nioPosix, crypto]),
  Part(
    "BuildDaemon",
    own: [
      "BuildKitAPI", "BuildKitProto", "BuildSession", "BuildInterface", "BuildProgress", "BuildkitdConfig", "EmbeddedBackend", "BuildEngine", "LLB", "OCIModel", "OCIRegistry", "HostOS", "ContentStore",
    ], external: [grpcCore, grpcTransport, protobuf, nioCore, nioPosix, nioSSL, logging]),
  // For tests alone
  Part("TestSupport", own: ["OCIModel"], external: [nioCore, nioPosix, nioHTTP1]),
  Part("BuildOutputs", own: ["BuildInterface", "BuildProgress", "BuildSnapshots", "BuildSolver", "ContentStore", "HostOS", "LayerArchive", "OCIModel", "OCIRegistry"]),
  Part(
    "FuzzTargets",
    own: [
      "OCIModel", "PathPatterns", "Binaries", "DockerfileSyntax", "BuildProgress", "BuildKitProto", "BuildInterface", "LLB", "HostOS", "LayerArchive", "OCIRegistry", "ImageChecks", "BuildExecutor",
      "DockerfileFrontend",
    ]),
  // User
  Part("ManifoldCommands", own: ["OCIModel", "BuildkitdConfig", "PathPatterns", "DockerfileSyntax", "GoTemplate", "BuildProgress", "LLB", "BuildInterface", "HostOS", "LayerArchive", "ContentStore", "OCIRegistry", "ImageStores", "ImageTools", "ImageChecks", "DockerEngine"], external: [arguments, nioCore]),
  Part("manifold", .executable, own: ["BuildDaemon", "BuildEngine", "BuildInterface", "BuildKitAPI", "BuildkitdConfig", "EmbeddedBackend", "HostOS", "ManifoldCommands"]),
] + (fuzzes ? [Part("FuzzProgram", .executable, own: ["FuzzTargets"])] : [])

/// The test targets: `Tests/<name>Tests`, for the target of that name. `golden` has a folder of expected results. A suite of no target's own says in
/// `own` what it imports (IntegrationTests: the built program and real servers).
struct Suite {
  var name: String
  var own: [String]
  var external: [Target.Dependency]
  var golden: Bool
  var support: Bool
  init(_ name: String, own: [String] = [], external: [Target.Dependency] = [], golden: Bool = false, support: Bool = false) {
    (self.name, self.own, self.external, self.golden, self.support) = (name, own, external, golden, support)
  }
}

let suites = [
  Suite("Binaries"),
  Suite("BuildEngine", external: [protobuf], golden: true),
  Suite("BuildExecutor"),
  Suite("BuildInterface"),
  Suite("BuildkitdConfig"),
  Suite("BuildKitAPI", external: [grpcCore, protobuf]),
  Suite("BuildSession", external: [grpcCore, grpcTransport, grpcProtobuf, protobuf, nioCore, nioPosix]),
  Suite("BuildDaemon", external: [grpcCore, grpcTransport, protobuf, nioCore, nioPosix]),
  Suite("BuildOutputs", golden: true, support: true),
  Suite("BuildProgress", golden: true),
  Suite("BuildSnapshots", external: [grdb]),
  Suite("BuildSolver", golden: true),
  Suite("ContentStore", external: [grdb]),
  Suite("DockerEngine", external: [nioCore, nioPosix, nioHTTP1]),
  Suite("DockerfileFrontend", golden: true),
  Suite("DockerfileSyntax", golden: true),
  Suite("FuzzTargets"),
  Suite("GoTemplate", own: ["GoTemplate", "OCIModel"], golden: true),
  Suite("HostOS"),
  Suite("ImageStores", external: [nioCore], support: true),
  Suite("ImageChecks", external: [nioCore]),
  Suite("ImageTools", support: true),
  Suite("Integration", own: ["HostOS", "OCIModel", "LayerArchive", "TestSupport"], golden: true),
  Suite("LayerArchive", golden: true),
  Suite("LLB", external: [protobuf], golden: true),
  Suite("ManifoldCommands", external: [arguments], golden: true),
  Suite("OCIModel", golden: true),
  Suite("OCIRegistry", own: ["OCIRegistry", "ImageStores"], external: [nioCore, nioPosix, nioHTTP1], support: true),
  Suite("PathPatterns", golden: true),
]

/// Micro-benchmarks, of no build but `make bench`'s.
if Context.environment["MANIFOLD_BENCH"] != nil {
  parts.append(Part("manifold-bench", .executable, own: ["OCIModel", "DockerfileSyntax", "LayerArchive", "HostOS", "BuildProgress", "BuildSolver"]))
}

var keep = Set(parts.map(\.name))
let only = fuzzes ? ["FuzzProgram"] : Set((Context.environment["MANIFOLD_ONLY"] ?? "").split(separator: ",").map(String.init))
if !only.isEmpty {
  keep = []
  var queue = Array(only) + suites.filter { only.contains($0.name) }.flatMap(\.own) + (suites.contains { $0.support && only.contains($0.name) } ? ["TestSupport"] : [])
  while let name = queue.popLast() {
    if keep.insert(name).inserted, let part = parts.first(where: { $0.name == name }) { queue += part.own }
  }
}

// The address sanitizer itself comes by Scripts/fuzz, for what others have written too.
let sanitized: [SwiftSetting] = fuzzes ? [.unsafeFlags(["-sanitize-coverage=edge,indirect-calls,trace-cmp,inline-8bit-counters,pc-table"])] : []
var targets: [Target] = []
for part in parts where keep.contains(part.name) {
  let dependencies = part.own.map { Target.Dependency.target(name: $0) } + part.external
  switch part.kind {
  case .library:
    targets.append(.target(name: part.name, dependencies: dependencies, swiftSettings: strict + sanitized))
  case .executable:
    let path = part.name == "manifold-bench" ? "Benchmarks/manifold-bench" : nil
    targets.append(.executableTarget(name: part.name, dependencies: dependencies, path: path, swiftSettings: strict))
  case .c:
    targets.append(.target(name: part.name, dependencies: dependencies, cSettings: [.define("_GNU_SOURCE")]))
  case .systemLibrary(let pkgConfig, let apt):
    targets.append(.systemLibrary(name: part.name, pkgConfig: pkgConfig, providers: [.apt(apt)]))
  }
}
for suite in suites where only.isEmpty || only.contains(suite.name) {
  let own = (suite.own.isEmpty ? [suite.name] : suite.own) + (suite.support ? ["TestSupport"] : []) + (parts.first { $0.name == suite.name }?.own ?? []).filter { name in
    parts.contains { part in part.name == name && { if case .systemLibrary = part.kind { false } else { true } }() }
  }
  targets.append(
    .testTarget(
      name: suite.name + "Tests", dependencies: own.map { .target(name: $0) } + suite.external, exclude: suite.golden ? ["Golden"] : [], swiftSettings: strict))
}

/// What other packages can import: libraries with contracts of their own.
let libraries = ["OCIModel", "PathPatterns", "GoTemplate", "DockerfileSyntax", "LLB", "OCIRegistry"]
var products: [Product] = libraries.filter(keep.contains).map { .library(name: $0, targets: [$0]) }
if keep.contains("manifold") { products.append(.executable(name: "manifold", targets: ["manifold"])) }

let package = Package(
  name: "manifold",
  platforms: [.macOS(.v15)],
  products: products,
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.0"),
    .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.0"),
    .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.0"),
  ],
  targets: targets,
  swiftLanguageModes: [.v6]
)
