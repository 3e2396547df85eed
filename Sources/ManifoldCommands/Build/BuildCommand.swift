internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress

/// `manifold build`: docker buildx's, with the engine in this process.
struct BuildCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build",
    abstract: "Build an image from a Dockerfile, for one platform or many.",
    usage: "manifold build [options] <context>",
    discussion: """
      Examples:
        manifold build -t hello . && manifold run hello
        manifold build --platform linux/amd64,linux/arm64 -t reg/me/app --push .
        manifold build --target tests -o out .
        manifold build -f linux/arm64=Dockerfile.arm64 -f linux/amd64=Dockerfile -t app .   # a Dockerfile per platform, one index
        manifold build -t app -o type=oci,dest=app.tar .
        manifold build -t app -o type=docker .                 # into the Docker engine (DOCKER_HOST, docker context)
        manifold build --secret id=npmrc,src=$HOME/.npmrc -t app .
        manifold build --ssh default -t app .                  # ssh-agent's keys for RUN --mount=type=ssh and ADD git@host:repo.git
        manifold build -t reg/me/app --push --cache-to type=registry,ref=reg/me/app:cache,mode=max --cache-from reg/me/app:cache .
        manifold build --build-arg VERSION=1.2 --metadata-file built.json -t app .
        manifold build https://git.example/app.git#main:server
        manifold build --build-context alpine=oci-layout://./base --build-context assets=../assets .
        manifold build --check .                               # what could be written better; manifold explain-check says more
        manifold build --call outline,format=json .
        manifold build --call plan --platform linux/amd64,linux/arm64 .

      PLATFORM= before the value of -f, --target or --build-arg makes it that platform's alone. It is one when it is os/arch[/variant] of names that
      exist, so KEY=VALUE stays what it is; a file of such a name is written ./linux/arm64=x. Without --platform the platforms that have a
      Dockerfile of their own are built, and this machine's from a plain -f beside them.
      With -t and no output the image is kept in the local store. With neither, the result stays in the build cache only.
      An image says how it was built: its index holds a provenance attestation (SLSA) for each platform, without build arguments unless
      --provenance=mode=max asks for them. It never holds a secret; values of arguments whose names look secret are replaced.
      SBOM attestations are not made yet: --sbom=false is accepted.
      Environment: BUILDKIT_PROGRESS, BUILDX_GIT_CHECK_DIRTY, BUILDX_GIT_INFO, BUILDX_GIT_LABELS, BUILDX_METADATA_PROVENANCE,
      BUILDX_METADATA_WARNINGS, BUILDX_NO_DEFAULT_ATTESTATIONS, BUILDX_NO_DEFAULT_LOAD, SSH_AUTH_SOCK, DOCKER_DEFAULT_PLATFORM, MANIFOLD_ROOT, MANIFOLD_STORE_LIMIT, NO_COLOR, SOURCE_DATE_EPOCH.
      """)

  @OptionGroup var global: GlobalOptions

  @Argument(
    help: ArgumentHelp(
      "What COPY and ADD read: a directory; a git repository, as https://host/repo.git#ref:directory; the address of a tar archive or of a Dockerfile; or - for either from standard input.",
      valueName: "context"))
  var context: String

  @Option(
    name: [.customLong("file"), .customShort("f", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "The Dockerfile, from anywhere: a path (within the context where that is not a directory here), an address, or - for standard input. Default: Dockerfile in the context. For one platform alone: linux/arm64=FILE. May be repeated.",
      valueName: "[platform=]file"))
  var files: [String] = []

  @Option(
    name: .customLong("build-context"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Another context, for COPY --from and in place of a stage or image of that name: a directory, a git repository, an address, docker-image://NAME or oci-layout://DIR[:TAG]. May be repeated.",
      valueName: "name=value"))
  var buildContexts: [String] = []

  @Option(
    name: .customLong("platform"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "What to build for: os/arch[/variant], or local. May be repeated, or separated by commas. Default: DOCKER_DEFAULT_PLATFORM, else this machine's.",
      valueName: "platform"))
  var platforms: [String] = []

  @Option(
    name: [.customLong("tag"), .customShort("t", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp("The image's name, with a tag or without. May be repeated.", valueName: "name[:tag]"))
  var tags: [String] = []

  @Flag(name: .customLong("push"), help: "Push the image to its registry, all platforms as one index (as -o type=registry).")
  var push = false

  @Flag(name: .customLong("load"), help: "Keep the image in the local store, also beside other outputs, and load it into the Docker engine when one answers.")
  var load = false

  @Option(
    name: [.customLong("output"), .customShort("o", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Where the result goes: a directory, - for a tar on standard output, or type=image|registry|oci|docker|local|tar[,dest=…][,key=value…]. May be repeated.",
      valueName: "output"))
  var outputs: [String] = []

  @Option(
    name: .customLong("annotation"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "An annotation of the image, or of what the type before it says: index, manifest[linux/arm64], index-descriptor, manifest-descriptor. May be repeated.",
      valueName: "[type:]key=value"))
  var annotations: [String] = []

  @Option(
    name: .customLong("target"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("The stage to build. Default: the last. For one platform alone: linux/arm64=STAGE. May be repeated.", valueName: "[platform=]stage"))
  var targets: [String] = []

  @Option(
    name: .customLong("call"), parsing: .unconditional,
    help: ArgumentHelp(
      "Answer a question instead of building: check (what could be written better; exit status 1 if there is something), plan (what would be done, and how: native, emulated, shared, cached), outline (arguments, secrets and SSH of the target), targets, or subrequests.describe; ,format=json for machines.",
      valueName: "question[,format=json]"))
  var call = "build"

  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("The form of --call's answer: text or json.", valueName: "form"))
  var format: String?

  @Flag(name: .customLong("check"), help: "The same as --call=check.")
  var check = false

  @Option(name: .customLong("print"), parsing: .unconditional, help: .hidden)
  var printed: String?

  @Flag(
    name: .customLong("strict-checks"),
    help: "What only manifold's own checks find fails as well: --check, and a build with check=error=true. Without it they tell, and fail nothing.")
  var strictChecks = false

  @Option(
    name: .customLong("build-arg"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("A value for an ARG; without =value it is taken from the environment. For one platform alone: linux/arm64=KEY=VALUE. May be repeated.", valueName: "[platform=]key[=value]"))
  var buildArguments: [String] = []

  @Option(name: .customLong("label"), parsing: .unconditionalSingleValue, help: ArgumentHelp("A label of the image. May be repeated.", valueName: "key=value"))
  var labels: [String] = []

  @Option(
    name: .customLong("secret"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE. It never becomes part of the image. May be repeated.",
      valueName: "secret"))
  var secrets: [String] = []

  @Option(
    name: .customLong("ssh"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "An SSH agent for RUN --mount=type=ssh and for repositories over ssh: default for the one that SSH_AUTH_SOCK names, or an id with a socket or with key files. May be repeated.",
      valueName: "default|id[=socket|key[,key]]"))
  var ssh: [String] = []

  @Option(
    name: .customLong("cache-from"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Look for the results of steps also here: an image name, type=registry,ref=NAME or type=local,src=DIR. May be repeated.", valueName: "cache"))
  var cacheFrom: [String] = []

  @Option(
    name: .customLong("cache-to"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Put the results of steps there: type=registry,ref=NAME, type=local,dest=DIR or type=inline; with mode=max those of all stages. May be repeated.",
      valueName: "cache"))
  var cacheTo: [String] = []

  @Flag(name: .customLong("no-cache"), help: "Run every step anew.")
  var noCache = false

  @Option(
    name: .customLong("no-cache-filter"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Run the steps of this stage anew. May be repeated.", valueName: "stage"))
  var noCacheFilters: [String] = []

  @Flag(name: .customLong("pull"), help: "Ask the registry for every base image, also for those kept here.")
  var pull = false

  @Option(
    name: .customLong("add-host"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("A line of /etc/hosts in RUN steps; host-gateway stands for this machine. May be repeated.", valueName: "name:address"))
  var extraHosts: [String] = []

  @Option(name: .customLong("network"), parsing: .unconditional, help: ArgumentHelp("The network of RUN steps: default, host or none.", valueName: "mode"))
  var network = "default"

  @Option(name: .customLong("shm-size"), parsing: .unconditional, help: ArgumentHelp("The size of /dev/shm in RUN steps, such as 128m.", valueName: "bytes"))
  var shmSize: String?

  @Option(
    name: .customLong("ulimit"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("A limit of RUN steps, such as nofile=1024:2048. May be repeated.", valueName: "name=soft[:hard]"))
  var ulimits: [String] = []

  @Option(name: .customLong("cgroup-parent"), parsing: .unconditional, help: ArgumentHelp("The cgroup above those of RUN steps.", valueName: "cgroup"))
  var cgroupParent: String?

  @Option(
    name: .customLong("allow"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Let steps do more: network.host (RUN --network=host), security.insecure (RUN --security=insecure). May be repeated.", valueName: "entitlement"))
  var entitlements: [String] = []

  @Option(name: .customLong("jobs"), parsing: .unconditional, help: ArgumentHelp("Steps at once. Default: chosen from cores and memory.", valueName: "number"))
  var jobs: Int?

  @Option(
    name: .customLong("store-limit"), parsing: .unconditional,
    help: ArgumentHelp(
      "How large the store may get, such as 20g or 50%; none for no limit. The least recently used cache goes first; a build that needs more fails before its next step. MANIFOLD_STORE_LIMIT sets it too. Default: up to 80% of the disk, cache up to 100 GB.",
      valueName: "size"))
  var storeLimit: String?

  @Option(
    name: .customLong("progress"), parsing: .unconditional,
    help: ArgumentHelp("How progress is shown: auto, tty, plain, quiet, rawjson or none. Default: BUILDKIT_PROGRESS, else auto.", valueName: "view"))
  var progress = "auto"

  @Flag(name: .shortAndLong, help: "Show no progress; print the image's digest at the end.")
  var quiet = false

  @Option(name: .customLong("metadata-file"), parsing: .unconditional, help: ArgumentHelp("Write what was built, as JSON, to this file.", valueName: "file"))
  var metadataFile: String?

  @Option(name: .customLong("iidfile"), parsing: .unconditional, help: ArgumentHelp("Write the image's digest to this file.", valueName: "file"))
  var imageIDFile: String?

  @Option(
    name: .customLong("provenance"), parsing: .unconditional,
    help: ArgumentHelp(
      "The provenance attestation: true, false, or mode=min|max[,version=v1|v0.2][,builder-id=URI][,reproducible=true]. Default: mode=min where an image is made.",
      valueName: "provenance"))
  var provenance: String?

  @Option(
    name: .customLong("attest"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("An attestation: type=provenance[,key=value…]. May be repeated.", valueName: "attestation"))
  var attestations: [String] = []

  @Option(
    name: .customLong("attestations"), parsing: .unconditional,
    help: ArgumentHelp(
      "Where an image's attestations go: index (in its image index), referrers (beside it in the registry, as OCI referrers) or none.", valueName: "place"))
  var attestationsPlace = "index"

  @Option(name: .customLong("sbom"), parsing: .unconditional, help: ArgumentHelp("An SBOM attestation: only false, for now.", valueName: "false"))
  var sbom: String?

  @Flag(name: .customLong("debug-on-error"), help: "When a step fails, open its shell in its filesystem, at its platform.")
  var debugOnError = false

  @Option(
    name: .customLong("arch-check"), parsing: .unconditional,
    help: ArgumentHelp(
      "Programs for another CPU than their image's, in layers that this build makes: warn, fail (before anything is pushed or named) or off.", valueName: "mode"))
  var architectureCheck = ArchitectureCheckMode.warn

  @OptionGroup var limits: LimitOptions

  @OptionGroup(visibility: .hidden) var toCome: BuildOptionsToCome

  mutating func run() async throws {
    let composition = try Composition.required()
    let facts = try CommandFacts.current()
    var plan = try plan(facts)
    try await plan.addGitFacts(facts)
    let build = BuildRun(plan: plan, facts: facts)
    let seconds = try limits.checkedTimeout()
    let tooLong = BuildError(.deadlineExceeded, .build, "the build took longer than \(limits.timeout ?? "") (--timeout) and was stopped")
    try await Interruption.guarding { _ in try await Deadline.within(seconds, tooLong) { try await build.run(composition) } }
  }
}

extension ArchitectureCheckMode: ExpressibleByArgument {}
