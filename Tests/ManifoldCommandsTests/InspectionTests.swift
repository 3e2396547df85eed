import ArgumentParser
import GoTemplate
import HostOS
import ImageStores
import OCIModel
import OCIRegistry
import Testing

@testable import ManifoldCommands

/// `Golden/NAME.raw` is a document as a registry had it; `.txt` and `.json` are what docker buildx imagetools inspect printed of it, without a
/// format and with `{{json .Manifest}}`.
@Suite struct InspectionTests {
  private static let folder = String(#filePath.prefix(upTo: #filePath.lastIndex(of: "/") ?? #filePath.endIndex)) + "/Golden/"

  private func inspection(_ name: String) throws -> ImageInspection {
    let bytes = try Files.read(Self.folder + name + ".raw", limit: 1 << 20)
    let type = try #require(try JSONValue(parsing: bytes)["mediaType"]?.stringValue)
    let location = try ImageLocation(parsing: "127.0.0.1:5917/me/a:\(name)")
    return try ImageInspection(
      name: location.fullDescription, location: location, manifest: FetchedManifest(descriptor: Descriptor(mediaType: MediaType(type), of: bytes), bytes: bytes))
  }

  @Test(arguments: ["plain", "latest", "win", "single", "dsingle", "list", "empty"]) func asBuildxPrintsIt(_ name: String) throws {
    let inspection = try inspection(name)
    #expect(inspection.summary == Files.text(Self.folder + name + ".txt"))
    func text(_ format: String) throws -> String {
      try GoTemplate(format, functions: ["json": TemplateFunction(1...1) { .string($0[0].indentedJSON) }]).execute(InspectedImages(images: []).templateValue(inspection))
    }
    // buildx could not load the image of `win` for a template: its layers point elsewhere.
    if name != "win" { #expect(try text("{{json .Manifest}}") == Files.text(Self.folder + name + ".json")) }
    #expect(try text("{{.Manifest.Digest}} {{.Manifest.MediaType}}") == "\(inspection.manifest.descriptor.digest) \(inspection.manifest.descriptor.mediaType)")
    #expect(try text("{{.Name}}") == "127.0.0.1:5917/me/a:\(name)")
  }

  @Test func wholeManifest() {
    for (text, expected) in [
      ("{{.Manifest}}", true), ("  {{ .Manifest }}\n", true), ("{{json .Manifest}}", false), ("{{.Manifest.Digest}}", false), ("{{}}", false), ("{}", false), ("", false),
      ("{{.Mani fest}}", false), ("x{{.Manifest}}", false),
    ] { #expect(ImageInspection.isWholeManifest(text) == expected, "\(text)") }
  }

  @Test func imagesOfTemplates() throws {
    let config = try JSONValue(parsing: #"{"architecture":"arm64","os":"linux","config":{"Cmd":["a","b"],"Labels":{"k":"<v>"}},"rootfs":{"type":"layers","diff_ids":["sha256:1"]},"unknown":1}"#)
    func images(_ platforms: [String], provenance: JSONValue? = nil) -> InspectedImages {
      InspectedImages(images: platforms.map { InspectedImages.Image(platform: $0, config: config, provenance: provenance) })
    }
    let inspection = try inspection("latest")
    let cases: [(String, InspectedImages, String)] = [
      ("{{.Image.Config.Cmd}} {{.Image.OS}}/{{.Image.Architecture}}", images(["linux/arm64"]), "[a b] linux/arm64"),
      ("{{json .Image}}", images(["linux/arm64"]), #"{"architecture":"arm64","os":"linux","config":{"Cmd":["a","b"],"Labels":{"k":"<v>"}},"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#),
      (#"{{range $p, $i := .Image}}{{$p}} {{end}}{{(index .Image "linux/arm64").Config.Cmd}}"#, images(["linux/amd64", "linux/arm64"]), "linux/amd64 linux/arm64 [a b]"),
      ("{{json .Provenance}} {{json .SBOM}}", images(["linux/arm64"]), "{} {}"),
      ("{{json .Provenance}} {{json .SBOM}}", images(["linux/amd64", "linux/arm64"]), "{} {}"),
      ("{{json .Provenance.SLSA}}", images(["linux/arm64"], provenance: ["buildType": "x"]), #"{"buildType":"x"}"#),
      (#"{{range $p, $v := .Provenance}}{{$p}}={{$v.SLSA.buildType}} {{end}}"#, images(["linux/amd64", "linux/arm64"], provenance: ["buildType": "x"]), "linux/amd64=x linux/arm64=x "),
    ]
    for (template, images, expected) in cases { #expect(try GoTemplate(template).execute(images.templateValue(inspection)) == expected, "\(template)") }
  }

  @Test func commandLine() {
    for wrong in [["--raw", "--format", "{{.Name}}", "a"], ["oci-layout://x", "a"], ["oci-layout://"], ["local:"], ["UPPER"], ["--format", "{{json .", "a"], []] {
      #expect(throws: (any Error).self, "\(wrong)") { try Manifold.parseAsRoot(["imagetools", "inspect"] + wrong) }
    }
  }
}
