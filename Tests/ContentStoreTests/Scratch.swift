import ContentStore
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// A root of its own, gone afterwards.
func withRoot<T>(_ body: (String) async throws -> T) async throws -> T {
  let root = try Files.makeTemporaryDirectory(prefix: "manifold-store-")
  do {
    let result = try await body(root)
    try Files.removeTree(root)
    return result
  } catch {
    try? Files.removeTree(root)
    throw error
  }
}

func withStore<T>(_ body: (ContentStore) async throws -> T) async throws -> T {
  try await withRoot { root in
    let store = try await ContentStore.open(root: root)
    let result = try await body(store)
    try await store.close()
    return result
  }
}

func expectStoreError<T>(_ code: StoreError.Code, _ fragment: String = "", _ body: () async throws -> T, at location: SourceLocation = #_sourceLocation) async {
  do {
    _ = try await body()
    Issue.record("no error", sourceLocation: location)
  } catch let error as StoreError {
    #expect(error.code == code, "\(error)", sourceLocation: location)
    #expect(fragment.isEmpty || error.description.contains(fragment), "\(error)", sourceLocation: location)
  } catch { Issue.record("another error: \(error)", sourceLocation: location) }
}

func names(_ path: String) throws -> [String] { try Directory.open(path).entries().map(\.name).sorted() }

/// Another program, for locks and kills between processes.
final class Child: Sendable {
  let pid: pid_t
  private let output: HostOS.Descriptor

  /// Nil where the program is not installed.
  static func start(_ program: String, _ arguments: [String]) throws -> Child? {
    Processes.executablePath(program) == nil ? nil : try Child(program, arguments)
  }

  init(_ program: String, _ arguments: [String]) throws {
    let pipe = try HostOS.Descriptor.pipe()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, pipe.write.raw, 1)
    let strings = ([program] + arguments).map { strdup($0) }
    defer { strings.forEach { free($0) } }
    var pid: pid_t = 0
    let failed = posix_spawnp(&pid, program, &actions, nil, strings + [nil], environ)
    guard failed == 0 else { throw HostError(.notFound, errno: failed, operation: "start", path: program) }
    (self.pid, output) = (pid, pipe.read)
  }

  func line() throws -> String {
    var out: [UInt8] = []
    var byte: UInt8 = 0
    while try withUnsafeMutableBytes(of: &byte, { try output.read(into: $0) }) == 1, byte != 0x0a { out.append(byte) }
    return String(decoding: out, as: UTF8.self)
  }

  func kill() {
    _ = Glibc.kill(pid, SIGKILL)
    var status: Int32 = 0
    waitpid(pid, &status, 0)
  }
}
