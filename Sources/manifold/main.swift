#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

// The engine's parts are not joined yet (ARCHITECTURE.md, "State"): say so instead of pretending.
let text = "manifold: this version cannot build images yet: its parts exist, but are not joined. See ARCHITECTURE.md, \"State\".\n"
_ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
exit(1)
