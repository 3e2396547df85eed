import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A lock with a condition. @unchecked: it is what protects others.
package final class Monitor: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  package init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }
  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    condition.deallocate()
  }
  package func locked<Value>(_ body: () throws -> Value) rethrows -> Value {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }
  /// Inside `locked` only.
  package func wait() { pthread_cond_wait(condition, mutex) }
  package func signalAll() { pthread_cond_broadcast(condition) }
  package func signalOne() { pthread_cond_signal(condition) }
}

/// Threads of our own: compression must use neither Swift's cooperative threads nor the pool that waits on files.
enum Threads {
  private final class Body { let run: () -> Void; init(_ run: @escaping () -> Void) { self.run = run } }

  /// Starts a detached thread. Answers whether it could be started.
  static func start(_ body: @escaping @Sendable () -> Void) -> Bool {
    let box = Unmanaged.passRetained(Body(body))
    #if canImport(Darwin)
      var thread: pthread_t?
      let code = pthread_create(&thread, nil, { Unmanaged<Body>.fromOpaque($0).takeRetainedValue().run(); return nil }, box.toOpaque())
      if code == 0, let thread { pthread_detach(thread) }
    #else
      var thread = pthread_t()
      let code = pthread_create(&thread, nil, { Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run(); return nil }, box.toOpaque())
      if code == 0 { pthread_detach(thread) }
    #endif
    if code != 0 { box.release() }
    return code == 0
  }
}

/// As many threads as cores, for pure computation, shared by all layers being compressed. Started when first needed.
/// @unchecked: `monitor` protects the rest.
final class WorkerPool: @unchecked Sendable {
  static let shared = WorkerPool(threads: max(1, Int(hostos_cores())))

  let threads: Int
  private let monitor = Monitor()
  private var jobs: [@Sendable () -> Void] = []
  private var next = 0
  private var running = 0
  private var idle = 0

  init(threads: Int) { self.threads = threads }

  /// The job runs soon on some thread; on this one when there is no other to be had. It must not block.
  func submit(_ job: @escaping @Sendable () -> Void) {
    let inline = monitor.locked { () -> Bool in
      if idle <= jobs.count - next, running < threads {
        if Threads.start({ [self] in work() }) { running += 1 } else if running == 0 { return true }
      }
      jobs.append(job)
      monitor.signalOne()
      return false
    }
    if inline { job() }
  }

  private func work() {
    while true {
      let job = monitor.locked { () -> @Sendable () -> Void in
        idle += 1
        while next == jobs.count { monitor.wait() }
        idle -= 1
        let job = jobs[next]
        next += 1
        if next == jobs.count || next >= 64 {
          jobs.removeFirst(next)
          next = 0
        }
        return job
      }
      job()
    }
  }
}
