internal import BuildInterface
internal import HostOS

/// One `--secret`, in buildx's syntax: `id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`.
struct SecretSpec: Sendable, Hashable {
  var id: String
  var source: ClientDescription.SecretSource

  /// BuildKit's limit.
  static let largest: Int64 = 500 * 1024

  init(parsing text: String, facts: CommandFacts) throws {
    var id = ""
    var path = ""
    var variable = ""
    var type = ""
    for field in try CommaFields.parse(text, option: "--secret") {
      guard let (key, value) = CommaFields.pair(field) else { throw BuildError.usage("--secret \(text): \"\(field)\" is not key=value") }
      switch key {
      case "type":
        guard value == "file" || value == "env" else {
          throw BuildError.usage("--secret \(text): there is no secret of type \"\(value)\"; types are file and env")
        }
        type = value
      case "id": id = value
      case "source", "src": path = value
      case "env": variable = value
      default: throw BuildError.usage("--secret \(text): there is no key \"\(key)\"; keys are id, src, env and type")
      }
    }
    guard !id.isEmpty else { throw BuildError.usage("--secret \(text): the id is missing", suggestion: "For example: --secret id=npmrc,src=$HOME/.npmrc") }
    if type == "env", variable.isEmpty { (variable, path) = (path, "") }
    self.id = id
    if variable.isEmpty, path.isEmpty {
      // The id is the variable's name, or else the file's.
      if facts.environment[id] != nil { variable = id } else { path = id }
    }
    if path.isEmpty {
      source = .environment(name: variable)
    } else {
      let full = facts.absolute(path)
      guard let status = try? Files.status(full) else { throw BuildError.usage("--secret \(id): there is no file \(path)", suggestion: "A variable's value is given with --secret id=\(id),env=NAME.") }
      guard status.size <= SecretSpec.largest else {
        throw BuildError.usage("--secret \(id): \(path) has \(status.size) bytes; a secret may have \(SecretSpec.largest)")
      }
      source = .file(path: full)
    }
  }
}
