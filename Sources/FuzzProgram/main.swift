import FuzzTargets

#if canImport(Glibc)
  import Glibc
#endif

// `FuzzProgram TARGET [libFuzzer's options and folders]`. Built by Scripts/fuzz alone, with what libFuzzer needs.

@_silgen_name("LLVMFuzzerRunDriver")
func runFuzzer(
  _ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

func fail(_ text: String) -> Never {
  _ = (text + "\n").withCString { write(2, $0, strlen($0)) }
  abort()
}

let names = FuzzTarget.all.map(\.name)
guard CommandLine.arguments.count > 1, let target = FuzzTarget.all.first(where: { $0.name == CommandLine.arguments[1] }) else {
  print(names.joined(separator: "\n"))
  exit(CommandLine.arguments.count > 1 ? 64 : 0)
}

/// libFuzzer's function has no context. Set here, before the fuzzer starts, and only read after.
nonisolated(unsafe) var running = target

var arguments = [strdup(CommandLine.arguments[0]), strdup("-max_len=\(target.maximumLength)")] + CommandLine.arguments.dropFirst(2).map { strdup($0) } + [nil]
var count = CInt(arguments.count - 1)
let status = arguments.withUnsafeMutableBufferPointer { buffer -> CInt in
  guard var base = buffer.baseAddress else { return 64 }
  return runFuzzer(&count, &base) { bytes, length in
    let input = Array(UnsafeBufferPointer(start: bytes, count: length))
    do { try running.run(input) } catch { fail("FINDING in \(running.name): \(error)") }
    return 0
  }
}
exit(status)
