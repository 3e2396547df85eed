import BuildInterface
import HostOS
import OCIModel
import Testing

@testable import ManifoldCommands

/// What buildx makes of -o, --push, --load and -t (util/buildflags/export.go, build/opt.go, commands/build.go).
@Suite struct OutputTests {
  let scratch: Scratch
  init() throws {
    scratch = try Scratch()
    try scratch.file("Dockerfile")
  }

  @Test func specs() throws {
    let table: [(String, OutputSpec)] = [
      ("out", OutputSpec(type: "local", destination: "out")), ("-", OutputSpec(type: "tar", destination: "-")),
      ("a=b", OutputSpec(type: "local", destination: "a=b")),
      ("type=local,dest=./x", OutputSpec(type: "local", destination: "./x")),
      ("type=image,name=a,push=true", OutputSpec(type: "image", attributes: ["name": "a", "push": "true"])),
      ("type=image,\"name=a,b\", Compression=zstd", OutputSpec(type: "image", attributes: ["name": "a,b", "compression": "zstd"])),
      ("dest=x,type=oci,annotation.a=b=c", OutputSpec(type: "oci", attributes: ["annotation.a": "b=c"], destination: "x")),
    ]
    for (text, expected) in table { #expect(try OutputSpec(parsing: text) == expected, "\(text)") }
  }

  static let exports: [(options: [String], expected: [ExportRequest])] = [
    ([], []),
    (["-t", "a"], [ExportRequest(type: "image", attributes: ["name": "a"], id: "0")]),
    (["-t", "a", "-tb:1"], [ExportRequest(type: "image", attributes: ["name": "a,b:1"], id: "0")]),
    (["-t", "a", "--push"], [ExportRequest(type: "image", attributes: ["name": "a", "push": "true", "unpack": "false"], id: "0")]),
    (
      ["-t", "a", "--push=true", "-o", "type=image,unpack=true"],
      [ExportRequest(type: "image", attributes: ["name": "a", "push": "true", "unpack": "true"], id: "0")]
    ),
    (["-o", "type=registry,name=a"], [ExportRequest(type: "image", attributes: ["name": "a", "push": "true", "unpack": "false"], id: "0")]),
    (["--load"], [ExportRequest(type: "image", id: "0"), ExportRequest(type: "docker", id: "1")]),
    (["--load", "-t", "a"], [ExportRequest(type: "image", attributes: ["name": "a"], id: "0"), ExportRequest(type: "docker", attributes: ["name": "a"], id: "1")]),
    (
      ["--load", "--push", "-t", "a"],
      [
        ExportRequest(type: "image", attributes: ["name": "a", "push": "true", "unpack": "false", "store": "true"], id: "0"),
        ExportRequest(type: "docker", attributes: ["name": "a"], id: "1"),
      ]
    ),
    (["-o", "type=docker,context=far", "-t", "a"], [ExportRequest(type: "docker", attributes: ["name": "a"], id: "0")]),
    (
      ["-t", "a", "--annotation", "k=v=w", "--annotation", "index,manifest[linux/arm64]:x:y=", "-o", "out", "--push"],
      [
        ExportRequest(type: "local", id: "0"),
        ExportRequest(
          type: "image", attributes: ["name": "a", "push": "true", "unpack": "false", "annotation.k": "v=w", "annotation-index.x:y": "", "annotation-manifest[linux/arm64].x:y": ""], id: "1"),
      ]
    ),
    (["-o", "type=registry,name=reg:5/a,registry.insecure=true"], [ExportRequest(type: "image", attributes: ["name": "reg:5/a", "push": "true", "unpack": "false"], id: "0")]),
    (["-o", "out", "-t", "a"], [ExportRequest(type: "local", id: "0")]),
    (
      ["-o", "type=oci,dest=x.tar", "-o", "out", "-t", "a", "--push"],
      [
        ExportRequest(type: "oci", attributes: ["name": "a"], id: "0"), ExportRequest(type: "local", id: "1"),
        ExportRequest(type: "image", attributes: ["name": "a", "push": "true", "unpack": "false"], id: "2"),
      ]
    ),
    (["-o", "type=cacheonly", "-t", "a"], []),
  ]

  @Test(arguments: exports.indices) func requests(_ index: Int) throws {
    let (options, expected) = Self.exports[index]
    #expect(try plan(options + ["."], in: scratch).request.exports == expected)
  }

  @Test func targets() throws {
    let targets = try plan(
      ["-o", "out", "-o", "type=oci,dest=a/x.tar", "-o", "type=oci,tar=false,dest=layout", "-o", "-", "-o", "type=docker,dest=/d.tar", "."], in: scratch
    ).client.exports
    func path(_ id: String) -> String {
      switch targets[id] {
      case .directory(let path): "directory \(path)"
      case .file(let path): "file \(path)"
      case .descriptor(let number): "descriptor \(number)"
      case .remote: "remote"
      case nil: "none"
      }
    }
    #expect(
      (0...4).map { path("\($0)") } == [
        "directory \(scratch.path)/out", "file \(scratch.path)/a/x.tar", "directory \(scratch.path)/layout", "descriptor 1", "file /d.tar",
      ])
    #expect(failure { _ = try plan(["-o", "-", "."], in: scratch, terminal: true) }?.message.contains("terminal") == true)
  }

  @Test func loads() throws {
    #expect(try plan(["-o", "type=docker,context=far", "."], in: scratch).loads == [DockerLoad(id: "0", context: "far", isRequired: true)])
    #expect(try plan(["--load", "-t", "a", "."], in: scratch).loads == [DockerLoad(id: "1", context: nil, isRequired: false)])
    #expect(try plan(["--load", "-o", "type=docker", "."], in: scratch).loads == [DockerLoad(id: "0", context: nil, isRequired: true)])
    #expect(try plan(["-o", "type=docker,dest=x.tar", "."], in: scratch).loads.isEmpty)
    #expect(try plan(["-o", "type=registry,name=reg:5/a,registry.insecure=true", "."], in: scratch).settings.insecureRegistries == ["reg:5"])
  }

  @Test func annotationsThatAreNone() {
    for (text, says) in [("x", "expected key=value"), ("=v", "the key is empty"), ("index:=v", "the key is empty"), ("idx:a=v", "no annotation type"), ("manifest[x/y/z/w]:a=v", "x/y/z/w"), ("manifest[linux/amd64:a=v", "brackets")] {
      #expect(failure { _ = try plan(["--annotation", text, "."], in: scratch) }?.message.contains(says) == true, "\(text)")
    }
  }

  @Test func misspeltTypeIsGuessed() {
    #expect(failure { _ = try plan(["-o", "type=regsitry", "."], in: scratch) }?.suggestion?.hasPrefix("Did you mean registry?") == true)
  }
}
