internal import Binaries
package import LayerArchive
package import OCIModel

/// Whether the programs of an image are for its platform.
struct ProgramCheck {
  let table: FileTable
  let platform: Platform
  /// A path, a layer, what is wrong.
  let report: (Finding.Severity, Finding.Code, ByteString, Int, String) -> Void

  func run() {
    var kept = 0, first: ByteString?
    table.forEach { path, slot in
      let facts = slot.node.facts
      guard facts.kind == .file, let program = facts.program, ProgramFiles.isProgram(path, facts, platform) else { return }
      switch program.form {
      case .other: return
      case .damaged(let why): if facts.isExecutable { report(.warning, .damagedProgram, path, slot.node.layer, "begins like a program and is none: \(why)") }
      case .binary(let file):
        if let misfit = file.misfit(on: platform, arm: program.arm) {
          if file.isAtHome(in: path.parent.components.map(\.description)) {
            kept += 1
            if first == nil { first = path }
          } else if let (severity, code) = ProgramCheck.weight(misfit, file, platform, starts: false) {
            report(severity, code, path, slot.node.layer, misfit.message)
          }
        } else if facts.isExecutable {
          checkInterpreter(path, slot.node.layer, program)
        }
      }
    }
    if let first, kept > 0 {
      report(.note, .foreignFiles, first, -1, "\(kept == 1 ? "a program" : "\(kept) programs") for other platforms, in folders named after them")
    }
  }

  /// nil: nothing to tell of. `starts`: the image begins with it.
  static func weight(_ misfit: Misfit, _ file: ExecutableFile, _ platform: Platform, starts: Bool) -> (Finding.Severity, Finding.Code)? {
    switch (misfit.kind, file) {
    // Windows programs in an image for Linux are data to something (pip's launchers, .NET); so are those for Linux in one for Windows.
    case (.foreign, .pe) where platform.os != "windows" && !starts, (.foreign, .elf) where platform.os == "windows" && !starts: nil
    case (.foreign, _): (.error, .wrongArchitecture)
    // Every amd64 kernel that people run has the other half too.
    case (.guest, _): starts || platform.architecture == "arm64" && platform.os == "linux" ? (.warning, .guestArchitecture) : nil
    case (.abi, _): (.warning, .wrongABI)
    }
  }

  func checkInterpreter(_ path: ByteString, _ layer: Int, _ program: Program) {
    guard platform.os != "windows", let elf = program.elf, case .dynamic(let name) = elf.linkage else { return }
    switch table.lookup(ByteString(text: name)) {
    case .found(let found):
      guard found.node.facts.kind == .file else { return report(.error, .missingInterpreter, path, layer, "needs the interpreter \(name), which is a \(found.node.facts.kind.rawValue)") }
      guard let interpreter = found.node.facts.program?.elf else { return report(.error, .missingInterpreter, path, layer, "needs the interpreter \(name), which is no ELF file") }
      if interpreter.machine != elf.machine || interpreter.fileClass != elf.fileClass || interpreter.byteOrder != elf.byteOrder {
        report(.error, .missingInterpreter, path, layer, "needs the interpreter \(name), which is for another machine (\(interpreter.summary))")
      }
    case .missing(let missing):
      let through = "/\(missing)" == name ? "" : " (there is no /\(missing))"
      report(.error, .missingInterpreter, path, layer, "needs the interpreter \(name), which is not in the image\(through)")
    case .loop: report(.error, .missingInterpreter, path, layer, "needs the interpreter \(name), whose links lead nowhere")
    }
  }
}

/// Which files are programs.
enum ProgramFiles {
  /// Whether a file is one that the image itself would run: executable, or a shared library where the loader looks for them.
  static func isProgram(_ path: ByteString, _ facts: FileFacts, _ platform: Platform) -> Bool {
    if platform.os == "windows" {
      let name = path.lastComponent.description.lowercased()
      return name.hasSuffix(".exe") || name.hasSuffix(".dll")
    }
    if facts.isExecutable { return true }
    let name = path.lastComponent.description
    guard name.hasSuffix(".so") || name.contains(".so.") else { return false }
    return ["lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib", "usr/local/lib64"].contains(path.parent.description)
  }
}
