/// A Dockerfile given meaning: its stages, and the ARGs before the first of them.
public struct Dockerfile: Sendable {
  /// The file as written.
  public let tree: SyntaxTree
  /// The ARG instructions before the first FROM, in order.
  public var globalArguments: [ArgInstruction]
  /// The stages, in order. Empty when the file holds nothing but global ARGs.
  public var stages: [Stage]
}

/// One FROM and the instructions after it.
public struct Stage: Sendable {
  /// The base: another stage's name, an image's reference, or `scratch`; variables not expanded.
  public var baseName: String
  /// The name after `AS`, in lower case, or nil.
  public var name: String?
  /// The value of `--platform`, variables not expanded, or nil.
  public var platform: String?
  /// The rest of a comment line right above FROM that begins with the stage's name.
  public var documentation: String?
  /// The stage's instructions.
  public var instructions: [Instruction]
  /// The FROM itself.
  public var origin: InstructionOrigin
}

/// Where an instruction came from.
public struct InstructionOrigin: Sendable, Hashable {
  /// The instruction's word as written.
  public var keyword: String
  /// The instruction's text: continued lines joined, no heredoc content, no surrounding blanks. Shown in progress and history.
  public var code: String
  /// Where it stands.
  public var range: SourceRange
  /// The comment lines right above it, without `#`.
  public var comments: [String]
  /// Where the text stands in the file, when it does.
  public internal(set) var layout = TextLayout()
  /// Where `code` begins in the text that `layout` is of.
  var codeStart = 0
  /// Makes an origin without places of its words.
  public init(keyword: String, code: String, range: SourceRange, comments: [String] = []) {
    (self.keyword, self.code, self.range, self.comments) = (keyword, code, range, comments)
  }
}

/// Turns one word into its expansion; see ``WordLexer``.
public typealias WordExpander = (String) throws -> String

/// An instruction other than FROM.
public enum Instruction: Sendable {
  case add(AddInstruction)
  case arg(ArgInstruction)
  case cmd(CommandInstruction)
  case copy(CopyInstruction)
  case entrypoint(CommandInstruction)
  case env(EnvInstruction)
  case expose(ExposeInstruction)
  case healthcheck(HealthcheckInstruction)
  case label(LabelInstruction)
  case maintainer(MaintainerInstruction)
  case onbuild(OnbuildInstruction)
  case run(RunInstruction)
  case shell(ShellInstruction)
  case stopsignal(StopsignalInstruction)
  case user(UserInstruction)
  case volume(VolumeInstruction)
  case workdir(WorkdirInstruction)
}

/// A name and a value of ENV or LABEL, quotes and variables not yet processed.
public struct KeyValue: Sendable, Hashable {
  /// The name.
  public var key: String
  /// The value.
  public var value: String
  /// Whether it was written `name value`, the old form, and not `name=value`.
  public var isLegacy: Bool
  /// Makes a pair.
  public init(key: String, value: String, isLegacy: Bool = false) {
    (self.key, self.value, self.isLegacy) = (key, value, isLegacy)
  }
}

/// What COPY and ADD read, and where they write to.
public struct FileSources: Sendable, Hashable {
  /// Paths, wildcards or (ADD) URLs, in order.
  public var paths: [String]
  /// Files written inside the Dockerfile, in order.
  public var contents: [InlineFile]
  /// The destination.
  public var destination: String
}

/// A file whose content stands in the Dockerfile.
public struct InlineFile: Sendable, Hashable {
  /// Its name: the heredoc's word.
  public var path: String
  /// Its content, leading tabs gone where `<<-` asks for that.
  public var data: String
  /// Whether variables in the content are expanded.
  public var expands: Bool
}

/// The command of RUN, CMD or ENTRYPOINT.
public struct CommandLine: Sendable, Hashable {
  /// The words of the JSON form; in the shell form one string, or none when nothing was given.
  public var arguments: [String]
  /// Whether the stage's shell runs it (shell form) or not (JSON form).
  public var prependsShell: Bool
  /// Heredocs, in order (RUN only).
  public var heredocs: [Heredoc]
}

/// `ADD [flags] source… destination`
public struct AddInstruction: Sendable {
  public var origin: InstructionOrigin
  /// What is added.
  public var sources: FileSources
  /// `--chown`, or nil.
  public var owner: String?
  /// `--chmod`, or nil.
  public var mode: String?
  /// `--link`
  public var link: Bool
  /// `--exclude`, in order.
  public var excludes: [String]
  /// `--keep-git-dir`, or nil when it is not given.
  public var keepGitDirectory: Bool?
  /// `--checksum`, or nil.
  public var checksum: String?
  /// `--unpack`, or nil when it is not given.
  public var unpack: Bool?
}

/// `COPY [flags] source… destination`
public struct CopyInstruction: Sendable {
  public var origin: InstructionOrigin
  /// What is copied.
  public var sources: FileSources
  /// `--from`: a stage's name or number, an image or a named context; nil for the build context. Never expanded.
  public var from: String?
  /// `--chown`, or nil.
  public var owner: String?
  /// `--chmod`, or nil.
  public var mode: String?
  /// `--link`
  public var link: Bool
  /// `--parents`
  public var parents: Bool
  /// `--exclude`, in order.
  public var excludes: [String]
}

