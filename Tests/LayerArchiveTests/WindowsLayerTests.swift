import Foundation
import HostOS
import OCIModel
import Testing

@testable import LayerArchive

/// Layers of Windows images: written as a real BuildKit writes them (Golden/windows), read as any builder of them does.
@Suite struct WindowsLayerTests {
  static let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/windows")

  private func layer(_ items: [Item], style: TarWriter.Style = .pax) throws -> [UInt8] {
    let sink = BytesSink(), writer = TarWriter(sink, style: style, isWindows: true)
    for item in items {
      try writer.begin(item.entry)
      try item.content.withUnsafeBytes { try writer.write($0) }
    }
    try writer.finish()
    return sink.bytes
  }

  /// The bytes after the two directories that a layer begins with.
  private func rest(_ archive: [UInt8]) throws -> ArraySlice<UInt8> {
    let reader = TarReader(BytesSource(archive))
    #expect(try reader.next()?.path == "Hives")
    #expect(try reader.next()?.path == "Files")
    return archive[Int(reader.contentOffset)...]
  }

  /// The same tree gives the same bytes, apart from the time of the first two entries.
  @Test(arguments: 0..<5) func asBuildKitWritesThem(_ number: Int) throws {
    let archive = [UInt8](try Data(contentsOf: Self.golden.appending(path: "layer-\(number).tar")))
    var unwrapping = WindowsLayerReader(), items: [Item] = []
    for var item in try read(archive) {
      guard unwrapping.unwrap(&item.entry) else { continue }
      // What a tree has.
      item.entry.mode &= 0o7777
      item.entry.records = [:]
      items.append(item)
    }
    #expect(!items.isEmpty)
    #expect(try rest(layer(items)) == rest(archive))
  }

  @Test func beginsTheSameAlways() throws {
    let items = try read(layer([]))
    #expect(items.map(\.entry.path) == ["Hives", "Files"])
    for item in items {
      #expect(item.entry.mode == 0o40000 && item.entry.kind == .directory && item.entry.modified.seconds == 0)
      #expect(item.entry.records == ["LIBARCHIVE.creationtime": Array("0.0".utf8), "MSWINDOWS.fileattr": Array("16".utf8)])
    }
    #expect(try layer([.file("a", "x")]) == layer([.file("a", "x")]))
  }

  private static func windows(_ items: [Item]) -> [Item] {
    items.map { item in
      var item = item
      item.entry.records["MSWINDOWS.fileattr"] = Array("32".utf8)
      return item
    }
  }

  struct Reading: CustomStringConvertible, Sendable {
    let description: String
    let layers: [[Item]]
    let expected: [String]
    var error: LayerArchiveError.Code?
    init(_ description: String, _ layers: [[Item]], _ expected: [String], error: LayerArchiveError.Code? = nil) { (self.description, self.layers, self.expected, self.error) = (description, layers, expected, error) }
  }

  static let readings = [
    Reading(
      "Files is the root, the rest is left out",
      [[.directory("Files"), .file("Files/a"), .directory("Files/d"), .file("Files/d/b"), .directory("Hives"), .file("Hives/x"), .file("UtilityVM/Files/boot"), .file("bcd.bak")]], ["a", "d", "d/b"]),
    Reading("hives first", [[.directory("Hives"), .file("Hives/x"), .directory("Files"), .file("Files/a")]], ["a"]),
    Reading("hard links and links", [[.directory("Files"), .file("Files/a", "1"), .hard("Files/b", to: "Files/a"), .hard("Files/c", to: "./Files/a"), .link("Files/l", to: "Files/a")]], ["a", "b", "c", "l -> a"]),
    Reading("whiteouts", [[.directory("Files"), .file("Files/a"), .directory("Files/d"), .file("Files/d/b")], [.directory("Hives"), .whiteout("Files/.wh.a"), .whiteout("Files/d/.wh..wh..opq"), .file("Files/d/c")]], ["d", "d/c"]),
    Reading("whiteouts beside Files mean nothing", [[.directory("Files"), .file("Files/a")], [.directory("Hives"), .whiteout("Hives/.wh.Files"), .whiteout(".wh.Files"), .whiteout(".wh.a"), .whiteout(".wh..wh..opq")]], ["a"]),
    Reading("no layer of Windows' form is left as it is", [[.directory("app"), .file("app/a"), .file("Files/x")]], ["Files", "Files/x", "app", "app/a"]),
    Reading("an odd first file with Windows' attributes", [windows([.file("bcd.bak"), .file("Files/a")])], ["a"]),
    Reading("Files is written as here", [[.file("Hives/x"), .file("files/a"), .file("FILES/b"), .file("Files")]], []),
    Reading("names outside", [[.directory("Files"), .file("Files/../Hives/x"), .file("Files/../../../y"), .file("../Files/z"), .file("/Files/w")]], ["w", "z"]),
    Reading("hard link to a hive", [[.directory("Files"), .file("Hives/x"), .hard("Files/a", to: "Hives/x")]], [], error: .missingLinkTarget),
    Reading("hard link to Files itself", [[.directory("Files"), .hard("Files/a", to: "Files")]], [], error: .missingLinkTarget),
    Reading("hard link out of it", [[.directory("Files"), .hard("Files/a", to: "Files/../../../../etc/hostname")]], [], error: .missingLinkTarget),
    Reading("a link out is inside", [[.directory("Files"), .link("Files/out", to: "/../../etc"), .directory("Files/etc"), .file("Files/out/p")]], ["etc", "etc/p", "out -> /../../etc"]),
    Reading("through a file", [[.file("Files/a"), .file("Files/a/b")]], [], error: .invalidEntry),
  ]

