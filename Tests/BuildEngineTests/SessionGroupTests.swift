@testable import BuildEngine
import BuildInterface
import Testing

/// Whom an op asks that several builds want.
@Suite struct SessionGroupTests {
  private final class Client {
    let name: String
    var isOver = false
    init(_ name: String) { self.name = name }
  }
  private struct Gone: Error {}
  private let one = Client("one"), two = Client("two")
  private func group(_ members: [Client]) -> Alternatives<Client> { Alternatives(members: { members }, isOver: \.isOver) }

  @Test func anotherIsAskedWhenOneGoesAwayMeanwhile() async throws {
    var asked: [String] = []
    let answer = try await group([one, one, two]).ask { client in
      asked.append(client.name)
      guard client.name == "two" else {
        client.isOver = true
        throw Gone()
      }
      return client.name
    }
    #expect(answer == "two")
    #expect(asked == ["one", "two"])
    // Nor is it asked again.
    #expect(try await group([one, two]).ask(\.name) == "two")
  }

  @Test func whatFailsForALivingClientFails() async throws {
    var asked = 0
    await #expect(throws: Gone.self) {
      try await group([one, two]).ask { (_: Client) -> Int in
        asked += 1
        throw Gone()
      }
    }
    #expect(asked == 1)
    one.isOver = true
    two.isOver = true
    await #expect(throws: Gone.self) { try await group([one, two]).ask { (_: Client) -> Int in throw Gone() } }
    await #expect(throws: CancellationError.self) { try await group([]).ask { (_: Client) -> Int in 1 } }
  }

  @Test func whatOneDoesNotHaveAnotherMay() async throws {
    #expect(try await group([one, two]).find { $0.name == "two" ? 2 : nil } == 2)
    #expect(try await group([one, two]).find { (_: Client) -> Int? in nil } == nil)
    #expect(
      try await group([one, two]).find { client -> Int? in
        guard client.name == "two" else {
          client.isOver = true
          throw Gone()
        }
        return 2
      } == 2)
    await #expect(throws: Gone.self) { try await group([two]).find { (_: Client) -> Int? in throw Gone() } }
  }
}
