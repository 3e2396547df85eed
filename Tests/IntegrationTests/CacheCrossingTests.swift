import Foundation
import HostOS
import OCIModel
import Testing

/// Build caches that BuildKit wrote are read here, and the reverse.
@Suite(.enabled(if: Tool.builds)) struct CacheCrossingTests {
  private static let golden = packageDirectory + "/Tests/IntegrationTests/Golden/caches"

  /// The recorded context, whose files have the modes that they were recorded with, whatever a checkout gave them.
  private func context(_ environment: Environment) throws -> String {
    let path = environment.scratch + "/context"
    try FileManager.default.copyItem(atPath: Self.golden + "/context", toPath: path)
    for (name, mode) in [("", 0o755), ("d", 0o755), ("d/f", 0o644), ("a.txt", 0o644), ("b.txt", 0o644)] {
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path + "/" + name)
    }
    return path
  }

  /// The keys of a local cache's records, each with all that it stands on, and how many results each has.
  private func keys(_ layout: String) throws -> [String: Int] {
    func json(_ path: String) throws -> JSONValue { try JSONValue(parsing: [UInt8](Data(contentsOf: URL(fileURLWithPath: layout + "/" + path)))) }
    func blob(_ digest: String?) throws -> JSONValue {
      let digest = try #require(digest)
      return try json("blobs/" + digest.replacingOccurrences(of: ":", with: "/"))
    }
    let manifest = try blob(json("index.json")["manifests"]?.arrayValue?.first?["digest"]?.stringValue)
    let config = try blob(manifest["config"]?["digest"]?.stringValue)
    let records = try #require(config["records"]?.arrayValue)
    var known: [Int: String] = [:]
    func key(_ i: Int) -> String {
      if let key = known[i] { return key }
      let inputs = (records[i]["inputs"]?.arrayValue ?? []).map { links in
        (links.arrayValue ?? []).map { "\($0["selector"]?.stringValue ?? "")<\(key(Int($0["link"]?.intValue ?? 0)))" }.sorted().joined(separator: "|")
      }
      let key = Digest.sha256(of: "\(records[i]["digest"]?.stringValue ?? "") \(inputs.joined(separator: " , "))").description
      known[i] = key
      return key
    }
    return Dictionary(records.indices.map { (key($0), (records[$0]["layers"]?.arrayValue ?? []).count + (records[$0]["chains"]?.arrayValue ?? []).count) }) { $0 + $1 }
  }

  @Test(.timeLimit(.minutes(4)), arguments: ["min", "max"]) func whatBuildKitWroteIsFound(_ mode: String) async throws {
    try await withEnvironment { environment in
      let context = try context(environment)
      let built = try await environment.build(context, ["--provenance=false", "--cache-from", "type=local,src=\(Self.golden)/\(mode)", "-o", "type=oci,dest=\(environment.scratch)/out.tar"])
      try #require(built.succeeded, "\(built.everything)")
      #expect(built.steps.own.count == 7 && built.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(built.everything)")
    }
  }

  @Test(.timeLimit(.minutes(4))) func ourRecordsHaveBuildKitsKeys() async throws {
    try await withEnvironment { environment in
      let context = try context(environment), cache = environment.scratch + "/cache"
      let built = try await environment.build(context, ["--provenance=false", "--cache-to", "type=local,dest=\(cache),mode=max", "-o", "type=oci,dest=\(environment.scratch)/out.tar"])
      try #require(built.succeeded, "\(built.everything)")
      #expect(try keys(cache) == keys(Self.golden + "/max"))
    }
  }
}
