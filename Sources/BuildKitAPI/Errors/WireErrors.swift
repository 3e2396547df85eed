package import BuildInterface
package import BuildKitProto
internal import FoundationEssentials
package import GRPCCore
internal import OCIModel
internal import SwiftProtobuf

/// Errors of builds and gRPC's statuses, both ways. The message, code and details are those that BuildKit's own programs send and read, so that a client shows the
/// Dockerfile's lines; what they have no word for (advice, the exit code, a step's last output) is in one more detail that they pass over.
package enum WireErrors {
  /// Where gRPC carries a google.rpc.Status.
  package static let detailsKey = "grpc-status-details-bin"
  /// A client refuses trailers above 16 MiB; far below, source texts are left out.
  private static let detailLimit = 4 << 20

  // MARK: to the wire

  package static func rpcError(_ error: any Error) -> RPCError {
    if let error = error as? RPCError { return error }
    let status = status(error)
    let code = Status.Code(rawValue: Int(status.code)).flatMap { RPCError.Code($0) } ?? .unknown
    var out = RPCError(code: code, message: status.message)
    if !status.details.isEmpty, let bytes: [UInt8] = try? status.serializedBytes() { out.metadata.addBinary(bytes, forKey: detailsKey) }
    return out
  }

  /// As it is put into a build's history, and into what a frontend returns.
  package static func status(_ error: any Error) -> Google_Rpc_Status {
    var out = Google_Rpc_Status()
    if error is CancellationError {
      out.code = Int32(RPCError.Code.cancelled.rawValue)
      out.message = "context canceled"
      return out
    }
    if let error = error as? RPCError {
      if let bytes = error.metadata[binaryValues: detailsKey].first(where: { _ in true }), let status = try? Google_Rpc_Status(serializedBytes: bytes) { return status }
      out.code = Int32(error.code.rawValue)
      out.message = error.message
      return out
    }
    guard let error = error as? BuildError else {
      out.code = Int32(RPCError.Code.unknown.rawValue)
      out.message = "\(error)"
      return out
    }
    out.code = Int32(code(error).rawValue)
    out.message = error.description + (error.suggestion.map { "\n" + $0 } ?? "")
    var size = 0
    for detail in details(error) {
      guard let packed = try? detail.packed(), size + packed.value.count <= detailLimit else { continue }
      size += packed.value.count
      out.details.append(packed)
    }
    return out
  }

  /// BuildKit gives what it has no code for as unknown, and its clients put any other code's name before the message. So only what clients act on has one.
  private static func code(_ error: BuildError) -> RPCError.Code {
    if error.unsupported != nil { return .unimplemented }
    return switch error.code {
    case .cancelled: .cancelled
    case .deadlineExceeded: .deadlineExceeded
    case .resourceExhausted: .resourceExhausted
    case .unimplemented: .unimplemented
    case .internal: .internalError
    default: .unknown
    }
  }

  /// In BuildKit's order, from the outermost to the cause.
  private static func details(_ error: BuildError) -> [ErrorDetail] {
    var out: [ErrorDetail] = error.sources.map { place in
      var source = Errdefs_Source()
      source.info.filename = place.filename
      source.info.data = .init(place.data)
      var range = Pb_Range()
      range.start.line = Int32(clamping: place.lines.lowerBound)
      range.end.line = Int32(clamping: place.lines.upperBound)
      source.ranges = [range]
      return .source(source)
    }
    if let vertex = error.vertex { out.append(.vertex(digest: "\(vertex.digest)")) }
    if let failed = error.operation {
      var solve = Errdefs_Solve()
      solve.op = failed.op
      solve.inputIds = failed.inputIDs
      solve.mountIds = failed.mountIDs
      out.append(.solve(solve))
    }
    if let exit = error.exitCode { out.append(.exit(code: UInt32(bitPattern: exit))) }
    switch error.unsupported {
    case .capability(let name): out.append(.capability(name))
    case .subrequest(let name): out.append(.subrequest(name))
    case nil: break
    }
    return out + [.own(BuildErrorDocument.json(error))]
  }

  // MARK: from the wire

  package static func buildError(_ error: RPCError) -> BuildError {
    if let bytes = error.metadata[binaryValues: detailsKey].first(where: { _ in true }), let status = try? Google_Rpc_Status(serializedBytes: bytes) {
      return buildError(status)
    }
    var status = Google_Rpc_Status()
    status.code = Int32(error.code.rawValue)
    status.message = error.message
    return buildError(status)
  }

  package static func buildError(_ status: Google_Rpc_Status) -> BuildError {
    var out = BuildError(code(Int(status.code)), .build, status.message)
    for packed in status.details.prefix(256) {
      guard let detail = try? ErrorDetail(parsing: packed) else { continue }
      switch detail {
      case .own(let document): BuildErrorDocument.complete(&out, document)
      case .capability(let name): out.unsupported = .capability(name)
      case .subrequest(let name): out.unsupported = .subrequest(name)
      case .solve(let solve): out.operation = .init(op: solve.op, inputIDs: solve.inputIds, mountIDs: solve.mountIds)
      case .exit(let code): out.exitCode = Int32(bitPattern: code)
      case .vertex(let digest):
        if out.vertex == nil, let digest = try? Digest(parsing: digest) { out.vertex = VertexPlace(digest: digest, name: "") }
      case .source(let source):
        guard source.hasInfo, let first = source.ranges.map({ Int($0.start.line) }).min(), first > 0 else { continue }
        let last = source.ranges.map { max(Int($0.start.line), Int($0.end.line)) }.max() ?? first
        out.sources.append(SourcePlace(filename: source.info.filename, data: Array(source.info.data), lines: first...max(first, last)))
      }
    }
    return out
  }

  private static func code(_ number: Int) -> BuildError.Code {
    switch Status.Code(rawValue: number) {
    case .cancelled: .cancelled
    case .invalidArgument, .outOfRange: .invalidArgument
    case .deadlineExceeded: .deadlineExceeded
    case .notFound: .notFound
    case .permissionDenied: .permissionDenied
    case .resourceExhausted: .resourceExhausted
    case .failedPrecondition, .alreadyExists, .aborted: .failedPrecondition
    case .unimplemented: .unimplemented
    case .internalError, .dataLoss: .internal
    case .unavailable: .unavailable
    case .unauthenticated: .unauthenticated
    default: .unknown
    }
  }
}

