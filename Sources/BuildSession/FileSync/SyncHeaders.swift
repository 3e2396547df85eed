package import BuildInterface
package import GRPCCore
internal import HostOS

/// The metadata of calls that move files (BuildKit's session/filesync).
package enum SyncHeaders {
  package static let includePatterns = "include-patterns"
  package static let excludePatterns = "exclude-patterns"
  package static let followPaths = "followpaths"
  package static let directoryName = "dir-name"
  package static let exporter = "buildkit-attachable-exporter-id"
  package static let multiPlatform = "buildkit-exporter-multi-platform"
  package static let answerPrefix = "exporter-md-"
  private static let encodedSuffix = "-encoded"

  /// What is asked for: a directory's name, and which of its files.
  package static func request(_ name: String, _ filter: DirectoryFilter) -> Metadata {
    var metadata = Metadata()
    add(filter.includePatterns, includePatterns, to: &metadata)
    add(filter.excludePatterns, excludePatterns, to: &metadata)
    add(filter.followPaths, followPaths, to: &metadata)
    add([name], directoryName, to: &metadata)
    return metadata
  }

  package static func directory(_ metadata: Metadata) -> (name: String, filter: DirectoryFilter) {
    let filter = DirectoryFilter(
      includePatterns: values(includePatterns, in: metadata), excludePatterns: values(excludePatterns, in: metadata), followPaths: values(followPaths, in: metadata))
    return (values(directoryName, in: metadata)?.first ?? "", filter)
  }

  /// A list as the values of a key: as they are when all are ASCII, else all as in a query of a URL, with a mark that they are.
  static func add(_ list: [String]?, _ key: String, to metadata: inout Metadata) {
    guard let list, !list.isEmpty else { return }
    let encodes = list.contains { $0.utf8.contains { $0 >= 0x80 } }
    for value in list { metadata.addString(encodes ? escaped(value) : value, forKey: key) }
    if encodes { metadata.addString("1", forKey: key + encodedSuffix) }
  }

  static func values(_ key: String, in metadata: Metadata) -> [String]? {
    let values = Array(metadata[stringValues: key])
    if values.isEmpty { return nil }
    let mark = metadata[stringValues: key + encodedSuffix].first { _ in true } ?? ""
    return ["1", "t", "T", "true", "TRUE", "True"].contains(mark) ? values.map { unescaped($0) } : values
  }

  /// Go's url.QueryEscape.
  static func escaped(_ text: String) -> String {
    var out: [UInt8] = []
    let digits = Array("0123456789ABCDEF".utf8)
    for byte in PathText.bytes(text) {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
        UInt8(ascii: "."), UInt8(ascii: "~"):
        out.append(byte)
      case UInt8(ascii: " "): out.append(UInt8(ascii: "+"))
      default: out += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// Its reverse; empty for what is none, as with the peers.
  static func unescaped(_ text: String) -> String {
    var out: [UInt8] = []
    var rest = Array(text.utf8)[...]
    func digit(_ byte: UInt8) -> UInt8? { UInt8(String(UnicodeScalar(byte)), radix: 16) }
    while let byte = rest.popFirst() {
      switch byte {
      case UInt8(ascii: "+"): out.append(UInt8(ascii: " "))
      case UInt8(ascii: "%"):
        guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else { return "" }
        out.append(high << 4 | low)
      default: out.append(byte)
      }
    }
    return PathText.decode(out)
  }
}
