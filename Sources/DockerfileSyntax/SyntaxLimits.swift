/// Bounds on what the parser takes, so that a hostile file costs little: everything within them is parsed in time that grows
/// linearly with the file.
public struct SyntaxLimits: Sendable, Hashable {
  /// The largest Dockerfile, in bytes.
  public var sourceBytes: Int
  /// The longest line, in bytes without its line end. BuildKit stops at 65,535; inline data in heredocs is why this is more.
  public var lineBytes: Int
  /// How deep `ONBUILD` may nest in the syntax tree (any nesting at all is refused when it is given meaning).
  public var onbuildDepth: Int

  /// Makes limits; the defaults are 16 MiB, 1 MiB and 8.
  public init(sourceBytes: Int = 16 << 20, lineBytes: Int = 1 << 20, onbuildDepth: Int = 8) {
    (self.sourceBytes, self.lineBytes, self.onbuildDepth) = (sourceBytes, lineBytes, onbuildDepth)
  }
}
