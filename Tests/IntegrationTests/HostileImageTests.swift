import Foundation
import HostOS
import OCIModel
import TestSupport
import Testing

/// Builds on images from a hostile registry: each is refused with an error that says what is wrong, or contained. Nothing beside the store and the output is
/// touched, what is said has no terminal control, and it takes no more time and memory than any build.
@Suite(.serialized) struct HostileImageTests {
  @Test(.timeLimit(.minutes(10))) func table() async throws {
    guard let binary = Tool.binary, Tool.builds else { return }
    #expect(HostileImages.table.count >= 50)
    let scratch = try Files.makeTemporaryDirectory(prefix: "manifold-hostile-")
    defer { try? Files.removeTree(scratch) }
    let tool = Tool(binary: binary, root: scratch + "/root")
    try Files.makeDirectories(scratch + "/context")
    try Files.writeAtomically(Array("secret".utf8), to: scratch + "/canary", mode: 0o600, durable: false)
    let canary = try Files.status(scratch + "/canary")
    try await TestRegistry.run { registry in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (i, image) in HostileImages.table.enumerated() {
          if i > 1 { try await group.next() }
          group.addTask { try await build(image, i, registry, tool, scratch) }
        }
        try await group.waitForAll()
      }
    }
    for place in ["/", "/tmp/", scratch + "/", scratch + "/root/", scratch + "/root/snapshots/"] {
      #expect(!Files.exists(place + HostileImages.marker), "\(place)\(HostileImages.marker) is there")
    }
    #expect(try Files.status(scratch + "/canary") == canary)
    // Whoever may not be root must not reach setuid programs and devices of images by the store.
    #expect(try Files.status(scratch + "/root/snapshots").permissions & 0o077 == 0)
  }

  private func build(_ image: HostileImage, _ number: Int, _ registry: TestRegistry, _ tool: Tool, _ scratch: String) async throws {
    let repository = "evil/\(number)"
    try image.serve(registry, as: repository)
    let context = "\(scratch)/context/\(number)"
    try Files.makeDirectories(context)
    // The second step looks at the whole of the tree, the export writes all of it.
    try Files.writeAtomically(Array("FROM \(registry.host)/\(repository):1\nCOPY Dockerfile /from-context\n".utf8), to: context + "/Dockerfile", durable: false)
    let start = ContinuousClock.now
    let limited = "ulimit -v 8388608; exec \"$0\" \"$@\""
    let output = try await Processes.run(
      "timeout",
      ["100", "sh", "-c", limited, tool.binary, "build", "--progress", "plain", "--platform", "linux/amd64", "-o", "type=local,dest=\(scratch)/out/\(number)", context],
      environment: tool.environment(image.environment), limit: 16 << 20)
    let text = output.everything
    #expect(ContinuousClock.now - start < .seconds(90), "\(image): took long")
    #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" && $0 != "\t" || (0x7f...0x9f).contains($0.value) }, "\(image): terminal control in \(text.debugDescription)")
    switch image.outcome {
    case .builds:
      #expect(output.succeeded, "\(image): \(text)")
    case .fails(let words):
      #expect(output.code.map { (1...4).contains($0) } == true, "\(image): \(text)")
      for word in words { #expect(output.errorText.contains(word), "\(image): \"\(word)\" is not said: \(text)") }
    }
  }

  @Test func limitIsChecked() async throws {
    guard let binary = Tool.binary, Tool.builds else { return }
    let scratch = try Files.makeTemporaryDirectory(prefix: "manifold-hostile-")
    defer { try? Files.removeTree(scratch) }
    let output = try await Tool(binary: binary, root: scratch + "/root").run(["images"], environment: ["MANIFOLD_MAX_LAYER_SIZE": "lots"])
    #expect(!output.succeeded && output.errorText.contains("MANIFOLD_MAX_LAYER_SIZE=lots: expected a number of bytes"), "\(output.everything)")
  }

  /// What a registry says of itself: errors, warnings, names of platforms in a listing.
  @Test(.timeLimit(.minutes(3))) func terminalControl() async throws {
    guard let binary = Tool.binary, Tool.builds else { return }
    let scratch = try Files.makeTemporaryDirectory(prefix: "manifold-hostile-")
    defer { try? Files.removeTree(scratch) }
    let tool = Tool(binary: binary, root: scratch + "/root")
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31mred\u{202e}"
    try await TestRegistry.run { registry in
      var image = HostileImage("listed", .builds, HostileImages.plain)
      image.indexText = { text in
        let odd = JSONValue.string(evil).encodedString()
        return text.replacing("\"amd64\"}", with: "\"amd64\",\"os.version\":\(odd),\"os.features\":[\(odd)],\"variant\":\(odd)},\"urls\":[\(odd)],\"annotations\":{\(odd):\(odd)}")
      }
      try image.serve(registry, as: "listed")
      func harmless(_ output: ProcessOutput, _ what: String) {
        let text = output.outputText + output.errorText
        #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" && $0 != "\t" || (0x7f...0x9f).contains($0.value) || $0.value == 0x202e }, "\(what): \(text.debugDescription)")
      }
      let name = "\(registry.host)/listed:1"
      let inspected = try await tool.run(["imagetools", "inspect", name])
      #expect(inspected.succeeded && inspected.outputText.contains("Manifests:"), "\(inspected.everything)")
      harmless(inspected, "imagetools inspect")
      // What is asked for byte by byte is given so.
      let raw = try await tool.run(["imagetools", "inspect", "--raw", name])
      #expect(raw.output == registry.manifest("1", in: "listed"))
      registry.inject(TestFault(nil, "refused", times: 100, .status(403, headers: [("Content-Type", "application/json")], body: "{\"errors\":[{\"code\":\"\\u001b[31mDENIED\",\"message\":\"\\u001b]0;x\\u0007no\\u009b2J\\nERROR: \\u202eyes\"}]}")))
      let refused = try await tool.run(["imagetools", "inspect", "\(registry.host)/refused:1"])
      #expect(!refused.succeeded && refused.errorText.contains("DENIED"), "\(refused.everything)")
      harmless(refused, "a refusal")

      // A Dockerfile's own words: names of steps, errors, warnings, the failed line; in every display but the exact one.
      let context = scratch + "/context"
      try Files.makeDirectories(context)
      try Files.writeAtomically(Array("FROM scratch AS A\(evil.filter { $0 == "x" })\nLABEL a=\"\(evil)\"\nCOPY \"\(evil)\" /\nCOPY absent\u{1b}[2J /\nFROM $undefined\u{1b}[2J\n".utf8), to: context + "/Dockerfile", durable: false)
      for progress in ["plain", "quiet", "tty"] {
        let failed = try await tool.run(["build", "--progress", progress, context])
        #expect(!failed.succeeded)
        if progress != "tty" { harmless(failed, progress) } else { #expect(!failed.errorText.contains("\u{1b}]") && !failed.errorText.contains("\u{1b}[2J")) }
      }
    }
  }
}
