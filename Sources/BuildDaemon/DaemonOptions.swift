package import OCIModel

/// How a daemon serves. What its engine does (root, jobs, networks) is the engine's own.
package struct DaemonOptions: Sendable {
  package struct TLS: Sendable, Hashable {
    /// PEM files.
    package var certificate: String
    package var key: String
    /// Who vouches for clients; empty when any client may come.
    package var authorities: String
    package init(certificate: String, key: String, authorities: String = "") {
      (self.certificate, self.key, self.authorities) = (certificate, key, authorities)
    }
  }
  /// `unix://…`, `tcp://host:port`, `fd://`; at least one.
  package var addresses: [String]
  package var tls: TLS?
  /// Of unix sockets: a name or a number; nil is the process's own.
  package var group: String?
  /// TCP on an address that other machines reach, without TLS.
  package var allowsPlaintext: Bool
  /// What clients may ask for: `network.host`, `security.insecure`, `device`.
  package var entitlements: Set<String>
  /// Of the worker, besides those that it has by itself.
  package var labels: [String: String]
  /// Shown to clients instead of what this machine can do; empty for the latter.
  package var platforms: [Platform]
  /// Builds at once; more wait for their turn.
  package var maxBuilds: Int
  /// Sessions at once; more are refused.
  package var maxSessions: Int
  /// Seconds that builds have to finish in when the daemon is told to stop.
  package var stopTimeout: Double
  package var log: DaemonLog
  package init(
    addresses: [String], tls: TLS? = nil, group: String? = nil, allowsPlaintext: Bool = false, entitlements: Set<String> = [], labels: [String: String] = [:],
    platforms: [Platform] = [], maxBuilds: Int = 100, maxSessions: Int = 1000, stopTimeout: Double = 30, log: DaemonLog = DaemonLog()
  ) {
    self.addresses = addresses
    self.tls = tls
    self.group = group
    self.allowsPlaintext = allowsPlaintext
    self.entitlements = entitlements
    self.labels = labels
    self.platforms = platforms
    self.maxBuilds = maxBuilds
    self.maxSessions = maxSessions
    self.stopTimeout = stopTimeout
    self.log = log
  }
}
