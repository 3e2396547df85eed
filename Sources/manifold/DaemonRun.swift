import BuildDaemon
import EmbeddedBackend
import HostOS
import ManifoldCommands

/// A daemon from its settings to its end by a signal.
enum DaemonRun {
  static func run(_ engine: EmbeddedBackend, _ settings: DaemonSettings) async throws {
    var log = DaemonLog(level: .info, format: settings.logsJSON ? .json : .text)
    guard let level = DaemonLog.Level(word: settings.logLevel) else { throw DaemonError(.setting, "there is no log level \"\(settings.logLevel)\"", suggestion: "Levels are error, warn, info and debug.") }
    log.level = level
    for notice in settings.notices + engine.notes { log.warning(notice) }
    let options = DaemonOptions(
      addresses: settings.addresses,
      tls: settings.certificate.isEmpty ? nil : .init(certificate: settings.certificate, key: settings.key, authorities: settings.clientAuthority), group: settings.group,
      allowsPlaintext: settings.allowsPlaintext, entitlements: settings.entitlements, labels: settings.labels, platforms: settings.platforms, maxBuilds: settings.maxBuilds,
      stopTimeout: settings.stopTimeout, log: log)
    let daemon = try await BuildDaemon(engine: engine, options: options, version: Manifold.version)
    let signals = try Signals.events([Signals.interrupt, Signals.terminate])
    let listener = Task {
      var count = 0
      for await signal in signals {
        count += 1
        if count > 1 {
          daemon.removeSockets()
          Signals.end(by: signal)
        }
        daemon.stop()
      }
    }
    defer { listener.cancel() }
    try await daemon.run()
  }
}
