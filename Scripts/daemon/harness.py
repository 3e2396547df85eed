"""What the scripts about the daemon share: a registry with a base image, a daemon (ours or the peer's) on a root of its own, and clients that talk to it."""
import contextlib, json, os, shutil, signal, socket, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLATFORMS = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/arm/v7": "armv7l"}


class Wrong(Exception):
    pass


class Skipped(Exception):
    pass


def need(condition, what):
    if not condition: raise Wrong(what)


def wait_for(what, seconds=60):
    end = time.time() + seconds
    while True:
        value = what()
        if value: return value
        if time.time() > end: raise Wrong("it did not happen within %d s: %s" % (seconds, what.__name__))
        time.sleep(0.1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Result:
    def __init__(self, code, out, err): self.code, self.out, self.err = code, out, err
    @property
    def all(self): return self.out + self.err


class Bench:
    """What all checks share: the folder, the registry, the base image."""
    def __init__(self, work):
        self.work, self.processes = work, []
        self.port = free_port()
        self.registry = "127.0.0.1:%d" % self.port
        config = os.path.join(work, "registry.yml")
        with open(config, "w") as f:
            f.write("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/registry}, delete: {enabled: true}}\nhttp: {addr: '%s'}\nlog: {level: error}\n" % (work, self.registry))
        self.start(["docker-registry", "serve", config], "registry.log", env={"PATH": os.environ["PATH"]})
        wait_for(self.listens)
        layout = os.path.join(HERE, ".build", "base-image-" + "_".join(p.replace("/", "-") for p in PLATFORMS))
        if not os.path.exists(layout + "/oci-layout"): subprocess.run([HERE + "/Scripts/make-base-image", layout] + PLATFORMS, check=True)
        self.layout = layout
        self.base = self.registry + "/base"
        subprocess.run(["skopeo", "copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:%s:latest" % layout, "docker://%s:latest" % self.base], check=True)

    def listens(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

    def start(self, command, log, env=None):
        with open(os.path.join(self.work, log), "ab") as f:
            process = subprocess.Popen(command, stdout=f, stderr=f, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        self.processes.append(process)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try: process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Wrong("the daemon did not end within 60 s of SIGTERM")

    def close(self):
        for process in reversed(self.processes):
            with contextlib.suppress(Wrong): self.stop(process)

    def index(self, reference):
        out = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://" + reference], capture_output=True, text=True)
        need(out.returncode == 0, "skopeo inspect %s: %s" % (reference, out.stderr))
        return json.loads(out.stdout)

    def config(self, reference, platform):
        os_, arch, variant = (platform.split("/") + [None])[:3]
        arguments = ["--override-os", os_, "--override-arch", arch] + (["--override-variant", variant] if variant else [])
        out = subprocess.run(["skopeo"] + arguments + ["inspect", "--config", "--tls-verify=false", "docker://" + reference], capture_output=True, text=True)
        need(out.returncode == 0, "skopeo inspect --config %s: %s" % (reference, out.stderr))
        return json.loads(out.stdout)


class Daemon:
    """One daemon on a root of its own, and clients that talk to it."""
    def __init__(self, bench, name, command, buildx, buildctl):
        self.bench, self.name, self.buildx_program, self.buildctl_program = bench, name, buildx, buildctl
        self.folder = tempfile.mkdtemp(prefix=name + "-", dir=bench.work)
        self.socket = self.folder + "/d.sock"
        self.port = free_port()
        # The peer runs what the host's binfmt_misc knows; we bring emulation with us.
        self.platforms = PLATFORMS if name == "manifold" or os.path.exists("/proc/sys/fs/binfmt_misc/qemu-aarch64") else PLATFORMS[:1]
        self.counter = 0
        config = self.folder + "/buildkitd.toml"
        with open(config, "w") as f: f.write('[registry."%s"]\n  http = true\n' % bench.registry)
        self.log = "%s.log" % name
        self.command = command + ["--root", self.folder + "/root", "--config", config, "--addr", "unix://" + self.socket, "--addr", "tcp://127.0.0.1:%d" % self.port]
        self.env = dict(os.environ, BUILDX_CONFIG=self.folder + "/buildx", DOCKER_CONFIG=self.folder + "/docker", BUILDX_BUILDER="", BUILDKIT_HOST="", HOME=self.folder)
        self.env.pop("SSH_AUTH_SOCK", None)
        os.makedirs(self.env["DOCKER_CONFIG"])
        self.start()

    def start(self):
        self.process = self.bench.start(self.command, self.log)
        def answers():
            if self.process.poll() is not None: raise Wrong("the daemon ended at once: see %s/%s" % (self.bench.work, self.log))
            return os.path.exists(self.socket)
        wait_for(answers)

    def run(self, command, code=0, cwd=None, stdin=None, env=None, timeout=60):
        result = subprocess.run(command, capture_output=True, cwd=cwd, input=stdin, env=dict(self.env, **(env or {})), timeout=timeout)
        result = Result(result.returncode, result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace"))
        if code is not None and result.code != code:
            raise Wrong("%s: exit code %d, not %d\n%s" % (" ".join(command), result.code, code, result.all[-4000:]))
        return result

    def buildx(self, *arguments, **options):
        if not self.buildx_program: raise Skipped("docker-buildx is not in PATH")
        return self.run(self.buildx_program + list(arguments), **options)

    def build(self, *arguments, **options):
        return self.buildx("build", "--builder", "it", "--progress", "plain", *arguments, **options)

    def buildctl(self, *arguments, **options):
        if not self.buildctl_program: raise Skipped("buildctl is not in PATH")
        return self.run([self.buildctl_program, "--addr", "unix://" + self.socket] + list(arguments), **options)

    def context(self, dockerfile, files=None):
        self.counter += 1
        folder = "%s/context%d" % (self.folder, self.counter)
        for path, text in {"Dockerfile": dockerfile.replace("BASE", self.bench.base), **(files or {})}.items():
            os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
            with open(os.path.join(folder, path), "w") as f: f.write(text)
        return folder

    def path(self, name):
        self.counter += 1
        return "%s/out%d-%s" % (self.folder, self.counter, name)


def clients():
    """docker-buildx's command and buildctl's, as far as they are in PATH."""
    buildx = [shutil.which("docker-buildx")] if shutil.which("docker-buildx") else None
    if not buildx and shutil.which("docker") and subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode == 0: buildx = ["docker", "buildx"]
    return buildx, shutil.which("buildctl")


def add_options(parser):
    parser.add_argument("--daemon", help="our program (default: the release build, else the debug build); none leaves it out")
    parser.add_argument("--peer", help="a buildkitd that is asked the same")
    parser.add_argument("--keep", action="store_true", help="leave the folder with everything")


def with_daemons(options, body):
    """Calls body with each daemon in turn; answers the sum of what it answers. Everything that was started ends."""
    buildx, buildctl = clients()
    daemons = []
    if options.daemon != "none":
        ours = options.daemon or next((p for p in [HERE + "/.build/release/manifold", HERE + "/.build/debug/manifold"] if os.path.exists(p)), None)
        if not ours: sys.exit("there is no program yet: make release")
        daemons.append(("manifold", [ours, "daemon"]))
    if options.peer: daemons.append(("buildkitd", [options.peer, "--oci-worker-binary", shutil.which("runc") or shutil.which("crun")]))
    work = tempfile.mkdtemp(prefix="manifold-daemon.")
    bench, total = None, 0
    try:
        bench = Bench(work)
        for name, command in daemons:
            d = Daemon(bench, name, command, buildx, buildctl)
            total += body(d)
            bench.stop(d.process)
    finally:
        if bench: bench.close()
        if options.keep: print("kept: " + work)
        else: shutil.rmtree(work, ignore_errors=True)
    return total
