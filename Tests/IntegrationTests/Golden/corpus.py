#!/usr/bin/env python3
"""The corpus of Dockerfiles (README.md): its base images, its contexts, what was built of them, and the recording of what BuildKit builds.

    corpus.py bases BASE_LAYOUT OUT         base images as one OCI layout, made on the layout of Scripts/make-base-image
    corpus.py push OUT HOST:PORT            puts them into a registry, by skopeo
    corpus.py prepare DIR SERVER [CASE…]    DIR/CASE becomes the context of each case, DIR/CASE.json what `manifold build` is told to make DIR/CASE.tar
    corpus.py serve DIR PORTFILE            serves files and git repositories for ADD until its input ends
    corpus.py check LAYOUT DIR SERVER CASE… compares the archives DIR/CASE.tar with what was recorded, and says what differs
    corpus.py record BASE_LAYOUT [CASE…]    records: starts docker-registry and buildkitd, builds by buildctl, writes expected.json
    corpus.py live BASE_LAYOUT DIR SERVER CASE…   as check, but against a BuildKit that builds now
"""
import base64, concurrent.futures, difflib, gzip, hashlib, http.server, io, json, os, re, shutil, stat, subprocess, sys, tarfile, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
EPOCH = 1700000000
NOW = 1735689600  # 2025: what is later was made by the build
CREATED = "2023-11-14T22:13:20Z"


def case_names(): return sorted(os.listdir(f"{HERE}/cases"))


def case_options(name):
    path = f"{HERE}/cases/{name}/case.json"
    return json.load(open(path)) if os.path.exists(path) else {}


# Base images


def entries_tar(entries):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for e in entries:
            info = tarfile.TarInfo(e["path"] + ("/" if e.get("type") == "dir" else ""))
            info.mtime, info.mode = EPOCH, int(e.get("mode", "755" if e.get("type") == "dir" else "644"), 8)
            info.uid, info.gid = map(int, e.get("owner", "0:0").split(":"))
            info.pax_headers = e.get("pax", {})
            data = None
            if e.get("type") == "dir": info.type = tarfile.DIRTYPE
            elif e.get("type") == "link": info.type, info.linkname, info.mode = tarfile.SYMTYPE, e["target"], 0o777
            elif e.get("type") == "hard": info.type, info.linkname = tarfile.LNKTYPE, e["target"]
            else:
                data = open(f"{HERE}/bases/{e['file']}", "rb").read() if "file" in e else e["text"].encode()
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return raw.getvalue()


def tools_layer():
    out = [{"path": "usr/local", "type": "dir"}, {"path": "usr/local/bin", "type": "dir"}]
    for name in sorted(os.listdir(f"{HERE}/bases/tools")):
        out.append({"path": f"usr/local/bin/{name}", "file": f"tools/{name}", "mode": "755"})
    for alias, target in [("yarn", "npm"), ("python3", "python"), ("gcc", "cc"), ("adduser", "useradd")]:
        out.append({"path": f"usr/local/bin/{alias}", "type": "link", "target": target})
    return out


