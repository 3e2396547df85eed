#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

// The engine's parts are not joined yet (ARCHITECTURE.md, "State"): say so instead of pretending.
fputs("manifold: this version cannot build images yet: its parts exist, but are not joined. See ARCHITECTURE.md, \"State\".\n", stderr)
exit(1)
