internal import BuildSolver

/// The builds that want one vertex: an op asks the client of one of them, and goes on with another's when that client goes away or its build ends.
struct SessionGroup: Sendable {
  /// Asked before the others, and when there are none any more.
  var first: SolveSession?
  let context: OpContext

  private var members: Alternatives<SolveSession> {
    let first = [first].compactMap { $0 }, context = context
    return Alternatives(members: { first + context.jobs.compactMap { $0.value(SolveSession.key) as? SolveSession } }, isOver: \.isOver)
  }

  /// Those that still go on; with none, the first alone.
  var sessions: [SolveSession] { members.usable }

  /// What `body` answers for one of them. It is run again, for another, only when the one that it was run for is over.
  func ask<Value>(_ body: (SolveSession) async throws -> Value) async throws -> Value { try await members.ask(body) }

  /// The first answer that is not nil: that one client has nothing is no reason not to ask the next one that wants the same.
  func find<Value>(_ body: (SolveSession) async throws -> Value?) async throws -> Value? { try await members.find(body) }
}

extension EngineServices {
  /// On behalf of all builds that want the op's vertex.
  func sessions(of context: OpContext) -> SessionGroup { SessionGroup(context: context) }
}

/// Some of whom any will do, as long as it is not over. Who they are may change at any moment.
struct Alternatives<Member: AnyObject> {
  let members: () -> [Member]
  let isOver: (Member) -> Bool

  /// Each once, in their order, without those that are over; with none left, the first.
  var usable: [Member] {
    var found: [Member] = []
    for member in members() where !found.contains(where: { $0 === member }) { found.append(member) }
    let left = found.filter { !isOver($0) }
    return left.isEmpty ? Array(found.prefix(1)) : left
  }

  private func next(after asked: [Member]) -> Member? { usable.first { member in !asked.contains { $0 === member } } }

  func ask<Value>(_ body: (Member) async throws -> Value) async throws -> Value {
    var asked: [Member] = []
    var last: any Error = CancellationError()
    while let member = next(after: asked) {
      asked.append(member)
      do { return try await body(member) } catch {
        try Task.checkCancellation()
        guard isOver(member) else { throw error }
        last = error
      }
    }
    throw last
  }

  func find<Value>(_ body: (Member) async throws -> Value?) async throws -> Value? {
    var asked: [Member] = []
    while let member = next(after: asked) {
      asked.append(member)
      do {
        if let value = try await body(member) { return value }
      } catch {
        try Task.checkCancellation()
        guard isOver(member), next(after: asked) != nil else { throw error }
      }
    }
    if asked.isEmpty { throw CancellationError() }
    return nil
  }
}