/// What our own programs know of an error and BuildKit's have no word for.
enum BuildErrorDocument {
  static func json(_ error: BuildError) -> JSONValue {
    var out: [(String, JSONValue)] = [("code", .string(error.code.rawValue)), ("domain", .string(error.domain.rawValue)), ("message", .string(error.description))]
    if let suggestion = error.suggestion { out.append(("suggestion", .string(suggestion))) }
    if !error.output.isEmpty { out.append(("output", .array(error.output.map { .string($0) }))) }
    if let vertex = error.vertex {
      out.append(("vertex", .string("\(vertex.digest)")))
      out.append(("name", .string(vertex.name)))
      if let platform = vertex.platform { out.append(("platform", .string("\(platform)"))) }
    }
    return .object(JSONObject(out))
  }

  static func complete(_ error: inout BuildError, _ document: JSONValue) {
    if let code = document["code"]?.stringValue.flatMap({ BuildError.Code(rawValue: $0) }) { error.code = code }
    if let domain = document["domain"]?.stringValue.flatMap({ BuildError.Domain(rawValue: $0) }) { error.domain = domain }
    let message = document["message"]?.stringValue ?? "", suggestion = document["suggestion"]?.stringValue
    // Somebody on the way may have put more before the message: that stays, and the advice goes where it belongs.
    if let suggestion, error.message.hasSuffix(message + "\n" + suggestion) { error.message.removeLast(suggestion.count + 1) }
    error.suggestion = suggestion
    error.output = (document["output"]?.arrayValue ?? []).prefix(1000).compactMap(\.stringValue)
    if let digest = document["vertex"]?.stringValue.flatMap({ try? Digest(parsing: $0) }) {
      error.vertex = VertexPlace(digest: digest, name: document["name"]?.stringValue ?? "", platform: document["platform"]?.stringValue.flatMap { try? Platform(parsing: $0) })
    }
  }
}
