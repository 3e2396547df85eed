internal import HostOS

/// Ends a connection that nobody serves.
enum HangUp {
  static func close(_ connection: Int32) { try? HostOS.Descriptor(owning: connection).close() }
}
