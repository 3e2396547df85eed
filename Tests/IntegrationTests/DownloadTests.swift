import Foundation
import HostOS
import OCIModel
import Testing

/// ADD from a server that asks who is there, and what else a build takes from a download.
@Suite(.enabled(if: Tool.builds)) struct DownloadTests {
  private static let server = #"""
    import http.server, os, sys
    class H(http.server.BaseHTTPRequestHandler):
      def log_message(self, *a): pass
      def do_GET(self):
        open(sys.argv[1] + '/log', 'a').write(self.path + ' ' + self.headers.get('Host', '') + ' ' + self.headers.get('Authorization', '-') + '\n')
        if self.path == '/private/moved':
          self.send_response(302); self.send_header('Location', 'http://localhost:%d/open' % s.server_port); self.end_headers(); return
        if self.path.startswith('/private') and self.headers.get('Authorization') not in ('Bearer t0ken', 'Custom header'):
          self.send_response(401); self.end_headers(); return
        self.send_response(200); self.send_header('Content-Length', '3'); self.send_header('Last-Modified', 'Tue, 02 Jan 2024 03:04:05 GMT'); self.end_headers(); self.wfile.write(b'hey')
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
    open(sys.argv[1] + '/port.new', 'w').write(str(s.server_port)); os.rename(sys.argv[1] + '/port.new', sys.argv[1] + '/port')
    s.serve_forever()
    """#

  private func withServer(_ body: (Environment, _ at: String, _ log: String) async throws -> Void) async throws {
    guard Processes.executablePath("python3") != nil else { return print("SKIPPED: python3 is needed to serve files (make deps)") }
    try await withEnvironment { environment in
      let root = environment.scratch + "/server"
      try Files.makeDirectories(root)
      try Files.writeAtomically(Array(Self.server.utf8), to: root + "/server.py")
      let server = try Child("python3", [root + "/server.py", root], environment: environment.tool.environment(), outputPath: root + "/errors")
      defer {
        server.kill(SIGTERM)
        server.wait()
      }
      for _ in 0..<600 where !Files.exists(root + "/port") { try await Task.sleep(for: .milliseconds(100)) }
      try await body(environment, "http://127.0.0.1:\(try #require(Files.text(root + "/port")))", root + "/log")
    }
  }

  @Test(.timeLimit(.minutes(3))) func logins() async throws {
    try await withServer { environment, at, log in
      func context(_ path: String) throws -> String { try environment.context("c", ["Dockerfile": "FROM scratch\nADD \(at)\(path) /f\n", "token": "t0ken\n", "header": "Custom header"]) }
      let files = try context("/private/a")
      let refused = try await environment.build(files)
      #expect(refused.code == 1 && refused.errorText.contains("401") && refused.errorText.contains("--secret id=HTTP_AUTH_TOKEN_127.0.0.1"), "\(refused.everything)")
      let metadata = environment.scratch + "/metadata.json"
      let opened = try await environment.build(
        files, ["--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,src=\(files)/token", "-t", "x", "--provenance=mode=max", "--metadata-file", metadata])
      #expect(opened.succeeded && !opened.everything.contains("t0ken") && Files.text(metadata)?.contains("t0ken") == false, "\(opened.everything)")
      let other = try await environment.build(try context("/private/b"), ["--secret", "id=HTTP_AUTH_HEADER_127.0.0.1,src=\(files)/header"])
      #expect(other.succeeded, "\(other.everything)")
      // Who asks is not told to another server.
      let moved = try await environment.build(try context("/private/moved"), ["--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,src=\(files)/token"])
      #expect(moved.succeeded, "\(moved.everything)")
      let lines = (Files.text(log) ?? "").split(separator: "\n")
      #expect(lines.contains { $0.hasPrefix("/open localhost:") && $0.hasSuffix(" -") }, "\(lines)")
      #expect(lines.contains { $0.hasPrefix("/private/moved ") && $0.hasSuffix(" Bearer t0ken") }, "\(lines)")
    }
  }

  @Test(.timeLimit(.minutes(3))) func timeOfASource() async throws {
    try await withServer { environment, at, _ in
      let dockerfile = """
        ARG SOURCE_DATE_EPOCH=stamp
        FROM scratch AS stamp
        ARG FILE=open
        ADD \(at)/${FILE} /
        FROM scratch
        ARG SOURCE_DATE_EPOCH
        LABEL at=$SOURCE_DATE_EPOCH
        COPY f /
        """
      let context = try environment.context("c", ["Dockerfile": dockerfile, "f": "x"])
      let built = try await environment.build(context, ["-t", "timed"])
      try #require(built.succeeded, "\(built.everything)")
      let shown = try await environment.tool.run("image", "inspect", "-f", "{{.Created}} {{.Config.Labels.at}}", "timed")
      #expect(shown.outputText == "2024-01-02T03:04:05Z 1704164645\n", "\(shown.everything)")
      for (line, said) in [("RUN true", "other instructions"), ("ADD f /", "only what is downloaded has a time"), ("ADD \(at)/a \(at)/b /x/", "exactly one ADD of one address"), ("LABEL a=b", "other instructions")] {
        let wrong = try environment.context("w", ["Dockerfile": "FROM scratch AS stamp\n\(line)\nFROM scratch\nCOPY f /\n", "f": "x"])
        let output = try await environment.build(wrong, ["--build-arg", "SOURCE_DATE_EPOCH=stamp"])
        #expect(output.code == 2 && output.errorText.contains(said), "\(output.everything)")
      }
      let unknown = try await environment.build(context, ["--build-arg", "SOURCE_DATE_EPOCH=yesterday"])
      #expect(unknown.code == 2 && unknown.errorText.contains("invalid SOURCE_DATE_EPOCH: yesterday"), "\(unknown.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func warningsInTheMetadata() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("c", ["Dockerfile": "FROM scratch\nENV A b\nCOPY Dockerfile /\n"]), file = environment.scratch + "/m.json"
      for (value, holds) in [("true", true), ("", false)] {
        let built = try await environment.build(context, ["--metadata-file", file], environment: ["BUILDX_METADATA_WARNINGS": value])
        #expect(built.succeeded, "\(built.everything)")
        let document = try JSONValue(parsing: try Files.read(file, limit: 1 << 20))
        let warning = document["buildx.build.warnings"]?.arrayValue?.first
        #expect((warning?["level"] != nil && warning?["sourceInfo"]?["filename"]?.stringValue == "Dockerfile" && warning?["range"] != nil) == holds, "\(document)")
      }
    }
  }
}
