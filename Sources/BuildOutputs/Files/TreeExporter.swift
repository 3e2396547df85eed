internal import BuildProgress
internal import BuildInterface
internal import BuildSnapshots
internal import HostOS
internal import LayerArchive
internal import OCIModel

/// `type=local` and `type=tar`: the files of the result, in a directory of the client or in one archive. Several platforms have a folder each.
struct TreeExporter: Exporter {
  enum Form { case directory, archive }

  private let form: Form
  private let id: String
  /// nil: as many platforms need.
  private let splitsPlatforms: Bool?
  private let epoch: Int64??
  private let attestationPrefix: String
  /// `mode=delete`: what else is in the client's directory goes.
  private let replaces: Bool

  init(_ form: Form, id: String, _ attributes: inout ExportAttributes) throws {
    self.form = form
    self.id = id
    splitsPlatforms = try attributes.flag("platform-split")
    epoch = try attributes.sourceDateEpoch()
    attestationPrefix = attributes.text("attestation-prefix") ?? ""
    switch form == .directory ? attributes.text("mode") ?? "" : "" {
    case "", "copy": replaces = false
    case "delete": replaces = true
    case let other: throw attributes.invalid("mode", "is \(other): expected copy or delete")
    }
    try attributes.finish()
  }

  func export(_ source: ExportSource, in environment: ExportEnvironment) async throws -> [String: String] {
    let target = try await environment.destinations.target(id: id)
    switch form {
    case .directory:
      if case .remote(let client) = target { return try await send(source, to: client, environment) }
      if replaces { throw BuildError(.unimplemented, .usage, "output type=local: the attribute mode=delete is not supported for a directory of this machine yet") }
      guard case .directory(let path) = target else { throw BuildError(.invalidArgument, .usage, "type=local needs a directory as its destination") }
      try await ProgressTask.export("exporting to client directory", environment.progress) { vertex in
        try await CancelFlag.watching { flag in try await copy(source, to: path, vertex, flag) }
      }
    case .archive:
      try await ProgressTask.export("exporting to client tarball", environment.progress) { vertex in
        try await CancelFlag.watching { flag in try await archive(source, to: target, vertex, flag) }
      }
    }
    return [:]
  }

  /// Over a connection: each platform's files in a transfer of their own, as the peers send them; all in one where the client's directory becomes what is sent.
  private func send(_ source: ExportSource, to client: any RemoteExport, _ environment: ExportEnvironment) async throws -> [String: String] {
    let splits = splitsPlatforms ?? source.isMultiPlatform, replaces = replaces, modified = time(source)?.nanosecondsSinceEpoch
    try await ProgressTask.export("exporting to client directory", environment.progress) { vertex in
      try await CancelFlag.watching { flag in
        if !splits { try await refuseClashes(source, flag) }
        var parts: [(id: String, part: SentTree.Part)] = []
        for target in source.targets {
          let tree = try await ExportErrors.wrapping("cannot read the files of \(target.id)") { try await target.ref?.open() }
          let attestations = try await attestations(target, shares: source.isMultiPlatform && !splits)
          parts.append((target.id, SentTree.Part(folder: splits ? Self.folder(target) : nil, tree: tree, attestations: attestations)))
        }
        let sent = replaces ? [(id: "", parts: parts.map(\.part))] : parts.map { (id: splits ? $0.id : "", parts: [$0.part]) }
        try await withThrowingTaskGroup(of: Void.self) { group in
          for (id, parts) in sent {
            group.addTask {
              let meter = ExportMeter(vertex, id.isEmpty ? "copying files" : "copying files \(id)", name: "transferring")
              meter.set(0)
              try await ExportErrors.wrapping("cannot copy the files\(id.isEmpty ? "" : " of \(id)") to the client") {
                try await client.sendFiles(SentTree(parts, modified: modified, flag), replaces: replaces) { meter.set($0) }
              }
              meter.finish()
            }
          }
          try await group.waitForAll()
        }
      }
    }
    return [:]
  }

  private func time(_ source: ExportSource) -> Timestamp? {
    switch epoch {
    case .some(let own): own.map { Timestamp(seconds: $0) }
    case .none: source.sourceDateEpoch.map { Timestamp(seconds: $0) }
    }
  }

  /// - Parameter shares: the target's files lie in one folder with those of others.
  private func attestations(_ target: ExportSource.Target, shares: Bool) async throws -> TreeAttestations {
    try await TreeAttestations.make(target, prefix: attestationPrefix, platform: shares ? Self.folder(target) : nil)
  }

  private static func folder(_ target: ExportSource.Target) -> String { String(target.id.map { $0 == "/" ? "_" : $0 }) }

