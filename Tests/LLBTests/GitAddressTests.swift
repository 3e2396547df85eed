import LLB
import Testing

@Suite struct GitAddressTests {
  private static func address(
    _ text: String, _ remote: String, ref: String = "", sub: String = "", checksum: String = "", keep: Bool? = nil, modules: Bool? = nil
  ) -> (String, String, String, String, String, [Bool?]) { (text, remote, ref, sub, checksum, [keep, modules]) }

  @Test(arguments: [
    address("https://example.com/a/b.git", "https://example.com/a/b.git"),
    address("https://example.com/a/b.git#main", "https://example.com/a/b.git", ref: "main"),
    address("https://example.com/a/b.git#:dir/../sub/", "https://example.com/a/b.git", sub: "sub"),
    address("https://example.com/a/b.git#a/b:c:d", "https://example.com/a/b.git", ref: "a/b", sub: "c:d"),
    address("HTTPS://example.com/a/b.git#v1", "https://example.com/a/b.git", ref: "v1"),
    address("http://u:p@h:80/b.git?branch=x&subdir=../../d", "http://u:p@h:80/b.git", ref: "refs/heads/x", sub: "d"),
    address("https://h/b.git?tag=refs/tags/v1", "https://h/b.git", ref: "refs/tags/v1"),
    address("https://h/b.git?ref=x#x", "https://h/b.git", ref: "x"),
    address("https://h/b.git?commit=abc&keep-git-dir&submodules=0", "https://h/b.git", checksum: "abc", keep: true, modules: false),
    address("git://h/b?checksum=ab", "git://h/b", checksum: "ab"), address("ssh://git@h:22/a/b", "ssh://git@h:22/a/b"),
    address("git@h.example:a/b.git#v1:d", "git@h.example:a/b.git", ref: "v1", sub: "d"), address("u_1@h:b?branch=q", "u_1@h:b", ref: "refs/heads/q"),
    address("https://h/b.git#a%20b:c%2Fd", "https://h/b.git", ref: "a b", sub: "c/d"),
  ])
  func parses(_ text: String, _ remote: String, _ ref: String, _ subdirectory: String, _ checksum: String, _ flags: [Bool?]) throws {
    let address = try #require(try GitAddress(parsing: text))
    #expect(address.remote == remote && address.ref == ref && address.subdirectory == subdirectory && address.checksum == checksum)
    #expect([address.keepsGitDirectory, address.fetchesSubmodules] == flags)
  }

  @Test(arguments: ["a/b", "./git@h:x", "../x.git", "https://h/a.tar.gz", "https://h/a.gitx#b", "ftp://h/x.git", "github.com/a/b", "x.git", "a@b", "@h:x", "git@:x", "", "://", "https://h/%zz.git"])
  func isNone(_ text: String) throws { #expect(try GitAddress(parsing: text) == nil) }

  @Test(arguments: [
    ("https://h/b.git?branch=a&tag=b", "conflicts"), ("https://h/b.git?ref=a#b", "ref conflicts"), ("https://h/b.git?subdir=a#x:b", "subdir conflicts"), ("https://h/b.git?x=1", "unexpected query"),
    ("https://h/b.git?tag", "no value"), ("https://h/b.git?tag=a&tag=b", "multiple values"), ("https://h/b.git?submodules=maybe", "invalid submodules"), ("https://h/b.git?mtime=now", "mtime"),
    ("git@h:b?what=1", "unexpected query"), ("https://h/b.git#%zz", "not well formed"), ("https://h/b.git?a=%zz", "not well formed"),
  ])
  func mistakes(_ text: String, _ word: String) {
    #expect { try GitAddress(parsing: text) } throws: { "\($0)".contains(word) }
  }

  @Test func contexts() throws {
    #expect(try GitAddress(parsing: "github.com/a/b#c", context: true)?.remote == "https://github.com/a/b")
    #expect(GitAddress.isCommit(String(repeating: "a", count: 40)) && !GitAddress.isCommit(String(repeating: "A", count: 40)) && !GitAddress.isCommit("abc"))
  }
}