/// `ARG name[=value]…`
public struct ArgInstruction: Sendable {
  /// One declared argument.
  public struct Argument: Sendable, Hashable {
    /// Its name.
    public var key: String
    /// Its default, or nil when there is none.
    public var value: String?
    /// The rest of a comment line right above that begins with the name.
    public var documentation: String?
  }
  public var origin: InstructionOrigin
  /// The arguments, in order; never empty.
  public var arguments: [Argument]
}

/// CMD or ENTRYPOINT.
public struct CommandInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The command; no arguments at all clears an inherited one.
  public var command: CommandLine
}

/// `ENV name=value…`
public struct EnvInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The variables, in order.
  public var variables: [KeyValue]
}

/// `LABEL name=value…`
public struct LabelInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The labels, in order.
  public var labels: [KeyValue]
}

/// `EXPOSE port…`
public struct ExposeInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The ports as written, sorted by bytes; each may expand to several words (``WordLexer/words(in:environment:)``).
  public var ports: [String]
}

/// `HEALTHCHECK …`
public struct HealthcheckInstruction: Sendable {
  public var origin: InstructionOrigin
  /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
  public var test: [String]
  /// `--interval` in nanoseconds, 0 when not given.
  public var interval: Int64
  /// `--timeout` in nanoseconds, 0 when not given.
  public var timeout: Int64
  /// `--start-period` in nanoseconds, 0 when not given.
  public var startPeriod: Int64
  /// `--start-interval` in nanoseconds, 0 when not given.
  public var startInterval: Int64
  /// `--retries`, 0 when not given.
  public var retries: Int
}

/// `MAINTAINER name` (an old form of a label)
public struct MaintainerInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The text after the word, as written.
  public var name: String
}

/// `ONBUILD instruction`
public struct OnbuildInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The held instruction's text, heredocs included, to be parsed by ``Instruction/trigger(_:at:limits:)`` when it fires.
  public var expression: String
}

/// `RUN [flags] command`
public struct RunInstruction: Sendable {
  /// `--network`
  public enum Network: String, Sendable, CaseIterable { case `default`, none, host }
  /// `--security`
  public enum Security: String, Sendable, CaseIterable { case sandbox, insecure }
  public var origin: InstructionOrigin
  /// The command.
  public var command: CommandLine
  /// `--mount`, in order, before expansion; see ``resolvedMounts(expanding:)``.
  public var mounts: [RunMountOption]
  /// `--network`
  public var network: Network
  /// `--security`
  public var security: Security
  /// `--device`, in order.
  public var devices: [RunDevice]
  /// The names of the flags that were given, without `--`.
  public var flagsUsed: Set<String>
}

/// One `--mount` as written.
public struct RunMountOption: Sendable, Hashable {
  /// The value of the flag.
  public var text: String
  /// The `from` in it, or nil. It cannot hold variables, so that it is known before anything is expanded.
  public var from: String?
}

/// One `--mount` after expansion.
public struct RunMount: Sendable, Hashable {
  /// What is mounted.
  public enum Kind: String, Sendable, CaseIterable { case bind, cache, tmpfs, secret, ssh }
  /// How concurrent users of one cache share it.
  public enum Sharing: String, Sendable, CaseIterable { case shared, `private`, locked }
  /// `type`
  public var kind: Kind = .bind
  /// `from`, or empty.
  public var from = ""
  /// `source` or `src`, or empty.
  public var source = ""
  /// `target`, `dst` or `destination`, or empty.
  public var target = ""
  /// `readonly`, `ro`, `readwrite`, `rw`, or the default of the kind: writable for cache and tmpfs, else read-only.
  public var readOnly = true
  /// `size` of a tmpfs in bytes, 0 for no limit.
  public var sizeLimit: Int64 = 0
  /// `id`, or empty.
  public var id = ""
  /// `sharing`, or nil.
  public var sharing: Sharing?
  /// `required` (secret, ssh).
  public var required = false
  /// `env`: the variable that receives a secret; empty for the default name; nil when not given.
  public var environmentVariable: String?
  /// `mode` (permission bits), or nil.
  public var mode: UInt32?
  /// `uid`, or nil.
  public var uid: UInt32?
  /// `gid`, or nil.
  public var gid: UInt32?
}

/// One `--device`.
public struct RunDevice: Sendable, Hashable {
  /// The device's CDI name, or empty.
  public var name = ""
  /// Whether the step fails without it.
  public var required = false
}

/// `SHELL ["program", …]`
public struct ShellInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The shell's words; never empty.
  public var shell: [String]
}

/// `STOPSIGNAL signal`
public struct StopsignalInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The signal's name or number.
  public var signal: String
}

/// `USER name[:group]`
public struct UserInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The user as written.
  public var user: String
}

/// `VOLUME path…`
public struct VolumeInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The paths, in order; never empty.
  public var volumes: [String]
}

/// `WORKDIR path`
public struct WorkdirInstruction: Sendable {
  public var origin: InstructionOrigin
  /// The path as written.
  public var path: String
}
