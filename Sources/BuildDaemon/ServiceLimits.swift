internal import BuildKitAPI
package import GRPCNIOTransportCore
package import GRPCNIOTransportHTTP2Posix

/// What a connection to the daemon may take.
package enum ServiceLimits {
  /// BuildKit's message size, and windows wide enough that a context is not sent a few packets at a time.
  package static func transport() -> HTTP2ServerTransport.Custom<ConnectionFactory>.Config {
    var config = HTTP2ServerTransport.Custom<ConnectionFactory>.Config.defaults
    config.rpc.maxRequestPayloadSize = MessageLimits.message
    config.http2.targetWindowSize = 4 << 20
    // Calls at once on one connection: a client has some dozens.
    config.http2.maxConcurrentStreams = 10_000
    // Go's clients measure the line with pings while they send; those are no attack.
    config.connection.keepalive.clientBehavior = .init(minPingIntervalWithoutCalls: .zero, allowWithoutCalls: true)
    return config
  }
}
