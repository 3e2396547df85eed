internal import BuildInterface

/// What `--attest`, `--provenance` and `--sbom` ask for, in buildx's words.
struct AttestationSpec: Sendable, Equatable {
  var type: String
  var isDisabled = false
  var attributes: [String: String] = [:]

  /// `type=provenance,mode=max`.
  init(parsing text: String, option: String = "--attest") throws {
    type = ""
    for field in try CommaFields.parse(text, option: option) {
      guard let equals = field.firstIndex(of: "=") else { throw BuildError.usage("\(option) \(text): \"\(field)\" is not key=value") }
      let key = String(field[..<equals]), value = String(field[field.index(after: equals)...])
      switch key.lowercased() {
      case "type": type = value
      case "disabled":
        guard let truth = TruthWord.parse(value) else { throw BuildError.usage("\(option) \(text): disabled is \"\(value)\", not true or false") }
        isDisabled = truth
      default: attributes[key] = value
      }
    }
    guard !type.isEmpty else { throw BuildError.usage("\(option) \(text): the type is missing", suggestion: "For example: --attest type=provenance,mode=max") }
  }

  /// `--provenance` and `--sbom`: a word for truth, or attributes.
  init(_ type: String, _ text: String) throws {
    let option = "--" + type
    if let truth = TruthWord.parse(text) { try self.init(parsing: "type=\(type),disabled=\(!truth)", option: option) } else {
      try self.init(parsing: "type=\(type),\(text)", option: option)
    }
  }

  /// One field that holds a comma or a quote is quoted as a whole.
  private static func field(_ key: String, _ value: String) -> String {
    let text = "\(key)=\(value)"
    guard text.contains(where: { ",\"\n\r".contains($0) }) else { return text }
    return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }

  /// As the frontend's attribute has it.
  var text: String {
    ([AttestationSpec.field("type", type)] + attributes.sorted { $0.key < $1.key }.map { AttestationSpec.field($0.key, $0.value) }).joined(separator: ",")
  }
}

extension BuildCommand {
  static let provenanceAttributes = ["mode", "version", "builder-id", "filename", "reproducible", "inline-only", "complete-materials", "capture-usage"]

  /// The frontend's attributes of what is attested. Provenance in its small form is on unless it is turned off.
  func attestationAttributes(_ environment: [String: String]) throws -> (attributes: [String: String], warnings: [String]) {
    var specs = try attestations.map { try AttestationSpec(parsing: $0) }
    if let provenance, !provenance.isEmpty { specs.append(try AttestationSpec("provenance", provenance)) }
    if let sbom, !sbom.isEmpty { specs.append(try AttestationSpec("sbom", sbom)) }
    // The last of a type counts.
    var byType: [String: AttestationSpec] = [:]
    for spec in specs { byType[spec.type] = spec }
    if let unknown = byType.keys.sorted().first(where: { !["provenance", "sbom"].contains($0) }) {
      throw BuildError.usage("--attest type=\(unknown): there is no such attestation", suggestion: "Types are provenance and sbom.")
    }
    if let sbom = byType["sbom"], !sbom.isDisabled {
      throw BuildError.notYet("an SBOM attestation (--sbom, --attest type=sbom)", suggestion: "SBOMs come with the daemon. Until then: --sbom=false, or leave it away.")
    }
    let place = try attestationPlace()
    if place == .none {
      if let asked = byType.values.first(where: { !$0.isDisabled }) { throw BuildError.usage("--attestations=none and an attestation of type \(asked.type) exclude one another") }
      return ([:], [])
    }
    guard let provenance = byType["provenance"] else {
      let name = "BUILDX_NO_DEFAULT_ATTESTATIONS", text = environment[name] ?? ""
      guard let isOff = text.isEmpty ? false : TruthWord.parse(text) else { throw BuildError.usage("\(name)=\(text): expected true or false") }
      return (isOff ? [:] : ["attest:provenance": "mode=min,inline-only=true"], [])
    }
    if provenance.isDisabled { return ([:], []) }
    let unknown = provenance.attributes.keys.filter { !BuildCommand.provenanceAttributes.contains($0) }.sorted()
    return (
      ["attest:provenance": provenance.text],
      unknown.map { key in
        let meant = Spelling.nearest(to: key, among: BuildCommand.provenanceAttributes).map { ": did you mean \($0)?" } ?? ""
        return "provenance has no attribute \(key), which has no effect\(meant)"
      }
    )
  }

  enum AttestationPlace: String, CaseIterable { case index, referrers, none }

  func attestationPlace() throws -> AttestationPlace {
    guard let place = AttestationPlace(rawValue: attestationsPlace) else {
      throw BuildError.usage(
        "--attestations \(attestationsPlace): there is no such place", suggestion: "Places are \(AttestationPlace.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    return place
  }

  /// Says to the outputs of images where attestations go, and in which form.
  func addAttestationPlace(to exports: inout [ExportRequest], _ environment: [String: String]) throws {
    let place = try attestationPlace()
    let name = "BUILDX_NO_DEFAULT_OCI_ARTIFACT", text = environment[name] ?? ""
    guard let noArtifacts = text.isEmpty ? false : TruthWord.parse(text) else { throw BuildError.usage("\(name)=\(text): expected true or false") }
    for i in exports.indices where ["image", "oci"].contains(exports[i].type) {
      if place != .index, exports[i].attributes["attestations"] == nil { exports[i].attributes["attestations"] = place.rawValue }
      if noArtifacts, exports[i].attributes["oci-artifact"] == nil { exports[i].attributes["oci-artifact"] = "false" }
    }
  }
}
