import OCIModel
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Runs a renderer on a thread of its own and writes what it draws to a descriptor, so that a stopped terminal or a full pipe holds up
/// nobody who reports progress.
///
/// The descriptor is the caller's and is not closed. After `finish()` events are dropped.
package final class ProgressDisplay: ProgressSink {
  private enum Item { case event(ProgressEvent), message(String) }
  private struct State {
    var queue: [Item] = []
    var isFinishing = false
    var isDone = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }

  private let state = Mutex(State())
  private let bell = Bell()
  private let descriptor: Int32
  private let interval: Int64
  private let hasRenderer: Bool

  /// `environment` is read for the peers' settings: NO_COLOR, BUILDKIT_COLORS, BUILDKIT_TTY_LOG_LINES, PROGRESS_NO_TRUNC, TTY_DISPLAY_RATE (milliseconds).
  package convenience init(
    mode: ProgressMode, descriptor: Int32 = 2, phase: String = "Building", description: String = "", environment: [String: String] = [:]
  ) {
    let mode = mode.resolved(isTerminal: isatty(descriptor) == 1)
    let options = ProgressOptions(phase: phase, description: description, environment: environment)
    let rate = environment["TTY_DISPLAY_RATE"].flatMap { Int64($0) }.map { min(max($0, 10), 60_000) }
    self.init(renderer: mode.renderer(options), descriptor: descriptor, interval: (rate ?? 100) * 1_000_000)
  }

  /// - Parameter interval: the least time between two pictures, in nanoseconds.
  package init(renderer: (any ProgressRenderer)?, descriptor: Int32, interval: Int64 = 100_000_000) {
    (self.descriptor, self.interval, hasRenderer) = (descriptor, interval, renderer != nil)
    if let renderer { start(renderer) } else { state.withLock { $0.isDone = true } }
  }

  package func emit(_ event: ProgressEvent) {
    if hasRenderer, !event.isEmpty { enqueue(.event(event)) }
  }

  /// Shows a line of the program's own: above the picture, or between the lines.
  package func message(_ text: String) {
    if hasRenderer { enqueue(.message(TerminalText.multiLine(text))) }
  }

  /// Draws what is left and returns when it is written. Further calls return at once.
  package func finish() async {
    await withCheckedContinuation { continuation in
      let isDone = state.withLock { state in
        state.isFinishing = true
        if !state.isDone { state.waiters.append(continuation) }
        return state.isDone
      }
      if isDone { continuation.resume() } else { bell.ring() }
    }
  }

  private func enqueue(_ item: Item) {
    let wasEmpty = state.withLock { state in
      guard !state.isFinishing else { return false }
      state.queue.append(item)
      return state.queue.count == 1
    }
    if wasEmpty { bell.ring() }
  }

  // MARK: - The thread

  private func start(_ renderer: any ProgressRenderer) {
    final class Start { 
      let display: ProgressDisplay, renderer: any ProgressRenderer
      init(_ display: ProgressDisplay, _ renderer: any ProgressRenderer) { (self.display, self.renderer) = (display, renderer) }
    }
    let argument = Unmanaged.passRetained(Start(self, renderer)).toOpaque()
    #if canImport(Darwin)
    var thread: pthread_t?
    #else
    var thread = pthread_t()
    #endif
    let failed = pthread_create(&thread, nil, { raw in
      #if canImport(Darwin)
      let start = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
      #else
      let start = Unmanaged<Start>.fromOpaque(raw!).takeRetainedValue()
      #endif
      start.display.run(start.renderer)
      return nil
    }, argument)
    if failed != 0 {
      // No thread to draw on: the build goes on without a picture.
      Unmanaged<Start>.fromOpaque(argument).release()
      state.withLock { ($0.isFinishing, $0.isDone) = (true, true) }
      return
    }
    #if canImport(Darwin)
    if let thread { pthread_detach(thread) }
    #else
    pthread_detach(thread)
    #endif
  }

  private func run(_ initial: any ProgressRenderer) {
    var renderer = initial
    var lastPicture: Int64 = 0
    var isStale = false
    while true {
      let (items, isFinishing) = state.withLock { state in
        defer { state.queue = [] }
        return (state.queue, state.isFinishing)
      }
      for item in items {
        switch item {
        case .event(let event): renderer.fold(event, now: Self.now)
        case .message(let text): write(renderer.message(text, now: Self.now, window: window))
        }
        isStale = true
      }
      if isFinishing { break }
      let clock = Self.monotonic
      if renderer.isImmediate ? isStale : (isStale || renderer.isAnimated) && clock - lastPicture >= interval {
        write(renderer.render(now: Self.now, window: window))
        (lastPicture, isStale) = (clock, false)
      }
      // A picture drawn by time, one that waits its turn, or the plain view, in which a silent step's turn may end.
      let wait = isStale ? max(1_000_000, interval - (Self.monotonic - lastPicture)) : renderer.isAnimated ? interval : nil
      bell.wait(nanoseconds: wait)
    }
    write(renderer.finish(now: Self.now, window: window))
    let waiters = state.withLock { state in
      defer { state.waiters = [] }
      state.isDone = true
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  private func write(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { buffer in
      var rest = buffer[...]
      while !rest.isEmpty {
        let count = systemWrite(descriptor, rest.baseAddress, rest.count)
        if count > 0 {
          rest = rest.dropFirst(count)
        } else if errno == EAGAIN {
          // Whoever shares the terminal made it non-blocking.
          var poller = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          _ = poll(&poller, 1, 1000)
        } else if errno != EINTR {
          return  // nobody reads any more; the build's result does not depend on it
        }
      }
    }
  }

  private var window: WindowSize {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 else { return WindowSize(columns: 0, rows: 0) }
    return WindowSize(columns: Int(size.ws_col), rows: Int(size.ws_row))
  }

  private static var now: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
  }
  private static var monotonic: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}

private func systemWrite(_ descriptor: Int32, _ base: UnsafeRawPointer?, _ count: Int) -> Int { write(descriptor, base, count) }

extension Slice where Base == UnsafeRawBufferPointer {
  fileprivate var baseAddress: UnsafeRawPointer? { base.baseAddress.map { $0 + startIndex } }
}

/// Wakes one waiting thread; a ring before the wait is not lost.
/// @unchecked: `rung` is read and written under `mutex` alone.
private final class Bell: @unchecked Sendable {
  // Both live as long as the object and are touched through pthread's own calls, or under the lock.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var rung = false

  init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }
  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func ring() {
    pthread_mutex_lock(mutex)
    rung = true
    pthread_cond_signal(condition)
    pthread_mutex_unlock(mutex)
  }

  /// Until rung, or so many nanoseconds.
  func wait(nanoseconds: Int64?) {
    pthread_mutex_lock(mutex)
    defer {
      rung = false
      pthread_mutex_unlock(mutex)
    }
    guard let nanoseconds else {
      while !rung { pthread_cond_wait(condition, mutex) }
      return
    }
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    let total = Int64(deadline.tv_nsec) + nanoseconds
    deadline.tv_sec += Int(total / 1_000_000_000)
    deadline.tv_nsec = Int(total % 1_000_000_000)
    while !rung { if pthread_cond_timedwait(condition, mutex, &deadline) != 0 { return } }
  }
}
