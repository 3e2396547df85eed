package import Binaries
package import LayerArchive
package import OCIModel

/// One entry of a layer: what checks and comparisons need of it.
package struct LayerEntry: Sendable {
  package enum Kind: String, Sendable { case file, directory, symbolicLink = "symlink", characterDevice = "character device", blockDevice = "block device", fifo }
  package enum Change: Sendable {
    case add(FileFacts)
    /// Another name of the file that has `target`.
    case hardLink(target: ByteString)
    /// Hides what the layers below have under the path.
    case whiteout
    /// Hides what the layers below have in the directory.
    case opaque
  }
  /// Cleaned: relative, without "." and "..".
  package var path: ByteString
  package var change: Change
}

/// A file as a layer has it.
package struct FileFacts: Sendable, Hashable {
  package var kind: LayerEntry.Kind
  /// The twelve permission bits.
  package var mode: UInt32
  package var uid: Int64
  package var gid: Int64
  package var size: Int64
  /// Of a symbolic link.
  package var target: ByteString = ""
  package var deviceMajor: Int64 = 0
  package var deviceMinor: Int64 = 0
  /// SHA-256 of the content, when it was asked for.
  package var content: Digest?
  /// Extended attributes, when content was asked for.
  package var attributes: [String: [UInt8]] = [:]
  /// What the first bytes say of a regular file.
  package var program: Program?

  package init(kind: LayerEntry.Kind, mode: UInt32, uid: Int64 = 0, gid: Int64 = 0, size: Int64 = 0) {
    (self.kind, self.mode, self.uid, self.gid, self.size) = (kind, mode, uid, gid, size)
  }
  package var isExecutable: Bool { kind == .file && mode & 0o111 != 0 }
}

/// What a file is to the kernel that is told to execute it. On the heap: few files have one.
package final class Program: Sendable, Hashable {
  package enum Form: Sendable, Equatable {
    case binary(ExecutableFile)
    /// It begins like a program, and the rest is not what one has.
    case damaged(String)
    /// Nothing that a kernel starts. Only of executable files.
    case other
  }
  package let form: Form
  package let arm: ARMAttributes?
  /// False: where it names its interpreter was not seen.
  package let knowsInterpreter: Bool

  package init(_ form: Form, arm: ARMAttributes? = nil, knowsInterpreter: Bool = true) { (self.form, self.arm, self.knowsInterpreter) = (form, arm, knowsInterpreter) }
  package static func == (a: Program, b: Program) -> Bool { a.form == b.form && a.arm == b.arm }
  package func hash(into hasher: inout Hasher) { if case .binary(let file) = form { hasher.combine(file.platform) } }

  package var elf: ELFBinary? { if case .binary(.elf(let elf)) = form { elf } else { nil } }
  package var file: ExecutableFile? { if case .binary(let file) = form { file } else { nil } }
}
