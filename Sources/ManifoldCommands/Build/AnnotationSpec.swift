internal import BuildInterface
internal import OCIModel

/// `--annotation [TYPE[[PLATFORM]][,TYPE…]:]KEY=VALUE`, in buildx's syntax: what is asked of the exporters that make images.
enum AnnotationSpec {
  /// By the exporters' names (`annotation-manifest[linux/arm64].KEY`).
  static func attributes(_ texts: [String]) throws -> [String: String] {
    var out: [String: String] = [:]
    for text in texts where !text.isEmpty {
      let annotations: [IndexAnnotation]
      do throws(OCIError) { annotations = try IndexAnnotation.parse(text) } catch {
        throw BuildError.usage("--annotation \(text): \(error.message)", suggestion: "A key with a colon needs a type: manifest:\(text)")
      }
      for annotation in annotations {
        let place = annotation.place.map { "-\($0.rawValue)" + (annotation.platform.map { "[\($0.normalized)]" } ?? "") } ?? ""
        out["annotation\(place).\(annotation.key)"] = annotation.value
      }
    }
    return out
  }
}
