/// How large what goes over a connection may be.
package enum MessageLimits {
  /// Bytes of one message, either way: BuildKit's clients and servers take 16 MiB (containerd's defaults), where gRPC libraries take 4 by themselves.
  package static let message = 16 << 20
}
