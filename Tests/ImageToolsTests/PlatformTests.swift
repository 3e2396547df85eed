import ImageTools
import OCIModel
import Testing

@Suite struct PlatformTextTests {
  @Test func whatIsThereAndTheNearest() throws {
    let has = try ["linux/amd64", "linux/arm/v7", "linux/arm64", "windows(10.0.20348.1)/amd64"].map { try Platform(parsing: $0) }
    let error = ImageToolsError.noSuchPlatform("app:1", try Platform(parsing: "linux/arm/v6"), has: has)
    #expect("\(error)" == "app:1 has no image for linux/arm/v6")
    #expect(error.suggestion == "It has linux/arm/v7, linux/amd64, linux/arm64, windows(10.0.20348.1)/amd64. The nearest is linux/arm/v7.")
  }
}
