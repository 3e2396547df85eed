internal import BuildInterface
internal import OCIModel
internal import PathPatterns

/// Paths as the system of an image writes them, made into those of a graph: absolute where that is asked, with slashes, and without a drive. For Windows a
/// backslash separates too, `C:` is the only drive, and network paths are refused (BuildKit's util/system); for others a path is what it is.
struct ImagePaths {
  let isWindows: Bool
  init(_ platform: Platform) { isWindows = platform.os == "windows" }

  func slashed(_ path: String) -> String { isWindows ? path.replacing("\\", with: "/") : path }

  /// As the image's config says it.
  func native(_ path: String) -> String { isWindows ? path.replacing("/", with: "\\") : path }

  /// Without its drive, cleaned. `C:dir` is relative.
  func withoutDrive(_ path: String, keepsSlash: Bool = false) throws -> String {
    guard isWindows else { return path }
    let bytes = Array(path.utf8)
    if bytes.count == 2, bytes[1] == UInt8(ascii: ":") { throw mistake("No relative path specified in \(GoText.quoted(path))", "as in \(path)\\ for the drive's root") }
    if slashed(path).hasPrefix("//") { throw mistake("UNC paths are not supported", "\(path.prefix(100)) is on another machine: an image has one drive, C:") }
    guard let colon = path.firstIndex(of: ":") else { return cleaned(path, keepsSlash) }
    guard path[..<colon].lowercased() == "c" else {
      throw mistake("The specified path is not on the system drive (C:)", "an image has one drive: write \(path.prefix(100)) as C:\(path[path.index(after: colon)...].prefix(100))")
    }
    return cleaned(String(path[path.index(after: colon)...]), keepsSlash)
  }

  private func mistake(_ message: String, _ suggestion: String) -> BuildError { BuildError(.invalidArgument, .usage, message, suggestion: suggestion) }

  private func cleaned(_ path: String, _ keepsSlash: Bool) -> String {
    let path = slashed(path), clean = SlashPath.clean(path)
    return keepsSlash && clean.utf8.count > 1 && path.hasSuffix("/") ? clean + "/" : clean
  }

  func isAbsolute(_ path: String) -> Bool {
    guard let path = try? withoutDrive(path) else { return false }
    return SlashPath.isAbsolute(path)
  }

  /// `path`, seen from `parent`. With `keepsSlash` the slash or dot at its end stays, which decides between a file and a folder.
  func joined(_ parent: String, _ path: String, keepsSlash: Bool = false) throws -> String {
    var parent = try withoutDrive(parent.isEmpty ? "/" : parent, keepsSlash: keepsSlash)
    if !SlashPath.isAbsolute(parent) { parent = SlashPath.join("/", parent) }
    var joined = try withoutDrive(path.isEmpty ? parent : path, keepsSlash: keepsSlash)
    if !SlashPath.isAbsolute(joined) { joined = SlashPath.join(parent, joined) }
    guard keepsSlash else { return joined }
    let written = slashed(path)
    if written.hasSuffix("/"), !joined.hasSuffix("/") {
      joined += "/"
    } else if written.hasSuffix("/.") {
      if joined != "/" { joined += "/" }
      joined += "."
    }
    return joined
  }

  /// Where a COPY or ADD goes.
  func destination(_ path: String, in directory: String) throws -> String {
    let path = try withoutDrive(path, keepsSlash: true)
    if SlashPath.isAbsolute(path) { return isWindows ? try joined("/", path, keepsSlash: true) : path }
    return try joined(directory, path.isEmpty || path == "." ? "./" : path, keepsSlash: true)
  }

  /// A source path within its filesystem.
  func source(_ path: String) throws -> String { try joined("/", path) }
}

extension StageState {
  /// For its instructions; it has a platform by then.
  var paths: ImagePaths { ImagePaths(platform ?? image.platform) }
}
