public import BuildKitProto
public import OCIModel
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// What is said about a vertex beside its op: where it runs and how it is shown and cached. Only `platform` and `filters` enter
/// the vertex's digest, and `platform` only for ops that depend on one (exec, image and OCI-layout sources).
public struct VertexOptions: Sendable {
  /// The platform the vertex runs on or is taken for; nil takes the state's, then the marshalling's.
  public var platform: Platform?
  /// containerd-style filters over workers.
  public var filters: [String] = []
  /// Runs even when the cache has a result.
  public var ignoreCache = false
  /// Whether the result goes into an exported cache; nil leaves it to the build's configuration.
  public var exportCache: Bool?
  /// Free text for people and front ends; `name` is one of its keys.
  public var description: [String: String] = [:]
  /// Lets several vertices show as one.
  public var progressGroup: Pb_ProgressGroup?
  public var linuxResources: Pb_LinuxResources?
  /// Where in a source file the vertex comes from.
  public var locations: [SourceLocation] = []
  var capabilities: Set<Capability> = []

  public static let nameKey = "llb.customname"
  /// The vertex's name in progress output; nil shows one derived from the op.
  public var name: String? {
    get { description[VertexOptions.nameKey] }
    set { description[VertexOptions.nameKey] = newValue }
  }

  public init(name: String? = nil, platform: Platform? = nil, description: [String: String] = [:], ignoreCache: Bool = false, location: SourceLocation? = nil) {
    self.platform = platform
    self.description = description
    self.ignoreCache = ignoreCache
    if let name { self.name = name }
    if let location { locations = [location] }
  }

  /// The metadata entry of a definition.
  var metadata: Pb_OpMetadata {
    var out = Pb_OpMetadata()
    out.ignoreCache = ignoreCache
    out.description_p = description
    if let exportCache { out.exportCache = .with { $0.value = exportCache } }
    for capability in capabilities { out.caps[capability.rawValue] = true }
    if let progressGroup { out.progressGroup = progressGroup }
    if let linuxResources { out.linuxResources = linuxResources }
    return out
  }
}

/// A stretch of a source file. Lines count from 1; 0 is "nowhere".
public struct SourceSpan: Hashable, Sendable {
  public var startLine: Int, startCharacter: Int, endLine: Int, endCharacter: Int
  public init(startLine: Int, startCharacter: Int = 0, endLine: Int, endCharacter: Int = 0) {
    (self.startLine, self.startCharacter, self.endLine, self.endCharacter) = (startLine, startCharacter, endLine, endCharacter)
  }
  public init(_ proto: Pb_Range) {
    self.init(
      startLine: Int(proto.start.line), startCharacter: Int(proto.start.character), endLine: Int(proto.end.line), endCharacter: Int(proto.end.character))
  }
  public var proto: Pb_Range {
    .with {
      $0.start = .with { $0.line = Int32(clamping: startLine); $0.character = Int32(clamping: startCharacter) }
      $0.end = .with { $0.line = Int32(clamping: endLine); $0.character = Int32(clamping: endCharacter) }
    }
  }
}

/// A source file that a graph was made from, carried in the definition so that an error can show the lines at fault.
public final class SourceMap: Sendable {
  public let filename: String
  /// A language name as GitHub's linguist has them: `Dockerfile`.
  public let language: String
  public let data: [UInt8]
  /// The definition that reads the file, when it came from a build's own source.
  public let definition: Definition?

  public init(filename: String, language: String, data: [UInt8], definition: Definition? = nil) {
    (self.filename, self.language, self.data, self.definition) = (filename, language, data, definition)
  }

  public var info: Pb_SourceInfo {
    .with {
      $0.filename = filename
      $0.language = language
      $0.data = .init(data)
      if let definition { $0.definition = definition.proto }
    }
  }

  func describesSameFile(as other: SourceMap) -> Bool {
    self === other || (filename == other.filename && language == other.language && data == other.data && definition == other.definition)
  }
}

public struct SourceLocation: Sendable {
  public let map: SourceMap
  public let ranges: [SourceSpan]
  public init(_ map: SourceMap, _ ranges: [SourceSpan]) { (self.map, self.ranges) = (map, ranges) }
}
