import ArgumentParser
import GoTemplate
import HostOS
import ImageStores
import OCIModel
import OCIRegistry
import Testing

@testable import ManifoldCommands

/// `Golden/attested/layout` holds images that BuildKit built with provenance, copied there by buildx; `cases.json` what `docker buildx imagetools` printed
/// of them, byte for byte, when the layout was at `recordedAt` (recorded by hand; of annotations' orders, which are any, the sorted one).
@Suite struct RecordedTests {
  private static let folder = String(#filePath.prefix(upTo: #filePath.lastIndex(of: "/") ?? #filePath.endIndex)) + "/Golden/attested"
  private static let recordedAt = "/tmp/sources-rec/layout"

  struct Case: Sendable, CustomTestStringConvertible {
    var command: String, image: String, arguments: [String], isDone: Bool, output: String
    var testDescription: String { "\(command) \(image) \(arguments.joined(separator: " "))" }
  }
  private static let cases: [Case] = (((try? JSONValue(parsing: Files.read(folder + "/cases.json", limit: 8 << 20)))?.arrayValue) ?? []).map { json in
    Case(
      command: json["command"]?.stringValue ?? "", image: json["image"]?.stringValue ?? "", arguments: (json["arguments"]?.arrayValue ?? []).compactMap(\.stringValue),
      isDone: json["status"]?.intValue == 0, output: json["output"]?.stringValue ?? "")
  }

  @Test func allAreThere() {
    #expect(Self.cases.count == 52 && Self.cases.filter { $0.arguments.first == "--format" && $0.image == "multi" }.count >= 10)
  }

  private func source(_ tag: String?) -> LayoutImageSource { LayoutImageSource(path: Self.folder + "/layout", tag: tag, digest: nil) }

  @Test(arguments: cases.filter { $0.command == "inspect" }) func inspect(_ recorded: Case) async throws {
    let source = source(recorded.image), location = ImageLocation.layout(path: Self.recordedAt, tag: recorded.image, digest: nil)
    let words = ["imagetools", "inspect", "--compat"] + recorded.arguments + [location.description]
    let command = try #require(try Manifold.parseAsRoot(words) as? ImagetoolsInspectCommand)
    let output = try await ImagetoolsInspectCommand.output(location.description, source, at: location, raw: command.raw, compat: command.compat, format: command.format ?? "")
    #expect(String(decoding: output, as: UTF8.self) == recorded.output)
  }

  /// What a layout calls an image is nothing that is said of it elsewhere: buildx takes that name over into the new index, we do not.
  private func withoutNames(_ text: String) throws -> ImageIndex? {
    guard var object = try JSONValue(parsing: text).objectValue, object["manifests"] != nil, let type = object["mediaType"]?.stringValue else { return nil }
    object["mediaType"] = .string(type)
    guard case .index(var index) = try ImageDocument(parsing: JSONValue.object(object).encoded(), mediaType: MediaType(type)) else { return nil }
    for i in index.manifests.indices { index.manifests[i].annotations["org.opencontainers.image.ref.name"] = nil }
    return index
  }

  @Test(arguments: cases.filter { $0.command == "create" }) func create(_ recorded: Case) async throws {
    let words = recorded.arguments.map { $0.hasPrefix(":") ? "oci-layout://\(Self.folder)/layout\($0)" : $0 }
    let command = try #require(try Manifold.parseAsRoot(CommandLineForms.normalised(["imagetools", "create", "--dry-run"] + words)) as? ImagetoolsCreateCommand)
    let client = RegistryClient(RegistryConfiguration(environment: [:]))
    var output: [UInt8]?
    do {
      let access = ImageAccess(client: client, store: nil), creation = try command.creation()
      let sources = try ImageCreation.locate(try command.sources.map { try CreationSource(parsing: $0) }, tags: [])
      output = try await creation.withReferrers(try creation.result(try await ImageCreation.load(sources, access))).bytes + [0x0a]
    } catch { #expect(!recorded.isDone, "\(error)") }
    await client.shutdown()
    guard recorded.isDone, let output else { return #expect(output == nil) }
    let text = String(decoding: output, as: UTF8.self)
    guard recorded.output.contains("image.ref.name"), let theirs = try withoutNames(recorded.output) else { return #expect(text == recorded.output) }
    #expect(try withoutNames(text) == theirs && !text.contains("image.ref.name"))
  }

  @Test func ownView() async throws {
    let source = source("one-amd64")
    let output = try await ImagetoolsInspectCommand.output("x", source, at: .layout(path: "/l", tag: "a", digest: nil), raw: false, compat: false, format: "")
    let text = String(decoding: output, as: UTF8.self)
    guard case .index(let index) = try await source.root().document() else { return }
    let digests = index.manifests.map(\.digest)
    #expect(
      text == """
        Name:      oci-layout:///l:a
        MediaType: application/vnd.oci.image.index.v1+json
        Digest:    \(try await source.root().descriptor.digest)

        Manifests:
          Name:      oci-layout:///l@\(digests[0])
          MediaType: application/vnd.oci.image.manifest.v1+json
          Platform:  linux/amd64
          Attestations:
            Digest:     \(digests[1])
            Predicate:  https://slsa.dev/provenance/v1

        """)
    #expect(try await ImagetoolsInspectCommand.output("x", source, at: .layout(path: "/l", tag: "a", digest: nil), raw: false, compat: false, format: "{{ .Manifest }}") == output)
  }

  @Test func timesArePrintedAsGoPrintsThem() throws {
    for (text, printed) in [("2026-01-02T03:04:05.6Z", "2026-01-02 03:04:05.6 +0000 UTC"), ("2026-01-02T03:04:05+02:00", "2026-01-02 03:04:05 +0200 +0200"), ("x", "x")] {
      let image = ImageTemplateData.object("v1.Image", ImageTemplateData.image, .object(JSONObject([("created", .string(text))])))
      #expect(try GoTemplate("{{.Created}}").execute(image) == printed)
      #expect(image.indentedJSON.contains("\"created\": \"\(text)\""))
    }
  }
}
