public import OCIModel

/// What happens to one blob or manifest on its way.
public struct TransferProgress: Hashable, Sendable {
  public enum Direction: Hashable, Sendable { case fetch, push }
  public enum State: Hashable, Sendable {
    /// A slot and a connection have been asked for.
    case waiting
    case transferring
    /// The connection broke or the registry failed; the transfer goes on after a pause. Says why, and how long.
    case retrying(RegistryRetry)
    /// Done without a transfer: it was there.
    case exists
    /// Done without a transfer: mounted from another repository of the same registry.
    case mounted(from: String)
    case done
  }
  public var direction: Direction
  public var descriptor: Descriptor
  /// The repository's name, with its registry.
  public var repository: String
  /// Bytes transferred so far; may go back when a transfer begins anew.
  public var bytes: Int64
  public var total: Int64
  public var state: State

  public init(_ direction: Direction, _ descriptor: Descriptor, repository: String, bytes: Int64 = 0, state: State) {
    self.direction = direction
    self.descriptor = descriptor
    self.repository = repository
    self.bytes = bytes
    total = descriptor.size
    self.state = state
  }
}

/// Called from any task, in order for one transfer; must return quickly.
public typealias TransferProgressHandler = @Sendable (TransferProgress) -> Void