  @Test(arguments: readings, ["plain", "overlay", "later"]) func reads(_ test: Reading, _ form: String) throws {
    // An overlay's whiteouts are devices.
    guard form == "plain" || isRoot else { return }
    try withScratch { scratch in
      var directories: [Directory] = []
      var code: LayerArchiveError.Code?
      for (i, items) in test.layers.enumerated() {
        let target = try form == "plain" && i > 0 ? directories[0] : makeDirectory("\(scratch)/\(i)")
        directories.append(target)
        let below: LowerView = i == 0 ? .none : form == "later" ? .later : .view(directories[i - 1])
        let applier = LayerApplier(form: form == "plain" ? .plain : .overlay(userXattr: !isRoot || HostFacts.inUserNamespace, lower: below), isWindows: true, ownership: isRoot ? .preserve : .ignore)
        let archive = try tar(items)
        do {
          let result = try applier.apply(BytesSource(archive), to: target)
          // The whole archive counts, whatever was left out of the tree.
          #expect(result.diffID == .sha256(of: archive) && result.entries == items.count)
        } catch let error as LayerArchiveError { code = error.code }
      }
      #expect(code == test.error)
      if test.error == nil, form == "plain" || test.layers.count == 1, let top = directories.last { #expect(try listing(top) == test.expected) }
    }
  }

  private func listing(_ directory: Directory, _ prefix: String = "") throws -> [String] {
    var out: [String] = []
    for entry in try directory.entries().sorted(by: { $0.name < $1.name }) {
      let path = prefix + entry.name
      let isLink = try directory.status(entry.name).kind == .symbolicLink
      out.append(isLink ? "\(path) -> \(try directory.readLink(entry.name))" : path)
      if try directory.status(entry.name).kind == .directory { out += try listing(directory.openDirectory(entry.name), path + "/") }
    }
    return out
  }

  @Test func formsAreTold() throws {
    #expect(try WindowsLayer.isWindows(BytesSource(layer([.file("a")]))))
    #expect(try WindowsLayer.isWindows(BytesSource(compress(layer([.file("a")]), .zstd))))
    // Files of a Linux image may be called so.
    #expect(try !WindowsLayer.isWindows(BytesSource(tar([.directory("Files"), .file("Files/a")]))))
    #expect(try !WindowsLayer.isWindows(BytesSource(tar([]))))
    #expect(throws: LayerArchiveError.self) { try WindowsLayer.isWindows(BytesSource([1, 2, 3])) }
  }

  /// A layer that lay on nothing, put on a Windows image; and one whose times are cut.
  @Test func conversions() throws {
    let items: [Item] = [.directory("d", time: 2_000_000_000), .file("d/a", "x", time: 2_000_000_000), .hard("d/b", to: "d/a"), .whiteout("d/.wh.c")]
    let (sink, plain) = (BytesSink(), try compress(tar(items), .gzip))
    let (result, given) = try LayerWriter.convert(BytesSource(plain), to: LayerForm(.none, isWindows: true), into: sink)
    #expect(try sink.bytes == layer(items) && given == .sha256(of: tar(items)) && result.diffID == .sha256(of: sink.bytes))
    let cut = BytesSink()
    _ = try LayerWriter.convert(BytesSource(sink.bytes), compression: .none, latest: Timestamp(seconds: 1_500_000_000), into: cut)
    let entries = try read(cut.bytes).map(\.entry)
    #expect(entries.map(\.path) == (try read(sink.bytes)).map(\.entry.path))
    #expect(entries.map(\.mode) == (try read(sink.bytes)).map(\.entry.mode))
    #expect(entries.allSatisfy { $0.modified.seconds <= 1_500_000_000 && PaxRecords.time($0.records["LIBARCHIVE.creationtime"] ?? [])?.seconds ?? .max <= 1_500_000_000 })
  }
}
