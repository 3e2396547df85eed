import BuildKitAPI
import GRPCCore
import Testing

/// Names that clients call: a regeneration must not change them.
@Suite struct DescriptorTests {
  @Test func servicesHaveBuildKitsNames() {
    #expect(Moby_Buildkit_V1_Control.descriptor.fullyQualifiedService == "moby.buildkit.v1.Control")
    #expect(Moby_Buildkit_V1_Frontend_LLBBridge.descriptor.fullyQualifiedService == "moby.buildkit.v1.frontend.LLBBridge")
    #expect(Moby_Filesync_V1_FileSync.Method.DiffCopy.descriptor.fullyQualifiedMethod == "moby.filesync.v1.FileSync/DiffCopy")
    #expect(Grpc_Health_V1_Health.descriptor.fullyQualifiedService == "grpc.health.v1.Health")
  }
}
