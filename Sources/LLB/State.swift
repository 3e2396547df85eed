public import BuildKitProto
public import OCIModel

/// A filesystem that the graph produces, and the environment in which a next step on it runs: variables, directory, user. A
/// value: every operation gives a new state and leaves the old one as it was.
public struct State: Sendable {
  public let graph: Graph
  var output: Output?

  /// Variables of the steps to come, in order.
  public var environment = Environment()
  /// Absolute; relative paths of steps are below it.
  public var directory = "/"
  /// `user[:group]`, names or ids; empty is root.
  public var user = ""
  public var hostname = ""
  public var cgroupParent = ""
  public var network = Pb_NetMode.unset
  public var security = Pb_SecurityMode.sandbox
  /// Normalised when set by an image source; nil leaves it to the marshalling.
  public var platform: Platform?

  init(graph: Graph, output: Output?, platform: Platform? = nil) {
    self.graph = graph
    self.output = output
    self.platform = platform?.normalized
  }

  /// Whether this is the empty filesystem.
  public var isScratch: Bool { output == nil }

  /// The same environment over another filesystem.
  public func withFilesystem(of other: State) -> State {
    precondition(graph === other.graph, "states of two graphs cannot be mixed")
    var copy = self
    copy.output = other.output
    if let platform = other.platform { copy.platform = platform }
    return copy
  }

  /// The environment with which images' configs are merged: `NAME=value` entries, directory and platform.
  /// The same environment, directory and user over another's files.
  public func with(files other: State) -> State {
    var copy = self
    copy.output = other.output
    return copy
  }

  func replacing(output: Output) -> State {
    var copy = self
    copy.output = output
    return copy
  }
}

/// Variables in the order in which they were last set, as BuildKit hands them to a step. Setting one costs the same however many there are.
public struct Environment: Hashable, Sendable {
  private struct Entry: Hashable {
    var value: String
    var order: Int
  }
  private var values: [String: Entry] = [:]
  private var next = 0

  public init() {}
  public init(_ pairs: [(String, String)]) { for (name, value) in pairs { self[name] = value } }

  /// Setting moves a variable to the end; nil removes it.
  public subscript(name: String) -> String? {
    get { values[name]?.value }
    set {
      values[name] = newValue.map { Entry(value: $0, order: next) }
      next += 1
    }
  }
  /// How many there are.
  public var count: Int { values.count }
  /// In order.
  public var entries: [(name: String, value: String)] { values.sorted { $0.value.order < $1.value.order }.map { ($0.key, $0.value.value) } }
  public var names: [String] { entries.map(\.name) }
  /// `NAME=value`, in order.
  public var list: [String] { entries.map { $0.name + "=" + $0.value } }

  public static func == (a: Environment, b: Environment) -> Bool { a.values.count == b.values.count && a.list == b.list }
  public func hash(into hasher: inout Hasher) { hasher.combine(list) }
}
