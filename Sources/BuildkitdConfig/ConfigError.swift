/// What is wrong with a configuration file, and where.
package struct ConfigError: Error, CustomStringConvertible, Sendable, Hashable {
  package enum Code: String, Sendable, Hashable {
    /// The file is not there, or cannot be read.
    case unreadable
    /// It is not TOML.
    case syntax
    /// A setting that there is not, or with a value that it cannot have.
    case setting
  }
  package var code: Code
  package var path: String
  /// From 1; nil where no line is to blame.
  package var line: Int?
  package var message: String

  package init(_ code: Code, path: String, line: Int? = nil, _ message: String) {
    self.code = code
    self.path = path
    self.line = line
    self.message = message
  }

  package var description: String { "\(path)\(line.map { ":\($0)" } ?? ""): \(message)" }
}
