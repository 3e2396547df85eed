internal import Synchronization

/// The vertices of one build graph under construction. States are cheap values that point into it; it only grows. Vertices
/// name their inputs by number, each made before its users, so that a graph of any depth is walked and freed without recursion.
public final class Graph: Sendable {
  private let vertices = Mutex<[Vertex]>([])

  public init() {}

  /// An empty filesystem.
  public var scratch: State { State(graph: self, output: nil) }

  /// A filesystem that is decided when the graph is marshalled (`MarshalOptions.inputs`). A front end uses it for the build
  /// context, whose needed paths it knows only after the last step.
  public func placeholder(_ name: String) -> State { State(graph: self, output: Output(node: .placeholder(name), index: 0)) }

  func add(_ vertex: Vertex) -> Int {
    vertices.withLock {
      $0.append(vertex)
      return $0.count - 1
    }
  }
  var snapshot: [Vertex] { vertices.withLock { $0 } }
}

/// One output of a vertex: what another vertex takes as input.
struct Output: Hashable, Sendable {
  enum Node: Hashable, Sendable { case vertex(Int), placeholder(String) }
  var node: Node
  var index: Int64
}

struct Vertex: Sendable {
  enum Operation: Sendable {
    case source(SourceOperation)
    case exec(ExecOperation)
    case file(FileOperation)
    case merge([Output])
    case diff(lower: Output?, upper: Output?)
    /// A vertex of a received definition, passed on with its bytes as they are.
    case imported(ImportedOperation)
  }
  var operation: Operation
  var options: VertexOptions

  /// The inputs in the order in which BuildKit's client visits them, which orders a definition's ops.
  var inputs: [Output] {
    switch operation {
    case .source: []
    case .exec(let exec): exec.mounts.compactMap(\.source).uniqued()
    case .file(let file): ([file.base] + file.actions.reversed().map(\.source)).compactMap { $0 }.uniqued()
    case .merge(let inputs): inputs
    case .diff(let lower, let upper): [lower, upper].compactMap { $0 }
    case .imported(let op): op.inputs
    }
  }
}

extension Array where Element == Output {
  func uniqued() -> [Output] {
    var seen = Set<Output>()
    return filter { seen.insert($0).inserted }
  }
}
