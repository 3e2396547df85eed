/// What `manifold explain-check` says of a rule.
package struct CheckExplanation: Sendable {
  /// What the rule is about, in a sentence or two.
  package let meaning: String
  /// What goes wrong when nobody minds it.
  package let reason: String
  package let bad: String
  package let good: String

  init(_ meaning: String, _ reason: String, bad: String, good: String) { (self.meaning, self.reason, self.bad, self.good) = (meaning, reason, bad, good) }
}

extension CheckRule {
  package var explanation: CheckExplanation? { CheckExplanation.all[name] }
}

extension CheckExplanation {
  /// By rule. `bad` breaks its rule and `good` does not: the tests run both.
  static let all: [String: CheckExplanation] = [
    "StageNameCasing": CheckExplanation(
      "A stage's name has capital letters in it.",
      "Names of stages are compared without regard to case, and shown in lower case: what is written and what is printed differ, and FROM Base and COPY --from=base look like two things.",
      bad: "FROM scratch AS BuildBase\nCOPY . /src", good: "FROM scratch AS build-base\nCOPY . /src"),
    "FromAsCasing": CheckExplanation(
      "FROM and AS on one line are not in the same case.", "It is one instruction; two cases in it are hard to read, and hide the name.",
      bad: "FROM scratch as build\nCOPY . /src", good: "FROM scratch AS build\nCOPY . /src"),
    "NoEmptyContinuation": CheckExplanation(
      "An instruction that goes on over several lines has an empty line in it.",
      "It still works, and is announced to become an error. Often it is where somebody removed the last argument and left the backslash: then the next instruction is swallowed. A comment line in its place is fine.",
      bad: "FROM scratch\nCOPY a \\\n\n  b /dst/", good: "FROM scratch\nCOPY a \\\n  # both are needed\n  b /dst/"),
    "ConsistentInstructionCasing": CheckExplanation(
      "Instructions are written in capitals in one place and in small letters in another, or mixed in one word.",
      "The builder does not mind; people who search the file for COPY do not find copy.",
      bad: "FROM scratch\nCOPY . /src\nworkdir /src", good: "FROM scratch\nCOPY . /src\nWORKDIR /src"),
    "DuplicateStageName": CheckExplanation(
      "Two stages have the same name.", "COPY --from=NAME and --target NAME mean the last one of the name. The other cannot be reached by name any more.",
      bad: "FROM scratch AS build\nCOPY a /\nFROM scratch AS build\nCOPY b /", good: "FROM scratch AS build-a\nCOPY a /\nFROM scratch AS build-b\nCOPY b /"),
    "ReservedStageName": CheckExplanation(
      "A stage is named scratch or context.",
      "scratch is the empty base, and context the build context: a stage of that name cannot be used where the word already means something.",
      bad: "FROM scratch AS context\nCOPY . /src", good: "FROM scratch AS sources\nCOPY . /src"),
    "JSONArgsRecommended": CheckExplanation(
      "CMD or ENTRYPOINT is written as a shell's line and not as a JSON array.",
      "The line is run by /bin/sh -c. The shell is then process 1, gets the signal that stops the container, and does not hand it on: the program is killed after the grace time. An image without a shell does not start at all. With a SHELL instruction in the stage nothing is said: somebody thought of it.",
      bad: "FROM scratch\nENTRYPOINT /app --serve", good: "FROM scratch\nENTRYPOINT [\"/app\", \"--serve\"]"),
    "MaintainerDeprecated": CheckExplanation(
      "MAINTAINER names the author.", "Labels took its place: registries and tools read org.opencontainers.image.authors, and hardly any reads the old field.",
      bad: "FROM scratch\nMAINTAINER team@example.com", good: "FROM scratch\nLABEL org.opencontainers.image.authors=\"team@example.com\""),
    "UndefinedArgInFrom": CheckExplanation(
      "FROM uses a variable that no ARG before the first FROM declares.",
      "It is empty, so FROM names another image than was meant, or none. Arguments declared inside a stage do not count for FROM.",
      bad: "FROM scratch AS app\nFROM app${SUFFIX}", good: "ARG SUFFIX\nFROM scratch AS app\nFROM app${SUFFIX}"),
    "WorkdirRelativePath": CheckExplanation(
      "The first WORKDIR of a stage is a relative path.",
      "It is taken from the base image's directory, which its makers may change: the files then lie elsewhere, and the paths of later steps do not fit.",
      bad: "FROM scratch\nWORKDIR app", good: "FROM scratch\nWORKDIR /app"),
    "UndefinedVar": CheckExplanation(
      "An instruction uses a variable that no ARG or ENV of the stage, and not the base image, has set.",
      "The builder puts nothing in its place and goes on: COPY $DRI /x copies the whole context. A misspelt name is the usual cause, or an ARG that stands before FROM and was not declared again in the stage.",
      bad: "FROM scratch\nARG SOURCE=src\nCOPY $SUORCE /app", good: "FROM scratch\nARG SOURCE=src\nCOPY $SOURCE /app"),
    "MultipleInstructionsDisallowed": CheckExplanation(
      "A stage has CMD, ENTRYPOINT or HEALTHCHECK more than once.", "Only the last one counts; the line that is told has no effect.",
      bad: "FROM scratch\nCMD [\"/serve\"]\nCMD [\"/work\"]", good: "FROM scratch\nCMD [\"/work\"]"),
    "LegacyKeyValueFormat": CheckExplanation(
      "ENV or LABEL is written with a blank between name and value.",
      "All that follows on the line is the value, so ENV A 1 B=2 sets one variable. With = there can be several, and a forgotten quote is an error.",
      bad: "FROM scratch\nENV HOME_PAGE https://example.com", good: "FROM scratch\nENV HOME_PAGE=https://example.com"),
    "InvalidBaseImagePlatform": CheckExplanation(
      "A base image is for another platform than the one that is built.",
      "It is no index, or was pinned by a digest of one platform's manifest, so what it has is taken. Its programs then run emulated, or not at all, and the image says that it is for a CPU it is not for. Name the index instead: its digest is the one that `manifold imagetools inspect NAME` shows first.",
      bad: "FROM --platform=linux/arm64 registry.example.com/amd64-only\nCOPY . /src", good: "FROM scratch\nCOPY . /src"),
    "RedundantTargetPlatform": CheckExplanation(
      "FROM says --platform=$TARGETPLATFORM.", "That is what FROM does by itself. Whoever reads it looks for a reason that is not there.",
      bad: "FROM --platform=$TARGETPLATFORM scratch\nCOPY . /src", good: "FROM scratch\nCOPY . /src"),
    "SecretsUsedInArgOrEnv": CheckExplanation(
      "An ARG or ENV has a name that looks like a secret's.",
      "Both end up in the image's config, its history, the build cache and logs, where everybody who can pull the image reads them; an ARG does so although it is gone when the container runs. A secret mount is seen by one step, and left out of all of these.",
      bad: "FROM scratch\nARG NPM_TOKEN", good: "FROM scratch\nRUN --mount=type=secret,id=npm,env=NPM_TOKEN [\"/install\"]"),
    "InvalidDefaultArgInFrom": CheckExplanation(
      "With no --build-arg given, FROM comes out empty or is no image's name.",
      "The file then builds only for those who know which argument it needs. A default makes it build everywhere.",
      bad: "ARG TAG\nFROM scratch AS base\nFROM scratch:${TAG}", good: "ARG BASE=base\nFROM scratch AS base\nFROM ${BASE}"),
    "FromPlatformFlagConstDisallowed": CheckExplanation(
      "FROM --platform names one platform, for whichever the image is built.",
      "Every platform's image then has this one's programs in it. For a stage that compiles, $BUILDPLATFORM is meant; where one platform is meant indeed, say so in the stage's name (AS tools-amd64), and nothing is told.",
      bad: "FROM --platform=linux/amd64 scratch AS build\nCOPY . /src", good: "FROM --platform=$BUILDPLATFORM scratch AS build\nCOPY . /src"),
    "CopyIgnoredFile": CheckExplanation(
      "COPY or ADD reads a file that .dockerignore leaves out of the context.",
      "The file is not there for the build, so the step fails, or a wildcard silently finds less than is on the disk.",
      bad: "FROM scratch\nCOPY secret.env /", good: "FROM scratch\nCOPY app.env /"),
    "InvalidDefinitionDescription": CheckExplanation(
      "A comment right above a FROM … AS or an ARG does not begin with its name. (Runs with check=experimental=InvalidDefinitionDescription.)",
      "`manifold build --call=outline` and `--call=targets` show comments of the form `# name what it is for` as descriptions. A comment that is none is kept apart by an empty line.",
      bad: "# check=experimental=all\n# the version to fetch\nARG VERSION=1\nFROM scratch\nCOPY . /src", good: "# check=experimental=all\n# VERSION is what is fetched\nARG VERSION=1\nFROM scratch\nCOPY . /src"),
    "ExposeProtoCasing": CheckExplanation(
      "EXPOSE writes a protocol in capitals.", "The image's config has it in small letters, so the file and the image do not look the same.",
      bad: "FROM scratch\nEXPOSE 53/UDP", good: "FROM scratch\nEXPOSE 53/udp"),
    "ExposeInvalidFormat": CheckExplanation(
      "EXPOSE has an address or a port of the host in it.",
      "EXPOSE only tells which ports the program listens on; what is mapped where is said when the container is started. The rest is dropped today, and announced to become an error.",
      bad: "FROM scratch\nEXPOSE 127.0.0.1:8080:80", good: "FROM scratch\nEXPOSE 80"),
    "InvalidUTF8": CheckExplanation(
      "The file has bytes that are no UTF-8 text.", "They are read as U+FFFD, in names and values too, so the image holds something else than the file.",
      bad: "FROM scratch\nLABEL city=K\u{fffd}ln", good: "FROM scratch\nLABEL city=Köln"),
    "PlatformArgShadowed": CheckExplanation(
      "An ARG or ENV gives a predefined platform argument (TARGETARCH, TARGETPLATFORM, BUILDPLATFORM …) a constant.",
      "The constant takes the real value's place, for every platform: with ARG TARGETARCH=amd64 the arm64 image gets amd64 downloads in it, and nothing fails until somebody runs it. Without the default the builder fills it in.",
      bad: "FROM scratch\nARG TARGETARCH=amd64\nCOPY bin/$TARGETARCH/app /app", good: "FROM scratch\nARG TARGETARCH\nCOPY bin/$TARGETARCH/app /app"),
    "EmulatedCrossCompile": CheckExplanation(
      "A stage that only compiles, and whose compiler can make programs for other CPUs (Go; a Rust or C build with a cross target; JavaScript and Java, whose output fits every CPU), runs on the target platform. Told when a platform is asked for that this machine has to emulate.",
      "Under emulation compilers run five to thirty times slower. On $BUILDPLATFORM the stage runs natively, and where the output fits every CPU it runs once for all. The check shows the change as a patch.",
      bad: "FROM golang:1.22 AS build\nCOPY . .\nRUN go build -o /app .\nFROM scratch\nCOPY --from=build /app /app",
      good:
        "FROM --platform=$BUILDPLATFORM golang:1.22 AS build\nCOPY . .\nARG TARGETOS TARGETARCH\nRUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app .\nFROM scratch\nCOPY --from=build /app /app"),
    "PlatformCacheShared": CheckExplanation(
      "A cache mount over a folder of compiled output (target, node_modules, build, .venv …) has the same id for every platform. Told when several platforms are built.",
      "All platforms' steps write into the one folder, at the same time: one finds the other's objects newer than its sources and links or ships them. Caches of downloads (packages, sources) may be shared; those of results need the platform in their id.",
      bad: "FROM golang:1.22\nRUN --mount=type=cache,target=/src/target make",
      good: "FROM golang:1.22\nARG TARGETPLATFORM\nRUN --mount=type=cache,id=target-$TARGETPLATFORM,target=/src/target make"),
    "PlatformCommandForeign": CheckExplanation(
      "A RUN in a stage that is built for Windows has a command that Windows has not (apk, apt-get, chmod, /bin/sh …), or one of Windows in a stage that is built for Linux too, or one line for both systems' shells. Told when Windows is among the platforms that are asked for.",
      "The stage builds for one of its platforms and fails for the other, where its builder may not even run here. Make the files in a stage on $BUILDPLATFORM and COPY them, or give each system a stage of its own and choose by name: FROM app-$TARGETOS. Where one line is meant for both, SHELL says so.",
      bad: "FROM golang:1.22\nRUN apt-get install -y git\nCOPY . /src",
      good: "FROM --platform=$BUILDPLATFORM golang:1.22 AS files\nRUN apt-get install -y git && chmod -R a+rX /src\nFROM scratch\nCOPY --from=files /src /src"),
  ]
}
