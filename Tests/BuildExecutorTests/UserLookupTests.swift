import Testing

@testable import BuildExecutor

@Suite struct UserLookupTests {
  let passwd = Array(
    """
    root:x:0:0:root:/root:/bin/sh
    app:x:1000:1001:app:/home:/bin/sh
    twice:x:5:5::/:
    twice:x:6:6::/:
    1234:x:77:88::/:
    broken
    huge:x:4294967295:1::/:

    """.utf8)
  let group = Array("root:x:0:\nwheel:x:10:root,app\nvideo:x:44:app\nstaff:x:50:someone\nempty:x:51\n".utf8)

  @Test(arguments: [
    ("", 0, 0, [0, 10]), ("root", 0, 0, [0, 10]), ("0", 0, 0, [0, 10]), ("app", 1000, 1001, [1001, 10, 44]), ("1000", 1000, 1001, [1001, 10, 44]),
    ("app:staff", 1000, 50, [50]), ("app:7", 1000, 7, [7]), ("4242", 4242, 0, [0]), ("4242:staff", 4242, 50, [50]), ("twice", 5, 5, [5]),
    // A number is always an id, though a user is called so.
    ("1234", 1234, 0, [0]), (":staff", 0, 50, [50]), ("app:", 1000, 1001, [1001, 10, 44]),
  ]) func found(text: String, uid: Int, gid: Int, all: [Int]) throws {
    #expect(try UserLookup.resolve(text, passwd: passwd, group: group) == ProcessUser(uid: UInt32(uid), gid: UInt32(gid), additionalGids: all.map { UInt32($0) }))
  }

  @Test func numbersNeedNoFiles() throws {
    #expect(UserLookup.numeric("12:34") == ProcessUser(uid: 12, gid: 34))
    #expect(UserLookup.numeric("root:root") == ProcessUser(uid: 0, gid: 0))
    #expect(UserLookup.numeric("12") == nil)
    #expect(UserLookup.numeric("12:x") == nil)
    #expect(try UserLookup.resolve("", passwd: nil, group: nil) == ProcessUser(uid: 0, gid: 0))
    #expect(try UserLookup.resolve("12", passwd: nil, group: nil) == ProcessUser(uid: 12, gid: 0))
  }

  @Test(arguments: ["nobody", "app:nogroup", "-1", "2147483648", "huge", "99999999999999999999"]) func refused(text: String) {
    #expect { try UserLookup.resolve(text, passwd: passwd, group: group) } throws: { ($0 as? ExecutorError)?.code == .userNotFound }
  }

  @Test func messageIsBuildKits() {
    #expect { try UserLookup.resolve("nobody", passwd: nil, group: nil) } throws: { "\($0)" == "unable to find user nobody: no matching entries in passwd file" }
    #expect { try UserLookup.resolve("app:x", passwd: passwd, group: group) } throws: { "\($0)" == "unable to find group x: no matching entries in group file" }
  }
}
