import Foundation
import HostOS
import Testing

/// ADD from git, by a real git over HTTP (git http-backend, behind a small server of Python's).
@Suite struct GitTests {
  /// A repository with two commits, a branch, an annotated tag, a link that leads out of it, and a submodule.
  static let repository = #"""
    set -eu
    export HOME=$PWD GIT_CONFIG_GLOBAL=$PWD/config GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
    git config --global user.name t; git config --global user.email t@t; git config --global init.defaultBranch main; git config --global protocol.file.allow always
    git init -q part; (cd part; echo part > part.txt; git add .; git commit -qm part); git clone -q --bare part part.git
    git init -q work; cd work
    mkdir -p sub/deep; echo one > file; echo deep > sub/deep/x; printf '#!/bin/sh\n' > run; chmod 755 run; ln -s /etc out; git add .; git commit -qm one
    git tag -a v1 -m v1; git branch old
    echo two > file; git add .; git commit -qm two
    git submodule --quiet add ../part.git part; git commit -qm three
    cd ..
    git clone -q --bare work work.git
    for r in part work; do git -C $r.git config http.receivepack false; git -C $r.git config uploadpack.allowAnySHA1InWant true; done
    git -C work rev-parse HEAD old v1
    """#
  static let server = #"""
    import http.server, os, subprocess, sys, base64
    class H(http.server.BaseHTTPRequestHandler):
      def log_message(self, *a): open(sys.argv[1] + '/log', 'a').write(self.path + '\n')
      def go(self):
        self.log_message()
        path, _, query = self.path.partition('?')
        if path.startswith('/private/'):
          if self.headers.get('Authorization', '').split(' ')[-1] != base64.b64encode(b'x-access-token:t0ken').decode():
            self.send_response(401); self.send_header('WWW-Authenticate', 'Basic realm="x"'); self.end_headers(); return
          path = path[8:]
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        env = dict(PATH=os.environ['PATH'], GIT_PROJECT_ROOT=sys.argv[1], GIT_HTTP_EXPORT_ALL='1', REQUEST_METHOD=self.command, PATH_INFO=path, QUERY_STRING=query,
          CONTENT_TYPE=self.headers.get('Content-Type', ''), CONTENT_LENGTH=str(len(body)), GIT_PROTOCOL=self.headers.get('Git-Protocol', ''), HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding', ''), GIT_CONFIG_COUNT='1', GIT_CONFIG_KEY_0='safe.directory', GIT_CONFIG_VALUE_0='*')
        out = subprocess.run(['git', 'http-backend'], input=body, env=env, capture_output=True).stdout
        head, _, rest = out.partition(b'\r\n\r\n')
        status, fields = 200, []
        for line in head.decode().split('\r\n'):
          name, _, value = line.partition(': ')
          if name == 'Status': status = int(value[:3])
          elif name: fields.append((name, value))
        self.send_response(status)
        for f in fields: self.send_header(*f)
        self.send_header('Content-Length', str(len(rest))); self.end_headers(); self.wfile.write(rest)
      do_GET = do_POST = go
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
    open(sys.argv[1] + '/port.new', 'w').write(str(s.server_port)); os.rename(sys.argv[1] + '/port.new', sys.argv[1] + '/port')
    s.serve_forever()
    """#

  @Test(.timeLimit(.minutes(5))) func addFromGit() async throws {
    guard Processes.executablePath("python3") != nil, Processes.executablePath("git") != nil else { return print("SKIPPED: python3 and git are needed to serve a repository") }
    try await withEnvironment { environment in
      let root = environment.scratch + "/git", tool = environment.tool
      try Files.makeDirectories(root)
      let made = try await Processes.run("sh", ["-c", Self.repository], workingDirectory: root)
      try #require(made.succeeded, "\(made.everything)")
      let hashes = made.outputText.split(separator: "\n").map(String.init)
      try Files.writeAtomically(Array(Self.server.utf8), to: root + "/server.py")
      let server = try Child("python3", [root + "/server.py", root], environment: tool.environment(), outputPath: root + "/server.log")
      defer {
        server.kill(SIGTERM)
        server.wait()
      }
      for _ in 0..<600 where !Files.exists(root + "/port") { try await Task.sleep(for: .milliseconds(100)) }
      let at = "http://127.0.0.1:\(try #require(Files.text(root + "/port")))"
      let base = try await environment.base(["linux/amd64"])
      func build(_ context: String, _ flags: [String]) async throws -> ProcessOutput { try await tool.run(["build"] + flags + [context]) }
      let context = try environment.context(
        "context",
        [
          "Dockerfile": """
            FROM \(base)
            ADD \(at)/work.git /main
            ADD \(at)/work.git#old /old
            ADD \(at)/work.git?tag=v1&submodules=0 /tag
            ADD \(at)/work.git#\(hashes[1]):sub/deep /deep/
            ADD --keep-git-dir --checksum=\(hashes[0].prefix(12)) \(at)/work.git#main /kept
            ADD --chown=7:8 \(at)/work.git?branch=old&subdir=sub /owned
            RUN cat /main/file /main/part/part.txt /old/file /tag/file /deep/x /kept/.git/HEAD > /all; stat -c '%a %u:%g' /main/run /main/file /owned/deep/x >> /all; ls -A /main /old /deep /kept/.git | tr '\\n' ' ' >> /all; grep url /kept/.git/config >> /all
            """
        ])
      let built = try await build(context, ["--progress=plain", "-t", "git"])
      try #require(built.succeeded, "\(built.everything)")
      let shown = try await tool.run("run", "--rm", "git", "cat", "/all").outputText
      #expect(
        shown.hasPrefix("two\npart\none\none\ndeep\n\(hashes[0])\n755 0:0\n644 0:0\n644 7:8\n") || shown.hasPrefix("two\npart\none\none\ndeep\nref: refs/heads/main\n755 0:0\n644 0:0\n644 7:8\n"),
        "\(shown)")
      #expect(shown.contains("/deep: x") || shown.contains("/deep:"), "\(shown)")
      #expect(shown.contains("url = \(at)/work.git"), "\(shown)")
      // What has not moved is asked about, and not fetched.
      try Files.removeTree(root + "/log")
      let again = try await build(context, ["--progress=plain"])
      #expect(again.succeeded && again.everything.contains("CACHED"), "\(again.everything)")
      #expect(Files.text(root + "/log")?.contains("info/refs") == true)
      // A whole hash is not even asked about.
      let pinned = try environment.context("pinned", ["Dockerfile": "FROM scratch\nADD \(at)/work.git#\(hashes[1]) /\n"])
      #expect(try await build(pinned, []).succeeded)
      try Files.removeTree(root + "/log")
      #expect(try await build(pinned, []).succeeded)
      #expect(Files.text(root + "/log") == nil)
      func fails(_ line: String, _ words: [String], _ flags: [String] = []) async throws {
        let output = try await build(try environment.context("wrong", ["Dockerfile": "FROM scratch\n\(line)\n"]), flags)
        #expect(output.code == 1, "\(output.everything)")
        for word in words { #expect(output.errorText.contains(word), "\(word) in \(output.everything)") }
      }
      try await fails("ADD \(at)/work.git#nothing /", ["no branch and no tag nothing", "git ls-remote"])
      try await fails("ADD \(at)/work.git#main:out /", ["no directory out"])
      try await fails("ADD \(at)/work.git#main:none /", ["no directory none"])
      try await fails("ADD --checksum=0123 \(at)/work.git#main /", ["expected checksum to match 0123", hashes[0]])
      try await fails("ADD \(at)/absent.git /", ["absent.git", "check the address"])
      try await fails("ADD \(at)/work.git#\(String(repeating: "0", count: 40)) /", [String(repeating: "0", count: 40)])
      try await fails("ADD \(at)/private/work.git /", ["asks for a login", "GIT_AUTH_TOKEN"])
      try await fails("ADD http://user:hidden@127.0.0.1:1/x.git /", ["127.0.0.1:1/x.git"])
      let secret = try environment.context("private", ["Dockerfile": "FROM scratch\nADD \(at)/private/work.git#old /\n", "token": "t0ken"])
      let opened = try await build(secret, ["--secret", "id=GIT_AUTH_TOKEN,src=\(secret)/token", "--progress=plain"])
      #expect(opened.succeeded && !opened.everything.contains("t0ken"), "\(opened.everything)")
    }
  }
}