def make_bases(base_layout, out):
    os.makedirs(f"{out}/blobs/sha256", exist_ok=True)

    def blob(data, media, **more):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{out}/blobs/sha256/{digest}", "wb") as f: f.write(data)
        return {"mediaType": media, "digest": "sha256:" + digest, "size": len(data), **more}

    def read(digest): return open(f"{base_layout}/blobs/{digest.replace(':', '/')}", "rb").read()

    busybox = {}
    index = json.loads(read(json.load(open(f"{base_layout}/index.json"))["manifests"][0]["digest"]))
    for m in index["manifests"]:
        p = m["platform"]
        layer = json.loads(read(m["digest"]))["layers"][0]
        busybox["/".join(filter(None, [p["os"], p["architecture"], p.get("variant")]))] = gzip.decompress(read(layer["digest"]))
    cache = {}

    def layer(entries, platform):
        key = (json.dumps(entries), platform if entries == "busybox" else "")
        if key not in cache:
            tar = busybox[platform] if entries == "busybox" else entries_tar(tools_layer() if entries == "tools" else entries)
            cache[key] = blob(gzip.compress(tar, 1, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip"), "sha256:" + hashlib.sha256(tar).hexdigest()
        return cache[key]

    names = []
    for name, image in json.load(open(f"{HERE}/bases/images.json")).items():
        manifests = []
        for platform in image.get("platforms", ["linux/amd64", "linux/arm64"]):
            if platform not in busybox and "busybox" in image.get("layers", ["busybox"]): continue
            layers = [layer(e, platform) for e in image.get("layers", ["busybox", "tools"])]
            parts = platform.split("/")
            described = {"architecture": parts[1], "os": parts[0], **({"variant": parts[2]} if len(parts) > 2 else {}), **({"os.version": image["os.version"]} if "os.version" in image else {})}
            history = image.get("history") or [{"created": CREATED, "created_by": f"layer {i} of {name}"} for i in range(len(layers))]
            config = {"created": CREATED, **({"author": image["author"]} if "author" in image else {}), **described, "config": image["config"],
                      "rootfs": {"type": "layers", "diff_ids": [d for _, d in layers]}, "history": history}
            manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                        "config": blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"), "layers": [d for d, _ in layers]}
            manifests.append(blob(json.dumps(manifest).encode(), manifest["mediaType"], platform=described))
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        names.append(blob(json.dumps(index).encode(), index["mediaType"], annotations={"org.opencontainers.image.ref.name": name}))
    with open(f"{out}/index.json", "w") as f: json.dump({"schemaVersion": 2, "manifests": names}, f)
    with open(f"{out}/oci-layout", "w") as f: f.write('{"imageLayoutVersion": "1.0.0"}')


def push(layout, host):
    def one(d):
        name = d["annotations"]["org.opencontainers.image.ref.name"]
        subprocess.run(["skopeo", "copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:{name}", f"docker://{host}/{name}"], check=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool: list(pool.map(one, json.load(open(f"{layout}/index.json"))["manifests"]))


# Contexts


def prepare(name, out):
    """Copies a case's context: the modes are 644 and 755 whatever the checkout's, the times fixed; then the case's own commands make what git cannot keep."""
    target = f"{out}/{name}"
    shutil.copytree(f"{HERE}/cases/{name}/context", target, symlinks=True)
    for folder, _, files in os.walk(target):
        for file in files:
            path = f"{folder}/{file}"
            if not os.path.islink(path): os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)
        os.chmod(folder, 0o755)
    commands = case_options(name).get("prepare")
    if commands: subprocess.run(["sh", "-euc", "umask 022\n" + "\n".join(commands)], cwd=target, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    for folder, folders, files in os.walk(target, topdown=False):
        for file in files + folders: fix_time(f"{folder}/{file}")
    fix_time(target)


def options_of(name, folder, server, flag):
    """What builders are told of a case: `flag` makes a word of a kind, a key and a value."""
    o, words = case_options(name), []
    words.append(flag("platform", None, ",".join(o.get("platforms", ["linux/amd64"]))))
    words += [flag("build-arg", k, v.replace("SERVER", server)) for k, v in o.get("args", {}).items()]
    words += [flag("label", k, v) for k, v in o.get("labels", {}).items()]
    if "target" in o: words.append(flag("target", None, o["target"]))
    for k, v in o.get("secrets", {}).items():
        with open(f"{folder}/{name}.{k}", "w") as f: f.write(v)
        words.append(f"--secret=id={k},src={folder}/{name}.{k}")
    rewrite = ",rewrite-timestamp=true" if "SOURCE_DATE_EPOCH" in o.get("args", {}) else ""
    return words + [f"--output=type=oci,dest={folder}/{name}.tar{rewrite}"]


def manifold_arguments(name, folder, server):
    flag = lambda kind, key, value: f"--{kind}=" + (value if key is None else f"{key}={value}")
    return ["build", "--progress=plain", "--provenance=false", f"--file={folder}/{name}/{case_options(name).get('file', 'Dockerfile')}"] + options_of(name, folder, server, flag) + [f"{folder}/{name}"]


def buildctl_arguments(name, folder, server):
    flag = lambda kind, key, value: f"--opt={kind}=" + value if key is None else f"--opt={kind}:{key}={value}"
    # BuildKit's own frontend also where there is a syntax line (cmdline): it would ask for an image.
    return ["build", "--progress=plain", "--frontend=dockerfile.v0", "--opt=cmdline=built-in", f"--local=context={folder}/{name}", f"--local=dockerfile={folder}/{name}",
            f"--opt=filename={case_options(name).get('file', 'Dockerfile')}"] + options_of(name, folder, server, flag)


def fix_time(path):
    """One second for all. A file's nanoseconds are of its content: BuildKit takes a file of the same name, size and time for the one of an earlier context."""
    status = os.lstat(path)
    if not NOW < status.st_mtime < NOW * 1.1: return
    rest = int(hashlib.sha256(open(path, "rb").read()).hexdigest()[:7], 16) if stat.S_ISREG(status.st_mode) else 123456789
    os.utime(path, ns=(EPOCH * 10**9 + rest,) * 2, follow_symlinks=False)


# A server of files and of git repositories


def serve(folder, portfile):
    os.makedirs(folder, exist_ok=True)
    os.makedirs(f"{folder}/files", exist_ok=True)
    environment = {**os.environ, "HOME": folder, "GIT_CONFIG_GLOBAL": f"{folder}/config", "GIT_AUTHOR_DATE": f"{EPOCH} +0000", "GIT_COMMITTER_DATE": f"{EPOCH} +0000"}
    subprocess.run(["sh", "-euc", open(f"{HERE}/bases/served.sh").read()], cwd=folder, check=True, env=environment)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *a): pass

        def go(self):
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if path.startswith("/files/"):
                file = folder + path
                if not os.path.isfile(file): return self.answer(404, [], b"")
                data = open(file, "rb").read()
                return self.answer(200, [("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT"), ("ETag", '"%s"' % hashlib.md5(data).hexdigest())], data)
            env = dict(PATH=os.environ["PATH"], GIT_PROJECT_ROOT=folder, GIT_HTTP_EXPORT_ALL="1", REQUEST_METHOD=self.command, PATH_INFO=path, QUERY_STRING=query,
                       CONTENT_TYPE=self.headers.get("Content-Type", ""), CONTENT_LENGTH=str(len(body)), GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
                       HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""), GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")
            head, _, rest = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True).stdout.partition(b"\r\n\r\n")
            fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if line]
            status = next((int(v[:3]) for n, v in fields if n == "Status"), 200)
            self.answer(status, [(n, v) for n, v in fields if n != "Status"], rest)

        def answer(self, status, fields, body):
            self.send_response(status)
            for field in fields: self.send_header(*field)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD": self.wfile.write(body)
        do_GET = do_POST = do_HEAD = go

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(portfile + ".new", "w") as f: f.write(str(server.server_port))
    os.rename(portfile + ".new", portfile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


# What was built


class Bases:
    """What is known of the base images: their layers by diff ID, and their larger files by content."""

    def __init__(self, layout):
        self.layers, self.files = {}, {}
        read = lambda digest: open(f"{layout}/blobs/{digest.replace(':', '/')}", "rb").read()
        for d in json.load(open(f"{layout}/index.json"))["manifests"]:
            name = d["annotations"]["org.opencontainers.image.ref.name"]
            for m in json.loads(read(d["digest"]))["manifests"]:
                manifest = json.loads(read(m["digest"]))
                diffs = json.loads(read(manifest["config"]["digest"]))["rootfs"]["diff_ids"]
                for i, (layer, diff) in enumerate(zip(manifest["layers"], diffs)):
                    if diff in self.layers: continue
                    self.layers[diff] = f"{name} layer {i}"
                    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(read(layer["digest"])))) as tar:
                        for e in tar:
                            if e.isreg() and e.size > 100_000: self.files[hashlib.sha256(tar.extractfile(e).read()).hexdigest()] = f"/{e.name} of a base"


