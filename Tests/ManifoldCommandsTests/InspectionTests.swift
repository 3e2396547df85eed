import ArgumentParser
import HostOS
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
    let reference = try Reference(parsing: "127.0.0.1:5917/me/a:\(name)")
    return try ImageInspection(
      name: reference.description, reference: reference, manifest: FetchedManifest(descriptor: Descriptor(mediaType: MediaType(type), of: bytes), bytes: bytes))
  }

  @Test(arguments: ["plain", "latest", "win", "single", "dsingle", "list", "empty"]) func asBuildxPrintsIt(_ name: String) throws {
    let inspection = try inspection(name)
    #expect(inspection.text(.manifest) == Files.text(Self.folder + name + ".txt"))
    // buildx could not load the image of `win` for a template: its layers point elsewhere.
    if name != "win" { #expect(inspection.text(.manifestJSON) == Files.text(Self.folder + name + ".json")) }
    #expect(inspection.text(.digest) == inspection.manifest.descriptor.digest.description)
    #expect(inspection.text(.name) == "127.0.0.1:5917/me/a:\(name)")
  }

  @Test func templates() {
    let table: [(String, ImageInspection.Template?)] = [
      ("{{.Manifest}}", .manifest), ("  {{ .Manifest }}\n", .manifest), ("{{json .Manifest}}", .manifestJSON), ("{{ json  .Manifest }}", .manifestJSON),
      ("{{.Manifest.Digest}}", .digest),
      ("{{.Name}}", .name), ("{{.Manifest.MediaType}}", .mediaType), (" {{.Name}}", nil), ("{{.Image}}", nil), ("{{}}", nil), ("{}", nil), ("", nil),
      ("{{.Mani fest}}", nil),
    ]
    for (text, expected) in table { #expect(ImageInspection.Template(text) == expected, "\(text)") }
  }

  @Test func commandLine() {
    for wrong in [["--raw", "--format", "{{.Name}}", "a"], ["oci-layout://x", "a"], ["oci-layout://x"], ["UPPER"], ["--format", "{{json .}}", "a"], []] {
      #expect(throws: (any Error).self, "\(wrong)") { try Manifold.parseAsRoot(["imagetools", "inspect"] + wrong) }
    }
  }
}
