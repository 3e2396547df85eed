internal import BuildKitProto
internal import OCIModel
internal import SwiftProtobuf

/// A definition for people and programs to read, in the forms of `buildctl debug dump-llb`.
package struct DefinitionDump {
  private struct Entry {
    var digest: Digest
    var op: Pb_Op
    var metadata: Pb_OpMetadata
  }
  private var entries: [Entry] = []

  package init() {}

  /// The ops in their order, those left out that an earlier definition had. Throws `LLBError.invalidDefinition`.
  package mutating func add(_ definition: Definition) throws(LLBError) {
    var seen = Set(entries.map(\.digest))
    for data in definition.proto.def {
      let digest = Digest.sha256(of: data)
      guard seen.insert(digest).inserted else { continue }
      let op: Pb_Op
      do { op = try Pb_Op(serializedBytes: data) } catch { throw LLBError(.invalidDefinition, "an op is not a protobuf message", cause: error) }
      entries.append(Entry(digest: digest, op: op, metadata: definition.proto.metadata[digest.description] ?? Pb_OpMetadata()))
    }
  }

  /// One op a line, in JSON.
  package var lines: [UInt8] {
    let json = OpJSON()
    var out: [UInt8] = []
    for entry in entries {
      let line = JSONObject([("Op", json.op(entry.op)), ("Digest", .string(entry.digest.description)), ("OpMetadata", json.metadata(entry.metadata))])
      out += JSONValue.object(line).encoded() + [UInt8(ascii: "\n")]
    }
    return out
  }

  /// For Graphviz.
  package var dot: [UInt8] {
    var out = "digraph {\n"
    for entry in entries {
      let node = DefinitionDump.node(entry.op) ?? (entry.digest.description, "plaintext")
      out += "  \(GoQuote.of(entry.digest.description)) [label=\(GoQuote.of(node.name)) shape=\(GoQuote.of(node.shape))];\n"
    }
    for entry in entries {
      for (i, input) in entry.op.inputs.enumerated() {
        var label = ""
        if case .exec(let exec)? = entry.op.op { for mount in exec.mounts where mount.input == Int64(i) && mount.dest != "/" { label = mount.dest } }
        out += "  \(GoQuote.of(input.digest)) -> \(GoQuote.of(entry.digest.description)) [label=\(GoQuote.of(label))];\n"
      }
    }
    return Array((out + "}\n").utf8)
  }

  private static func node(_ op: Pb_Op) -> (name: String, shape: String)? {
    switch op.op {
    case .source(let source): return (source.identifier, "ellipse")
    case .exec(let exec): return (exec.meta.args.joined(separator: " "), "box")
    case .build: return ("build", "box3d")
    case .merge: return ("merge", "invtriangle")
    case .diff: return ("diff", "doublecircle")
    case .file(let file):
      let names = file.actions.map { action in
        switch action.action {
        case .copy(let copy): "copy{src=\(copy.src), dest=\(copy.dest)}"
        case .mkfile(let file): "mkfile{path=\(file.path)}"
        case .mkdir(let directory): "mkdir{path=\(directory.path)}"
        case .rm(let rm): "rm{path=\(rm.path)}"
        case .symlink(let link): "symlink{oldpath=\(link.oldpath), newpath=\(link.newpath)}"
        case nil: ""
        }
      }
      return (names.joined(separator: ","), "note")
    case .passthrough, nil: return nil
    }
  }
}
