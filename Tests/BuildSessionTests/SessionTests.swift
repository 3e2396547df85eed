import BuildKitAPI
import BuildKitProto
import BuildSession
import Foundation
import GRPCCore
import Testing

/// Answers what it is asked, as large as it is told.
struct EchoSecrets: Moby_Buildkit_Secrets_V1_Secrets.SimpleServiceProtocol {
  func getSecret(request: Moby_Buildkit_Secrets_V1_GetSecretRequest, context: ServerContext) async throws -> Moby_Buildkit_Secrets_V1_GetSecretResponse {
    if request.id == "wait" { try await Task.sleep(for: .seconds(3600)) }
    if request.id == "none" { throw RPCError(code: .notFound, message: "no such secret") }
    var response = Moby_Buildkit_Secrets_V1_GetSecretResponse()
    response.data = Data(repeating: 7, count: Int(request.id) ?? 0)
    return response
  }
}

@Suite struct SessionTests {
  static func secret(_ session: ClientSession, _ id: String) async throws -> Int {
    try await session.ask("the secret \(id)") { client in
      var request = Moby_Buildkit_Secrets_V1_GetSecretRequest()
      request.id = id
      return try await Moby_Buildkit_Secrets_V1_Secrets.Client(wrapping: client).getSecret(request).data.count
    }
  }

  @Test func callsGoThroughTheTunnel() async throws {
    try await withBuilder { manager, path async throws -> Void in
      let server = SessionServer(name: "test", sharedKey: "key", services: [EchoSecrets()])
      try await withSession(manager, path, server) { session async throws -> Void in
        #expect(session.id == server.id && session.name == "test" && session.sharedKey == "key")
        #expect(session.supports("/moby.buildkit.secrets.v1.Secrets/GetSecret") && session.supports("/grpc.health.v1.Health/check") && !session.supports("/a.B/C"))
        #expect(try await Self.secret(session, "3") == 3)
        // Larger than gRPC's own 4 MiB, nearly 16.
        #expect(try await Self.secret(session, "\(15 << 20)") == 15 << 20)
        await #expect { try await Self.secret(session, "none") } throws: { ($0 as? SessionError)?.code == .refused }
        try await withThrowingTaskGroup(of: Int.self) { group in
          for n in 1...50 { group.addTask { try await Self.secret(session, "\(n * 10_000)") } }
          var sum = 0
          for try await size in group { sum += size }
          #expect(sum == 51 * 25 * 10_000)
        }
      }
      for _ in 0..<6000 where manager.count > 0 { try await Task.sleep(for: .milliseconds(10)) }
      #expect(manager.count == 0)
    }
  }
}

@Suite struct SessionEndTests {
  /// Waits, with no word on how long that may take, until something holds.
  static func eventually(_ what: Comment, _ holds: () async throws -> Bool) async throws {
    for _ in 0..<6000 {
      if try await holds() { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record(what)
  }

  @Test func whoeverWaitsLearnsThatTheSessionEnded() async throws {
    try await withBuilder { manager, path async throws -> Void in
      let server = SessionServer(services: [EchoSecrets()])
      let waiting = try await withSession(manager, path, server) { session async throws -> Pair in
        let waiting = Task { try await SessionTests.secret(session, "wait") }
        #expect(try await SessionTests.secret(session, "1") == 1)
        return Pair(session: session, waiting: waiting)
      }
      await #expect { try await waiting.waiting.value } throws: { ($0 as? SessionError)?.code == .ended }
      #expect(!waiting.session.isOpen)
      await #expect { try await SessionTests.secret(waiting.session, "1") } throws: { ($0 as? SessionError)?.code == .ended }
    }
  }
  private struct Pair: Sendable {
    var session: ClientSession
    var waiting: Task<Int, any Error>
  }

  @Test func aBuildWaitsForItsSession() async throws {
    try await withBuilder { manager, path async throws -> Void in
      let server = SessionServer(services: [])
      let early = Task { try await manager.session(id: "prefix:" + server.id) }
      try await withSession(manager, path, server) { session async throws -> Void in
        let found = try await early.value
        #expect(found === session)
      }
    }
    var limits = SessionManager.Limits()
    limits.wait = .milliseconds(50)
    try await withBuilder(limits: limits) { manager, _ async throws -> Void in
      await #expect { try await manager.session(id: "nobody") } throws: { ($0 as? SessionError)?.code == .notFound }
    }
  }

  @Test func duplicatesAndTooManyAreRefused() async throws {
    var limits = SessionManager.Limits()
    limits.sessions = 1
    try await withBuilder(limits: limits) { manager, path async throws -> Void in
      let server = SessionServer(services: [])
      try await withSession(manager, path, server) { session async throws -> Void in
        for refused in [server, SessionServer(services: [])] {
          await #expect { 
            try await withConnection(path) { try await refused.run(over: Moby_Buildkit_V1_Control.Client(wrapping: $0)) }
          } throws: { [.alreadyExists, .resourceExhausted].contains(($0 as? RPCError)?.code) }
        }
        #expect(session.isOpen)
      }
    }
  }

  @Test func aClientThatAnswersNoMoreIsGivenUp() async throws {
    var limits = SessionManager.Limits()
    var health = HealthSchedule()
    (health.interval, health.timeout, health.failures) = (.milliseconds(20), .milliseconds(50), 2)
    limits.health = health
    try await withBuilder(limits: limits) { manager, path async throws -> Void in
      // A stream that is open, with nobody behind it.
      try await withConnection(path) { client in
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            try? await Moby_Buildkit_V1_Control.Client(wrapping: client).session(metadata: [SessionHeaders.id: "silent"]) { _ in
              try await Task.sleep(for: .seconds(3600))
            } onResponse: { response in for try await _ in response.messages {} }
          }
          let session = try await manager.session(id: "silent")
          try await Self.eventually("a silent session stays open") { !session.isOpen }
          #expect(session.endedBecause?.code == .ended)
          group.cancelAll()
        }
      }
    }
  }

  /// Bytes that are no HTTP/2 end the session they came on, and nothing else.
  @Test func garbageEndsTheSession() async throws {
    try await withBuilder { manager, path async throws -> Void in
      try await withSession(manager, path, SessionServer(services: [EchoSecrets()])) { good async throws -> Void in
        try await withConnection(path) { client in
          try? await Moby_Buildkit_V1_Control.Client(wrapping: client).session(metadata: [SessionHeaders.id: "garbage"]) { writer in
            var message = Moby_Buildkit_V1_BytesMessage()
            message.data = Data(repeating: 0xff, count: 100_000)
            for _ in 0..<100 { try await writer.write(message) }
          } onResponse: { response in for try await _ in response.messages {} }
        }
        try await Self.eventually("the session of garbage stays") { manager.open(id: "garbage") == nil }
        #expect(try await SessionTests.secret(good, "7") == 7)
      }
    }
  }

  @Test func manySessionsLeaveNothing() async throws {
    try await withBuilder { manager, path async throws -> Void in
      func descriptors() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
      func round() async throws {
        try await withSession(manager, path, SessionServer(services: [EchoSecrets()])) { session async throws -> Void in
          let size = try await SessionTests.secret(session, "10")
          #expect(size == 10)
        }
      }
      for _ in 0..<5 { try await round() }
      try await Self.eventually("sessions stay") { manager.count == 0 }
      let before = try descriptors()
      for _ in 0..<100 { try await round() }
      try await Self.eventually("sessions stay") { manager.count == 0 }
      try await Self.eventually("descriptors stay open") { try descriptors() <= before + 2 }
    }
  }
}
