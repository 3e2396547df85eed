internal import LayerArchive
internal import OCIModel

/// What an image's files are looked at for.
struct FileChecks {
  let manifest: ImageManifest
  let config: ImageConfig
  let platform: Platform
  let digest: Digest
  let limits: ScanLimits

  func run(_ scans: [LayerScan?]) -> [Finding] {
    var out: [Finding] = []
    let table = FileTable(limits: limits)
    let made = LayerHistory(config, layers: manifest.layers.count)
    for (i, scan) in scans.enumerated() {
      guard let scan else { continue }
      do { try table.apply(scan.entries, layer: i) } catch {
        let failure = error as? LayerArchiveError
        out.append(
          Finding(.error, .damagedLayer, "it cannot be put upon those below: \(failure?.message ?? "\(error)")", platform: platform, manifest: digest, path: failure?.path.map { "/\($0)" },
            blob: manifest.layers[i].digest, createdBy: made[i]))
        return out
      }
    }
    let isWhole = scans.allSatisfy { $0 != nil }
    func add(_ severity: Finding.Severity, _ code: Finding.Code, _ path: ByteString?, _ layer: Int, _ message: String) {
      // What is in no layer that was read may be in another.
      if !isWhole, code == .missingInterpreter || code == .missingCommand { return }
      let blob = manifest.layers.indices.contains(layer) ? manifest.layers[layer].digest : nil
      let shown = path.map { $0.bytes.first == 0x2f ? "\($0)" : "/\($0)" }
      out.append(Finding(severity, code, message, platform: platform, manifest: digest, path: shown, blob: blob, createdBy: blob == nil ? nil : made[layer]))
    }
    withoutActuallyEscaping(add) { add in
      ProgramCheck(table: table, platform: platform) { add($0, $1, $2, $3, $4) }.run()
      StartCheck(table: table, config: config, platform: platform) { add($0, $1, $2, $3, $4) }.run()
    }
    return out
  }
}

/// What made each layer, where the history says it.
struct LayerHistory {
  private let lines: [String]
  init(_ config: ImageConfig, layers: Int) {
    let made = config.history.filter { !$0.emptyLayer }.map(\.createdBy)
    lines = made.count == layers ? made : []
  }
  subscript(layer: Int) -> String? { lines.indices.contains(layer) ? lines[layer] : nil }
}
