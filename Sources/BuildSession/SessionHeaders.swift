/// By which headers a client tells of the session that it offers (BuildKit's session package). gRPC writes names of metadata in lower case.
package enum SessionHeaders {
  /// The session's id, which a build names.
  package static let id = "x-docker-expose-session-uuid"
  package static let name = "x-docker-expose-session-name"
  /// What stands for the client's directories: two sessions with one key have the same ones.
  package static let sharedKey = "x-docker-expose-session-sharedkey"
  /// A method that the client serves, as `/package.Service/Method`; once for each.
  package static let method = "x-docker-expose-session-grpc-method"
}
