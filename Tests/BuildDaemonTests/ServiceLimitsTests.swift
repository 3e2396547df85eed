import BuildDaemon
import BuildKitAPI
import GRPCCore
import GRPCNIOTransportCore
import GRPCNIOTransportHTTP2Posix
import Testing

@Suite struct ServiceLimitsTests {
  @Test func messagesOfBuildKitsSizeAreTaken() {
    #expect(ServiceLimits.transport().rpc.maxRequestPayloadSize == 16 << 20)
  }
}
