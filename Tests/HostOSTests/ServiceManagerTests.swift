import Testing

@testable import HostOS

@Suite struct ServiceManagerTests {
  @Test func socketsAreOnlyThisProcesss() {
    #expect(ServiceManager.sockets(pid: "7", count: "2", names: "a:b", own: 7) == [.init(name: "a", descriptor: 3), .init(name: "b", descriptor: 4)])
    #expect(ServiceManager.sockets(pid: "7", count: "2", names: "a", own: 7).map(\.name) == ["a", ""])
    for (pid, count) in [("8", "1"), ("7", "0"), ("7", "-1"), ("7", "100000"), ("7", "x"), ("", "1")] { #expect(ServiceManager.sockets(pid: pid, count: count, names: nil, own: 7).isEmpty) }
    #expect(ServiceManager.sockets(pid: nil, count: "1", names: nil, own: 7).isEmpty)
  }
}
