import BuildSolver
import Synchronization
import Testing

@Suite struct JobSlotTests {
  private final class Room: Sendable { let is_ = Atomic<Bool>(true) }

  /// While memory is short one runs at a time; those that run are not touched.
  @Test func shortMemory() async throws {
    let room = Room()
    let slots = JobSlots(limit: 4) { room.is_.load(ordering: .relaxed) }
    let first = try await slots.acquire()
    room.is_.store(false, ordering: .relaxed)
    let waiting = Task { try await slots.acquire() }
    let cancelled = Task { try await slots.acquire() }
    try await Task.sleep(for: .milliseconds(150))
    cancelled.cancel()
    await #expect(throws: CancellationError.self) { try await cancelled.value }
    // The first ends: another may start though memory is as short as before.
    first.release()
    let second = try await waiting.value
    // Who waits for others' work is in nobody's way.
    let third = try await second.suspended { try await slots.acquire() }
    third.release()
    second.release()
    room.is_.store(true, ordering: .relaxed)
    var all: [JobSlots.Lease] = []
    for _ in 0..<4 { all.append(try await slots.acquire()) }
    #expect(all.count == 4)
  }
}
