#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension Descriptor {
  /// Of a terminal. Its process learns of it by a signal (`Signals.windowChange`).
  package func setTerminalSize(rows: UInt16, columns: UInt16) {
    var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(raw, UInt(TIOCSWINSZ), &size)
  }
}
