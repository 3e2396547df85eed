import LLB
import Testing

@testable import DockerfileFrontend

@Suite struct TextTests {
  @Test(arguments: [
    ("", "\"\""), ("a b", "\"a b\""), ("q\"\\", "\"q\\\"\\\\\""), ("\t\n\r\u{7}\u{8}\u{b}\u{c}", "\"\\t\\n\\r\\a\\b\\v\\f\""), ("\u{0}\u{7f}\u{1b}", "\"\\x00\\x7f\\x1b\""),
    ("é☕😀", "\"é☕😀\""), ("\u{a0}\u{200b}\u{2028}\u{e000}\u{feff}", "\"\\u00a0\\u200b\\u2028\\ue000\\ufeff\""), ("\u{e0001}", "\"\\U000e0001\""),
  ])
  func quoted(_ text: String, _ expected: String) { #expect(GoText.quoted(text) == expected) }

  @Test(arguments: [
    (0, "0s"), (1, "1ns"), (1500, "1.5µs"), (1_000_000, "1ms"), (1_500_000_000, "1.5s"), (30_000_000_000, "30s"), (90_000_000_000, "1m30s"), (3_600_000_000_000, "1h0m0s"),
    (3_661_000_000_001, "1h1m1.000000001s"), (-2_000_000, "-2ms"), (Int64.max, "2562047h47m16.854775807s"), (Int64.min, "-2562047h47m16.854775808s"),
  ] as [(Int64, String)])
  func duration(_ nanoseconds: Int64, _ expected: String) { #expect(GoText.duration(nanoseconds) == expected) }

  @Test(arguments: [
    ("1.2.3.4", "1.2.3.4"), ("0.0.0.0", "0.0.0.0"), ("01.2.3.4", nil), ("1.2.3", nil), ("1.2.3.256", nil), ("", nil), ("::", "::"), ("::1", "::1"), ("1::", "1::"),
    ("2001:db8:0:0:0:0:0:1", "2001:db8::1"), ("2001:DB8::00a1", "2001:db8::a1"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
    ("::ffff:1.2.3.4", "1.2.3.4"), ("::1.2.3.4", "::102:304"), ("1:2:3:4:5:6:7:8:9", nil), ("1:2:3:4:5:6:7", nil), ("::1::", nil), (":::", nil), ("12345::", nil), ("fe80::1%eth0", nil),
    ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("1.2.3.4::", nil), ("+1::", nil), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
  ] as [(String, String?)])
  func address(_ text: String, _ expected: String?) { #expect(IPAddress(parsing: text)?.description == expected) }

  @Test(arguments: [
    ("80", ["80/tcp"]), ("53/UDP", ["53/udp"]), ("1-3/sctp", ["1/sctp", "2/sctp", "3/sctp"]), ("8080:80", ["80/tcp"]), ("1.2.3.4:8080:80", ["80/tcp"]), ("[::1]:1:2", ["2/tcp"]),
    ("8000-8010:80", ["80/tcp"]), ("", nil), ("/tcp", nil), ("65536", nil), ("3-1", nil), ("x", nil), ("80/icmp", nil), ("1.2.3:1:2", nil), ("1-2:80-90", nil), ("-1", nil),
  ] as [(String, [String]?)])
  func ports(_ text: String, _ expected: [String]?) { #expect((try? Ports.parse(text)) == expected) }

  @Test(arguments: [
    ("https://h/a/b.tgz?q#f", "b.tgz"), ("https://h", nil), ("https://h/", nil), ("http://h/a%20b/", "a b"), ("http://h/a%zz", nil), ("https://h?x=/y", nil), ("https://u@h:1/x/../y", "y"),
  ] as [(String, String?)])
  func downloads(_ url: String, _ expected: String?) { #expect(URLText.filename(url) == expected) }

  @Test(arguments: [
    ("https://github.com/a/b.git", true), ("https://github.com/a/b.git#main:sub", true), ("https://github.com/a/b.tar.gz", false), ("git://h/x", true), ("ssh://h/x", true),
    ("git@github.com:a/b", true), ("user@host:path", true), ("a@b", false), ("./git@h:x", false), ("../x.git", false), ("dir/file.git", false), ("ftp://h/x.git", false), ("github.com/a/b", false),
  ])
  func git(_ path: String, _ expected: Bool) throws { #expect((try GitAddress(parsing: path) != nil) == expected) }

  @Test(arguments: [("SIGTERM", true), ("term", true), ("9", true), ("0", false), ("RTMIN+15", true), ("RTMIN+16", false), ("SIGNOPE", false), ("", false), ("sigrtmax-14", true)])
  func signals(_ text: String, _ expected: Bool) { #expect(Signals.isSignal(text) == expected) }

  @Test(arguments: [("u+x", true), ("u=rwX,go-w", true), ("+t", true), ("a=u", true), ("u+r+w", true), ("", false), ("u", false), ("u+x,", false), ("z+x", false), ("u+q", false)])
  func modes(_ text: String, _ expected: Bool) { #expect(SymbolicMode.isValid(text) == expected) }

  @Test(arguments: [("a,b", ["a", "b"]), ("\"a,b\",c", ["a,b", "c"]), ("\"a\"\"b\"", ["a\"b"]), ("a", ["a"]), ("a,", ["a", ""])])
  func fields(_ text: String, _ expected: [String]) throws { #expect(try FrontendOptions.fields(text, of: "x") == expected) }
}
