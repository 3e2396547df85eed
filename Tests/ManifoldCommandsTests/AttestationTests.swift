import ArgumentParser
import BuildInterface
import Foundation
import OCIModel
import Testing

@testable import ManifoldCommands

@Suite struct AttestationTests {
  private func attributes(_ options: [String], _ environment: [String: String] = [:]) throws -> (attributes: [String: String], warnings: [String]) {
    guard let command = try Manifold.parseAsRoot(["build"] + options + ["."]) as? BuildCommand else { return ([:], []) }
    return try command.attestationAttributes(environment)
  }

  @Test func whatIsAskedFor() throws {
    let small = "mode=min,inline-only=true"
    let table: [(options: [String], environment: [String: String], expected: String?)] = [
      ([], [:], small), ([], ["BUILDX_NO_DEFAULT_ATTESTATIONS": "1"], nil), ([], ["BUILDX_NO_DEFAULT_ATTESTATIONS": "false"], small),
      (["--provenance=true"], ["BUILDX_NO_DEFAULT_ATTESTATIONS": "1"], "type=provenance"), (["--provenance=false"], [:], nil),
      (["--provenance", "mode=max"], [:], "type=provenance,mode=max"), (["--provenance=version=v0.2,mode=min"], [:], "type=provenance,mode=min,version=v0.2"),
      (["--attest", "type=provenance,mode=max"], [:], "type=provenance,mode=max"), (["--attest", "type=provenance,disabled=true"], [:], nil),
      (["--attest", "type=provenance,mode=max", "--provenance=false"], [:], nil), (["--attest", "type=sbom,disabled=true"], [:], small),
      (["--provenance", "\"builder-id=https://b.example/a,b\""], [:], "type=provenance,\"builder-id=https://b.example/a,b\""), (["--attestations=none"], [:], nil),
      (["--attestations=referrers"], [:], small),
    ]
    for (options, environment, expected) in table { #expect(try attributes(options, environment).attributes["attest:provenance"] == expected, "\(options) \(environment)") }
    #expect(try attributes(["--provenance=mod=max"]).warnings == ["provenance has no attribute mod, which has no effect: did you mean mode?"])
  }

  @Test(arguments: [
    ["--sbom=true"], ["--attest", "type=sbom"], ["--attest", "type=other"], ["--attest", "mode=max"], ["--attest", "provenance"], ["--attestations=beside"],
    ["--attestations=none", "--provenance=true"], ["--attest", "type=provenance,disabled=maybe"],
  ]) func refused(_ options: [String]) { #expect(throws: BuildError.self, "\(options)") { try attributes(options) } }

  @Test func places() throws {
    func exports(_ options: [String], _ environment: [String: String] = [:]) throws -> [[String: String]] {
      guard let command = try Manifold.parseAsRoot(["build"] + options + ["."]) as? BuildCommand else { return [] }
      var exports = [ExportRequest(type: "image"), ExportRequest(type: "local"), ExportRequest(type: "oci", attributes: ["oci-artifact": "true"])]
      try command.addAttestationPlace(to: &exports, environment)
      return exports.map(\.attributes)
    }
    #expect(try exports([]) == [[:], [:], ["oci-artifact": "true"]])
    #expect(try exports(["--attestations=referrers"]) == [["attestations": "referrers"], [:], ["oci-artifact": "true", "attestations": "referrers"]])
    #expect(try exports([], ["BUILDX_NO_DEFAULT_OCI_ARTIFACT": "true"]) == [["oci-artifact": "false"], [:], ["oci-artifact": "true"]])
  }

  @Test func gitRemotes() {
    let remotes = "origin\thttps://o.example/r (fetch)\norigin\thttps://o.example/push (push)\nmine\tgit@m.example:r.git (fetch)\n"
    #expect(GitFacts.remote(remotes, branches: "* mine\n  origin\n") == "git@m.example:r.git")
    #expect(GitFacts.remote(remotes, branches: "* \n") == "https://o.example/r" && GitFacts.remote("", branches: "") == nil)
    #expect(GitFacts.remote("upstream\tu (fetch)\n", branches: "") == "u")
    let table = [("https://u:p@h/r", "https://xxxxx:xxxxx@h/r"), ("https://t@h/r", "https://xxxxx@h/r"), ("https://h/a@b", "https://h/a@b"), ("git@h:r", "git@h:r")]
    for (address, expected) in table { #expect(GitFacts.withoutCredentials(address) == expected) }
  }

  @Test func metadata() throws {
    let predicate = Array(#"{"builder":{"id":"x"},"buildConfig":{},"metadata":{"a":1}}"#.utf8)
    func made(_ mode: MetadataFile.ProvenanceMode) throws -> JSONValue {
      try JSONValue(parsing: MetadataFile.bytes(["image.name": "a"], provenance: ["linux/amd64": predicate, "": predicate], mode: mode))
    }
    #expect(try made(.min).encodedString() == #"{"buildx.build.provenance":{"builder":{"id":"x"}},"buildx.build.provenance/linux/amd64":{"builder":{"id":"x"}},"image.name":"a"}"#)
    #expect(try made(.max)["buildx.build.provenance"]?["metadata"]?["a"] == 1)
    #expect(try made(.disabled).encodedString() == #"{"image.name":"a"}"#)
    #expect(MetadataFile.ProvenanceMode(environment: ["BUILDX_METADATA_PROVENANCE": "0"]) == .disabled && MetadataFile.ProvenanceMode(environment: [:]) == .min)
  }
}
