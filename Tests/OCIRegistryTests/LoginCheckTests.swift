import OCIRegistry
import TestSupport
import Testing

@Suite struct LoginCheckTests {
  func login(_ authentication: TestRegistryOptions.Authentication, _ credential: RegistryCredential) async throws -> (Result<RegistryLogin.Outcome, any Error>, [TestRequest]) {
    var options = TestRegistryOptions()
    options.authentication = authentication
    return try await withRegistry(options) { registry, client in
      let result: Result<RegistryLogin.Outcome, any Error>
      do { result = .success(try await client.login(registry.host, credential)) } catch { result = .failure(error) }
      return (result, registry.requests)
    }
  }

  @Test func basicAndOpen() async throws {
    #expect(try await login(.none, .password(user: "u", password: "p")).0.get() == .accepted)
    #expect(try await login(.basic(user: "u", password: "p"), .password(user: "u", password: "p")).0.get() == .accepted)
    let (wrong, requests) = try await login(.basic(user: "u", password: "p"), .password(user: "u", password: "x"))
    let error = #expect(throws: RegistryError.self) { try wrong.get() }
    #expect(error?.code == .unauthorized && error?.details.isEmpty == false && error?.description.contains("cannot log in to") == true, "\(String(describing: error))")
    #expect(requests.filter { $0.status == 401 && $0.headers["authorization"] != nil }.count == 1)
  }

  @Test func tokenServers() async throws {
    let (plain, requests) = try await login(.bearer(user: "u", password: "p", lifetime: 60), .password(user: "u", password: "p"))
    #expect(try plain.get() == .accepted)
    let asked = try #require(requests.first { $0.path == "/token" })
    #expect(asked.parameter("offline_token") == "true" && asked.parameter("account") == "u" && asked.parameter("service") == "test-registry" && asked.parameter("client_id") != nil, "\(asked)")
    #expect(try await login(.bearer(user: "u", password: "p", lifetime: 60, identityToken: "refresh"), .password(user: "u", password: "p")).0.get() == .identityToken("refresh"))
    #expect(try await login(.bearer(user: "u", password: "p", lifetime: 60, identityToken: "refresh"), .identityToken("refresh")).0.get() == .accepted)
    for credential in [RegistryCredential.password(user: "u", password: "no"), .identityToken("stale")] {
      let (wrong, _) = try await login(.bearer(user: "u", password: "p", lifetime: 60, identityToken: "refresh"), credential)
      #expect(#expect(throws: RegistryError.self) { try wrong.get() }?.code == .unauthorized)
    }
  }
}
