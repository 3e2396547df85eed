internal import HostOS
internal import OCIModel

/// A device that a step asks for (`RUN --device`), in LLB's words.
package struct DeviceRequest: Sendable, Hashable {
  /// `vendor/class=name`, `vendor/class` (the first of them), `vendor/class=*` (all of them), or a class that a device's annotation names.
  package var name: String
  package var isOptional: Bool
  package init(_ name: String, isOptional: Bool = false) { (self.name, self.isOptional) = (name, isOptional) }
}

/// What a container gets with devices: the Container Device Interface's edits.
struct ContainerEdits: Sendable, Equatable {
  struct Hook: Sendable, Equatable {
    /// The runtime specification's name: `createRuntime`, …
    var name: String
    var json: JSONValue
  }
  struct BindMount: Sendable, Equatable {
    var hostPath: String
    var containerPath: String
    var options: [String]
  }
  var environment: [String] = []
  /// As the runtime specification has them.
  var nodes: [JSONObject] = []
  /// What control groups are to allow for them.
  var rules: [JSONObject] = []
  var mounts: [BindMount] = []
  var hooks: [Hook] = []
  var groups: [UInt32] = []

  mutating func merge(_ more: ContainerEdits) {
    environment += more.environment
    nodes += more.nodes
    rules += more.rules
    mounts += more.mounts
    hooks += more.hooks
    groups += more.groups
  }
  var isEmpty: Bool { self == ContainerEdits() }
}

/// The devices that specifications in some directories describe (CDI). A snapshot: files may change at any time, so it is read anew for each step that asks for a device.
package struct DeviceSpecs: Sendable {
  package struct Device: Sendable {
    /// `vendor/class=name`
    package var name: String
    package var annotations: [String: String]
    /// A build may have it without being allowed to.
    package var isAutoAllowed: Bool
    let spec: String
    let edits: ContainerEdits
  }
  /// By name.
  package private(set) var devices: [Device] = []
  /// What could not be read, and why.
  package private(set) var problems: [String] = []
  private var general: [String: ContainerEdits] = [:]

  private static let classAnnotation = "org.mobyproject.buildkit.device.class"
  private static let allowAnnotation = "org.mobyproject.buildkit.device.autoallow"
  static let limit = 4 << 20

  /// Later directories win over earlier. Blocks.
  package init(directories: [String], autoAllowed: [String]) {
    var found: [String: (rank: Int, device: Device)] = [:], conflicts: [String: Int] = [:]
    for (rank, directory) in directories.enumerated() {
      let names = ((try? Directory.open(directory).entries()) ?? []).map(\.name).sorted()
      for name in names {
        let path = "\(directory)/\(name)"
        if name.hasSuffix(".yaml") || name.hasSuffix(".yml") {
          // Refused by name: there is no reader for YAML in this program.
          problems.append("\(path): device specifications are read in JSON alone; write it in that form (nvidia-ctk cdi generate --format=json)")
          continue
        }
        guard name.hasSuffix(".json") else { continue }
        do {
          let spec = try DeviceDocument(parsing: Files.read(path, limit: Self.limit))
          general[path] = spec.edits
          for device in spec.devices {
            let qualified = "\(spec.kind)=\(device.name)"
            let annotations = spec.annotations.merging(device.annotations) { $1 }
            let isAllowed = autoAllowed.contains(qualified) || autoAllowed.contains(spec.kind) || Self.isTrue(annotations[Self.allowAnnotation])
            if let other = found[qualified], other.rank == rank {
              problems.append("\(path): the device \(qualified) is in \(other.device.spec) too, and neither counts")
              conflicts[qualified] = rank
            }
            found[qualified] = (rank, Device(name: qualified, annotations: annotations, isAutoAllowed: isAllowed, spec: path, edits: device.edits))
          }
        } catch { problems.append("\(path): \(error)") }
      }
    }
    devices = found.filter { conflicts[$0.key] != $0.value.rank }.map(\.value.device).sorted { $0.name < $1.name }
  }

  private static func isTrue(_ text: String?) -> Bool { ["1", "t", "T", "true", "TRUE", "True"].contains(text ?? "") }

  /// The devices that are meant, each once. Throws `ExecutorError.device` for one that is not there and not optional.
  package func find(_ requests: [DeviceRequest]) throws -> [Device] {
    var out: [Device] = []
    for request in requests {
      let found = matches(request.name)
      if found.isEmpty, !request.isOptional { throw ExecutorError(.device, missing(request.name)) }
      for device in found where !out.contains(where: { $0.name == device.name }) { out.append(device) }
    }
    return out
  }

  private func matches(_ name: String) -> [Device] {
    let kind = name.prefix { $0 != "=" }, rest = name.dropFirst(kind.count + 1)
    var found: [Device] = []
    if kind.contains("/") {
      let ofKind = devices.filter { $0.name.hasPrefix(kind + "=") }
      found = rest.isEmpty ? Array(ofKind.prefix(1)) : rest == "*" ? ofKind : ofKind.filter { $0.name == name }
    }
    return found.isEmpty ? devices.filter { $0.annotations[Self.classAnnotation] == name } : found
  }

  private func missing(_ name: String) -> String {
    var text = "required device \"\(name)\" is not registered"
    if devices.isEmpty { text += "; no device is: their specifications (CDI) belong in /etc/cdi or /var/run/cdi" } else { text += "; there are \(devices.prefix(10).map(\.name).joined(separator: ", "))" }
    if !problems.isEmpty { text += " (not read: \(problems.prefix(3).joined(separator: "; ")))" }
    return text
  }

  /// What a container gets with these.
  func edits(for devices: [Device]) -> ContainerEdits {
    var out = ContainerEdits()
    var seen: Set<String> = []
    for device in devices {
      if seen.insert(device.spec).inserted, let common = general[device.spec] { out.merge(common) }
      out.merge(device.edits)
    }
    return out
  }
}
