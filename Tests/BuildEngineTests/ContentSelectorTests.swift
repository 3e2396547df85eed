import Testing

@testable import BuildEngine

@Suite struct ContentSelectorTests {
  @Test(arguments: [("a*", true), ("a\\*", false), ("a\\\\*", true), ("[a]", true), ("a?", true), ("\\", false), ("", false), ("é/ü", false)])
  func wildcards(_ path: String, _ expected: Bool) { #expect(ContentSelector.hasWildcard(path) == expected) }

  @Test func pathsBelowOthersGo() {
    #expect(OpCacheKey.withoutChildren(["/b", "/a/b", "/a", "/ab", "/a"]) == ["/a", "/ab", "/b"])
    #expect(OpCacheKey.withoutChildren(["/", "/a"]) == ["/"])
    #expect(OpCacheKey.withoutChildren(["/a/", "/a/b"]) == ["/a/"])
    #expect(OpCacheKey.withoutChildren(["/e\u{301}", "/\u{e9}"]).count == 2)
  }
}
