internal import BuildInterface
internal import BuildKitAPI
internal import GRPCCore

extension SessionClient {
  package init(_ session: ClientSession) { self.init(session, files: SessionFiles(session: session), exports: SessionExports(session: session)) }
}

/// Directories of a session's client (session/filesync). Which names it has is only known when it is asked for the files.
struct SessionFiles: FileService {
  let session: ClientSession

  func directory(named name: String) async throws -> LocalDirectory {
    if let ended = session.endedBecause { throw ended.buildError }
    guard session.supports(Moby_Filesync_V1_FileSync.Method.DiffCopy.descriptor) else {
      throw BuildError(.notFound, .usage, "the build asks for the local directory \"\(name)\", and the client offers none")
    }
    return .remote(RemoteFolder(session.client, name: name, sharedKey: session.sharedKey))
  }
}

/// Outputs that a session's client takes.
struct SessionExports: ExportService {
  let session: ClientSession

  func target(id: String) async throws -> ExportTarget {
    if let ended = session.endedBecause { throw ended.buildError }
    guard session.supports(Moby_Filesync_V1_FileSend.Method.DiffCopy.descriptor) else {
      throw BuildError(.invalidArgument, .usage, "output \(id) goes to the client, which takes none", suggestion: "add dest=PATH to it")
    }
    guard let number = Int(id) else { throw BuildError(.invalidArgument, .usage, "output \"\(id)\" has no number") }
    return .remote(RemoteOutput(session.client, id: number))
  }
}
