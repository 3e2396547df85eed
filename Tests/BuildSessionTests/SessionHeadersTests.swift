import BuildSession
import Testing

@Suite struct SessionHeadersTests {
  @Test func metadataNamesAreLowerCase() {
    for name in [SessionHeaders.id, SessionHeaders.name, SessionHeaders.sharedKey, SessionHeaders.method] { #expect(name == name.lowercased()) }
  }
}
