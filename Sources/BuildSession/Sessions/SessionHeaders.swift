package import GRPCCore

/// By which headers a client tells of the session that it offers (BuildKit's session package). gRPC writes names of metadata in lower case.
package enum SessionHeaders {
  /// The session's id, which a build names.
  package static let id = "x-docker-expose-session-uuid"
  package static let name = "x-docker-expose-session-name"
  /// What stands for the client's directories: two sessions with one key have the same ones.
  package static let sharedKey = "x-docker-expose-session-sharedkey"
  /// A method that the client serves, as `/package.Service/Method`; once for each.
  package static let method = "x-docker-expose-session-grpc-method"
  /// Milliseconds between two health checks, and for the answer to one; with it the first failure ends the session.
  package static let healthTimeout = "x-buildkit-session-health-custom-timeout"

  /// What the headers of a stream say.
  package struct Values: Sendable {
    package var id: String
    package var name: String
    package var sharedKey: String
    /// In lower case.
    package var methods: Set<String>
    package var health: HealthSchedule

    /// Throws SessionError for a stream that names no session, or says too much.
    package init(_ metadata: Metadata) throws {
      func first(_ key: String, limit: Int) throws -> String {
        guard let value = metadata[stringValues: key].first(where: { _ in true }) else { return "" }
        guard value.utf8.count <= limit else { throw SessionError(.invalidHeaders, "the header \(key) of a session has \(value.utf8.count) bytes, more than the limit of \(limit)") }
        return value
      }
      id = try first(SessionHeaders.id, limit: 256)
      guard !id.isEmpty else { throw SessionError(.invalidHeaders, "the stream names no session: the header \(SessionHeaders.id) is missing") }
      name = try first(SessionHeaders.name, limit: 1024)
      sharedKey = try first(SessionHeaders.sharedKey, limit: 4096)
      methods = []
      for method in metadata[stringValues: SessionHeaders.method] {
        methods.insert(method.lowercased())
        guard methods.count <= 1000 else { throw SessionError(.invalidHeaders, "the session \(id) offers more than 1000 methods") }
      }
      health = HealthSchedule(custom: try first(SessionHeaders.healthTimeout, limit: 32))
    }
  }
}
