import HostOS
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// A directory of the test's own, removed at the end.
func withScratch<Value>(_ body: (String) throws -> Value) throws -> Value {
  let path = try Files.makeTemporaryDirectory(prefix: "hostos-test-")
  defer { try? Files.removeTree(path) }
  return try body(path)
}

func withScratch<Value>(_ body: (String) async throws -> Value) async throws -> Value {
  let path = try Files.makeTemporaryDirectory(prefix: "hostos-test-")
  defer { try? Files.removeTree(path) }
  return try await body(path)
}

func write(_ text: String, _ path: String) throws { try Files.writeAtomically(Array(text.utf8), to: path, durable: false) }
func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// The code of the error that `body` throws.
func code(_ body: () throws -> Void) -> HostError.Code? {
  do { try body() } catch let error as HostError { return error.code } catch { return nil }
  return nil
}

let isRoot = geteuid() == 0