  // MARK: A directory

  private func copy(_ source: ExportSource, to path: String, _ vertex: ProgressTask, _ flag: CancelFlag) async throws {
    let options = DirectoryCopy(modified: time(source)?.nanosecondsSinceEpoch)
    let destination = try await ExportErrors.wrapping("cannot make the directory \(path)") {
      try await Blocking.run {
        try Files.makeDirectories(path)
        return try Directory.open(path)
      }
    }
    let splits = splitsPlatforms ?? source.isMultiPlatform
    if !splits { try await refuseClashes(source, flag) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for target in source.targets {
        group.addTask {
          try await ExportErrors.wrapping("cannot copy the files of \(target.id) to \(path)") {
            let attestations = try await attestations(target, shares: source.isMultiPlatform && !splits)
            try await copy(target, splits ? Self.folder(target) : nil, attestations, to: destination, options, vertex, flag)
          }
        }
      }
      try await group.waitForAll()
    }
  }

  private func copy(
    _ target: ExportSource.Target, _ folder: String?, _ attestations: TreeAttestations, to destination: Directory, _ options: DirectoryCopy,
    _ vertex: ProgressTask, _ flag: CancelFlag
  ) async throws {
    let meter = ExportMeter(vertex, folder == nil ? "copying files" : "copying files \(target.id)", name: "transferring")
    meter.set(0)
    let copy: @Sendable (Directory?) throws -> [String] = { tree in
      let inner = try folder.map { try options.directory($0, in: destination) } ?? destination
      let skipped = try tree.map { try options.copy($0, into: inner, copied: { meter.add($0) }, isCancelled: { flag.isSet }) } ?? []
      try attestations.write(tree, into: inner, modified: options.modified, isCancelled: { flag.isSet })
      if let folder { try options.finish(folder, in: destination) }
      return skipped
    }
    let skipped = if let ref = target.ref { try await ref.withMounted { try copy($0) } } else { try await Blocking.run { try copy(nil) } }
    for path in skipped { vertex.log("\(path): a socket cannot be copied, and is left out") }
    meter.finish()
  }

  /// Without folders, no platform's file may overwrite another's.
  private func refuseClashes(_ source: ExportSource, _ flag: CancelFlag) async throws {
    guard source.targets.count > 1 else { return }
    var owners: [String: String] = [:]
    for target in source.targets {
      guard let ref = target.ref else { continue }
      for path in try await ref.withMounted({ try DirectoryCopy.files($0) { flag.isSet } }) {
        if let other = owners.updateValue(target.id, forKey: path) {
          throw BuildError(.invalidArgument, .usage, "cannot overwrite \(path) of \(other) with that of \(target.id): leave platform-split on, which gives each platform a folder")
        }
      }
    }
  }

  // MARK: An archive

  /// The trees are opened first, one within the other, so that the archive is written in one go.
  private func archive(_ source: ExportSource, to target: ExportTarget, _ vertex: ProgressTask, _ flag: CancelFlag) async throws {
    let splits = splitsPlatforms ?? source.isMultiPlatform
    if !splits { try await refuseClashes(source, flag) }
    let archiver = DirectoryArchiver(modified: time(source))
    let targets = splits ? source.targets.sorted { Self.folder($0) < Self.folder($1) } : source.targets
    var trees: [(folder: ByteString, tree: Directory?, attestations: TreeAttestations)] = []
    for target in targets {
      let tree = try await ExportErrors.wrapping("cannot read the files of \(target.id)") { try await target.ref?.open() }
      let attestations = try await attestations(target, shares: source.isMultiPlatform && !splits)
      trees.append((splits ? ByteString(text: Self.folder(target)) : ByteString(), tree, attestations))
    }
    let file = ExportFile(target: target)
    let now = Timestamp(seconds: wallClock().seconds)
    try await vertex.step("sending tarball") {
      try await ExportErrors.wrapping("cannot write the tar archive") { [trees] in
        let taken = try await file.write { sink in
          let tar = TarWriter(sink, style: .compact)
          for (folder, tree, attestations) in trees {
            try archiver.archive(tree, under: folder, into: tar, isCancelled: { flag.isSet })
            for (name, bytes) in try attestations.files(of: tree, isCancelled: { flag.isSet }) {
              try tar.begin(TarEntry(path: folder.appending(ByteString(text: name)), mode: 0o600, size: Int64(bytes.count), modified: archiver.modified ?? now))
              try bytes.withUnsafeBytes { try tar.write($0) }
            }
          }
          try tar.finish()
        }
        if !taken { throw BuildError(.failedPrecondition, .usage, "the client refuses the archive: its destination exists already") }
      }
    }
  }
}
