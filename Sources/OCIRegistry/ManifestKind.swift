package import OCIModel

/// Decides what a manifest is, when a registry's Content-Type and the document itself may each be silent or wrong.
package enum ManifestKind {
  /// Content types that servers give to whatever they do not know.
  private static let generic: Set<String> = ["", "application/json", "application/octet-stream", "text/plain", "binary/octet-stream"]

  /// The document's media type. A served type that says something must agree with the document's own `mediaType` where it has one
  /// (distribution-spec, "Pulling manifests"); a silent registry's document is judged by itself. Throws `RegistryError`.
  package static func mediaType(_ bytes: [UInt8], served: String, what: String, host: String) throws -> MediaType {
    let served = MediaType(HTTPFields.mediaType(served))
    func refuse(_ code: RegistryError.Code, _ why: String) -> RegistryError { RegistryError(code, "\(what): \(why)", host: host) }
    if served.rawValue == "application/vnd.docker.distribution.manifest.v1+prettyjws" || served.rawValue == "application/vnd.docker.distribution.manifest.v1+json" {
      throw refuse(.unsupported, "it is an image of the withdrawn schema 1: push it again with a current tool")
    }
    if served.isIndex || served.isManifest { return served }
    guard generic.contains(served.rawValue) else {
      let hint = served.rawValue.hasPrefix("text/html") ? ": is \(host) a registry?" : ""
      throw refuse(.invalidResponse, "\(host) answered with \(served), not with an image manifest or index\(hint)")
    }
    guard let json = try? JSONValue(parsing: bytes), let object = json.objectValue else {
      throw refuse(.invalidResponse, "\(host) answered with something that is not a JSON document")
    }
    if let own = object["mediaType"]?.stringValue { return MediaType(own) }
    if object["fsLayers"] != nil { throw refuse(.unsupported, "it is an image of the withdrawn schema 1: push it again with a current tool") }
    // OCI documents may leave the field out; Docker's may not.
    if object["manifests"] != nil { return .ociIndex }
    if object["config"] != nil { return .ociManifest }
    throw refuse(.invalidResponse, "\(host) answered with a document that is neither an image manifest nor an index")
  }
}