def moment(seconds, exact=None):
    return "now" if NOW < seconds < NOW * 1.1 else str(exact if exact is not None else seconds)


def masked_time(text):
    """RFC 3339: the times of this build are "now"."""
    return "now" if isinstance(text, str) and text[:4].isdigit() and 2025 <= int(text[:4]) < 2100 else text


def entry_lines(data, bases):
    kinds = {tarfile.REGTYPE: "-", tarfile.AREGTYPE: "-", tarfile.LNKTYPE: "h", tarfile.SYMTYPE: "l", tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.DIRTYPE: "d", tarfile.FIFOTYPE: "p"}
    lines = []
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        for e in tar:
            pax = dict(e.pax_headers)
            mtime = pax.pop("mtime", str(e.mtime))
            for key in ("path", "linkpath", "size", "uid", "gid"): pax.pop(key, None)
            # In layers for Windows: the time of modification once more.
            if abs(float(pax.get("LIBARCHIVE.creationtime", "inf")) - e.mtime) <= 1: del pax["LIBARCHIVE.creationtime"]
            line = f"{e.name} {kinds.get(e.type, e.type.decode())} {e.mode:04o} {e.uid}:{e.gid} {moment(e.mtime, mtime)}"
            if e.uname or e.gname: line += f" names={e.uname}:{e.gname}"
            if e.isreg():
                digest = hashlib.sha256(tar.extractfile(e).read()).hexdigest()
                line += " " + (bases.files.get(digest) or f"{e.size} {digest[:16]}")
            if e.issym() or e.islnk(): line += f" -> {e.linkname}"
            if e.type in (tarfile.CHRTYPE, tarfile.BLKTYPE): line += f" {e.devmajor},{e.devminor}"
            for key in sorted(pax): line += f" {key}={base64.b64encode(pax[key].encode('utf-8', 'surrogateescape')).decode()}"
            lines.append(line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return lines


def summarize(archive, bases, masks):
    with tarfile.open(archive) as outer:
        members = {m.name: m for m in outer}
        read = lambda name: outer.extractfile(members[name]).read()
        blob = lambda d: read("blobs/" + d["digest"].replace(":", "/"))
        images = []

        def visit(descriptor):
            document = json.loads(blob(descriptor))
            if "manifests" in document: return [visit(d) for d in document["manifests"]] and None
            images.append((descriptor, document))
        top = json.loads(read("index.json"))
        for d in top["manifests"]: visit(d)
        out = {"index": [d["mediaType"] for d in top["manifests"]], "images": []}
        for descriptor, manifest in images:
            config = json.loads(blob(manifest["config"]))
            layers = []
            for layer, diff in zip(manifest["layers"] or [], config["rootfs"]["diff_ids"] or []):
                if diff in bases.layers:
                    layers.append(bases.layers[diff])
                    continue
                data = gzip.decompress(blob(layer))
                if "sha256:" + hashlib.sha256(data).hexdigest() != diff: layers.append("IS NOT ITS DIFF ID")
                layers.append(entry_lines(data, bases))
            if config["rootfs"]["diff_ids"]: config["rootfs"]["diff_ids"] = len(config["rootfs"]["diff_ids"])
            if "created" in config: config["created"] = masked_time(config["created"])
            for h in config.get("history") or []:
                if "created" in h: h["created"] = masked_time(h["created"])
            out["images"].append({
                "platform": descriptor.get("platform"), "types": [manifest.get("mediaType"), manifest["config"]["mediaType"]] + sorted(set(l["mediaType"] for l in manifest["layers"] or [])),
                **({"annotations": manifest["annotations"]} if "annotations" in manifest else {}), "config": config, "layers": layers})
    text = json.dumps(out, ensure_ascii=False, indent=1)
    for value, mask in masks.items(): text = text.replace(value, mask)
    return text + "\n"


DIRECTORY = re.compile(r'^( *".* d [0-7]+ \d+:\d+ )(\S+?)(( .*)?",?)$')


def without_free_times(theirs, ours):
    """The time of a directory that BuildKit leaves to the moment (README.md) is not compared."""
    out = list(ours)
    for i, (a, b) in enumerate(zip(theirs, ours)):
        a, b = DIRECTORY.match(a), DIRECTORY.match(b)
        if a and b and a[2].rstrip('",') == "now" and (a[1], a[3]) == (b[1], b[3]): out[i] = theirs[i]
    return out


def differences(name, theirs, ours):
    theirs, ours = theirs.splitlines(), ours.splitlines()
    ours = without_free_times(theirs, ours)
    if theirs == ours: return []
    return [f"{name}: theirs are -, ours +"] + [l[:400] for l in difflib.unified_diff(theirs, ours, lineterm="", n=1)][2:80]


def check(layout, folder, server, names, expected=f"{HERE}/cases"):
    bases, found = Bases(layout), []
    for name in names:
        recorded = f"{expected}/{name}/expected.json"
        try: found += differences(name, open(recorded).read(), summarize(f"{folder}/{name}.tar", bases, {server: "SERVER"}))
        except Exception as error: found.append(f"{name}: {type(error).__name__}: {error}")
    print("\n".join(found))
    return 1 if found else 0


# The real BuildKit


def record(base_layout, names, into):
    """Starts a registry and a BuildKit of its own and writes INTO/CASE/expected.json."""
    scratch = tempfile.mkdtemp(prefix="corpus-")
    children = []

    def start(arguments, wait, log):
        child = subprocess.Popen(arguments, stdout=open(log, "w"), stderr=subprocess.STDOUT, stdin=subprocess.PIPE, cwd=scratch)
        children.append(child)
        for _ in range(600):
            if wait(): return
            if child.poll() is not None: break
            time.sleep(0.1)
        raise SystemExit(f"{arguments[0]} did not start: {open(log).read()[-2000:]}")
    try:
        with open(f"{scratch}/registry.yml", "w") as f: f.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {scratch}/registry}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n")
        port = lambda: re.search(r"listening on 127.0.0.1:(\d+)", open(f"{scratch}/registry.log").read())
        start(["docker-registry", "serve", f"{scratch}/registry.yml"], port, f"{scratch}/registry.log")
        host = "127.0.0.1:" + port().group(1)
        start([sys.executable, __file__, "serve", f"{scratch}/served", f"{scratch}/port"], lambda: os.path.exists(f"{scratch}/port"), f"{scratch}/serve.log")
        server = "127.0.0.1:" + open(f"{scratch}/port").read()
        make_bases(base_layout, f"{scratch}/bases")
        push(f"{scratch}/bases", host)
        with open(f"{scratch}/buildkitd.toml", "w") as f:
            f.write("".join(f'[registry."{r}"]\n  mirrors = ["{host}"]\n' for r in ("docker.io", "gcr.io", "mcr.microsoft.com")) + f'[registry."{host}"]\n  http = true\n')
        address = f"unix://{scratch}/buildkitd.sock"
        start(["buildkitd", "--root", f"{scratch}/buildkit", "--addr", address, "--config", f"{scratch}/buildkitd.toml", "--oci-worker-binary", "runc", "--allow-insecure-entitlement", "network.host"],
              lambda: subprocess.run(["buildctl", "--addr", address, "debug", "workers"], capture_output=True).returncode == 0, f"{scratch}/buildkitd.log")
        bases, failed = Bases(f"{scratch}/bases"), 0
        os.makedirs(f"{scratch}/work")
        for name in names:
            prepare(name, f"{scratch}/work")
            built = subprocess.run(["buildctl", "--addr", address] + buildctl_arguments(name, f"{scratch}/work", server), capture_output=True, text=True, errors="replace")
            if built.returncode:
                failed += 1
                print(f"{name}: {built.stderr[-3000:]}", file=sys.stderr)
                continue
            os.makedirs(f"{into}/{name}", exist_ok=True)
            with open(f"{into}/{name}/expected.json", "w") as f: f.write(summarize(f"{scratch}/work/{name}.tar", bases, {server: "SERVER"}))
        return 1 if failed else 0
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def main(verb, *rest):
    if verb == "bases": make_bases(*rest)
    elif verb == "push": push(*rest)
    elif verb == "prepare":
        os.makedirs(rest[0], exist_ok=True)
        for name in rest[2:] or case_names():
            prepare(name, rest[0])
            with open(f"{rest[0]}/{name}.json", "w") as f: json.dump(manifold_arguments(name, rest[0], rest[1]), f)
    elif verb == "serve": serve(*rest)
    elif verb == "check": return check(rest[0], rest[1], rest[2], rest[3:] or case_names())
    elif verb == "record": return record(rest[0], rest[1:] or case_names(), f"{HERE}/cases")
    elif verb == "live":
        with tempfile.TemporaryDirectory() as into:
            make_bases(rest[0], f"{into}/layout")
            return record(rest[0], rest[3:], f"{into}/cases") or check(f"{into}/layout", rest[1], rest[2], rest[3:], f"{into}/cases")
    else: raise SystemExit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 2: raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]) or 0)
