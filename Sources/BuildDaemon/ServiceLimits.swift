internal import BuildKitAPI
package import GRPCNIOTransportHTTP2Posix

/// What a connection to the daemon may take.
package enum ServiceLimits {
  /// BuildKit's message size, and windows wide enough that a context is not sent a few packets at a time.
  package static func transport() -> HTTP2ServerTransport.Posix.Config {
    .defaults { config in
      config.rpc.maxRequestPayloadSize = MessageLimits.message
      config.http2.targetWindowSize = 4 << 20
    }
  }
}
