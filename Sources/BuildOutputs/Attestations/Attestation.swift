internal import BuildInterface
package import OCIModel

/// Something said about one target of a build, which images and folders carry beside it (in-toto, Statement v1).
package struct Attestation: Sendable {
  /// `https://slsa.dev/provenance/v1`.
  package var predicateType: String
  /// What outputs of files call it.
  package var filename: String
  /// Wanted only where it costs nobody anything: in an image that has an index anyway, or goes to a registry or the local store. Never as a file.
  package var inlineOnly: Bool
  /// The predicate. `layers` are those of the image it is written for, nil for outputs of files. May be asked for several times.
  package var predicate: @Sendable (_ layers: [Descriptor]?) async throws -> JSONValue

  package init(
    predicateType: String, filename: String, inlineOnly: Bool, predicate: @escaping @Sendable (_ layers: [Descriptor]?) async throws -> JSONValue
  ) {
    self.predicateType = predicateType
    self.filename = filename
    self.inlineOnly = inlineOnly
    self.predicate = predicate
  }
}

/// What an attestation is about.
struct AttestationSubject: Sendable {
  var name: String
  var digest: Digest

  var json: JSONValue { ["name": .string(name), "digest": .object(JSONObject([(digest.algorithm.rawValue, .string(digest.hex))]))] }
}

extension Attestation {
  func statement(about subjects: [AttestationSubject], predicate: JSONValue) -> JSONValue {
    [
      "_type": "https://in-toto.io/Statement/v1", "predicateType": .string(predicateType), "subject": .array(subjects.map(\.json)), "predicate": predicate,
    ]
  }
}

/// Where an image's attestations go.
struct AttestationOptions: Sendable {
  enum Place: String, CaseIterable {
    /// Manifests of their own in the image's index, as BuildKit has them.
    case index
    /// Beside the image in its repository, found through the registry's referrers (distribution-spec, "Listing Referrers").
    case referrers
    case none
  }
  var place: Place
  /// Whether inline-only ones make an index of what would be a manifest alone.
  private let forcesInline: Bool
  /// Whether their manifests say what they are about and are artifacts (image-spec, "Guidelines for Artifact Usage").
  let areArtifacts: Bool
  private let ociTypes: Bool
  private let output: String

  init(_ attributes: inout ExportAttributes, ociTypes: Bool?, inline: Bool) throws {
    let artifacts = try attributes.flag("oci-artifact")
    if artifacts == true, ociTypes == false { throw attributes.invalid("oci-artifact", "is true, which contradicts oci-mediatypes=false") }
    forcesInline = try attributes.flag("attestation-inline") ?? inline
    let text = attributes.text("attestations") ?? Place.index.rawValue
    guard let place = Place(rawValue: text) else {
      throw attributes.invalid("attestations", "is \"\(text)\": expected \(Place.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    self.place = place
    self.ociTypes = ociTypes ?? true
    areArtifacts = artifacts ?? self.ociTypes
    output = attributes.type
  }

  /// Those that the image gets, a list for each target. The default ones give way to Docker's media types, which have no place for them.
  func chosen(of source: ExportSource) throws -> [[Attestation]] {
    let all = source.targets.map(\.attestations)
    if place == .none { return all.map { _ in [] } }
    if !ociTypes {
      guard all.joined().allSatisfy(\.inlineOnly) else {
        throw BuildError(
          .invalidArgument, .usage, "output type=\(output): attestations cannot be had with oci-mediatypes=false",
          suggestion: "leave it away, or build with --provenance=false")
      }
      return all.map { _ in [] }
    }
    if place == .referrers || source.isMultiPlatform || forcesInline || all.joined().contains(where: { !$0.inlineOnly }) { return all }
    return all.map { _ in [] }
  }
}
