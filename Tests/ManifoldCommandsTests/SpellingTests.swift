import BuildInterface
import Testing

@testable import ManifoldCommands

/// `alias docker=manifold`.
@Suite struct SpellingTests {
  @Test(arguments: [
    ("images", "images"), ("image ls -q", "images -q"), ("image list", "images"), ("image rm -f x", "rmi -f x"), ("image remove x", "rmi x"), ("image build -t x .", "build -t x ."),
    ("image pull x", "pull x"), ("image push x", "push x"), ("image tag a b", "tag a b"), ("image save -o f x", "save -o f x"), ("image load -i f", "load -i f"),
    ("image history x", "history x"), ("image inspect x", "image inspect x"), ("image prune -f", "image prune -f"), ("image", "image --help"), ("image --help", "image --help"),
    ("container run --rm x image ls", "run --rm x image ls"), ("builder prune -f", "prune -f"), ("builder build .", "build ."), ("system df", "df"), ("system info", "info"),
    ("buildx build .", "build ."), ("buildx b .", "build ."), ("buildx du", "du"), ("buildx prune -f", "prune -f"), ("buildx imagetools inspect x", "imagetools inspect x"),
    ("buildx version", "version"), ("buildx", "--help"), ("run buildx build", "run buildx build"), ("tag image buildx", "tag image buildx"),
    // Options before the verb: docker's, and ours.
    ("-D images", "images --debug"), ("--log-level debug images", "images"), ("--log-level=debug -l warn images", "images"), ("--root /r image ls", "images --root /r"),
    ("--root /r image inspect x", "image inspect --root /r x"), ("--insecure-registry r buildx --debug build .", "build --insecure-registry r --debug ."),
    ("--root=/r imagetools inspect x", "imagetools inspect --root=/r x"), ("push --quiet=true x", "push --quiet x"), ("history --human=false x", "history --no-human x"),
    ("pull --all-platforms=false x", "pull x"), ("run -H x", "run -H x"), ("--version", "--version"), ("", ""),
  ])
  func meansTheSame(_ given: String, _ meant: String) throws {
    func words(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }
    #expect(try CommandLineForms.normalised(words(given)) == words(meant))
  }

  @Test(arguments: [
    ("buildx bake", "manifold buildx bake: not yet supported"), ("buildx ls", "manifold buildx ls: not yet supported"), ("buildx history ls", "manifold buildx history: not yet supported"),
    ("buildx images", "there is no command \"buildx images\""), ("container ps", "manifold container ps: not yet supported"), ("system prune", "manifold system prune: not yet supported"),
    ("image import x", "manifold image import: not yet supported"), ("image nope", "there is no command \"image nope\""), ("builder", "builder needs a verb: build, prune"),
    ("--context x images", "--context: not yet supported"), ("-H unix:///x images", "-H: not yet supported"),
  ])
  func refusedByName(_ given: String, _ message: String) {
    #expect(failure { _ = try CommandLineForms.normalised(given.split(separator: " ").map(String.init)) }?.message == message)
  }

  @Test(arguments: ["pull", "push", "tag", "save", "load", "history", "image", "info", "df"])
  func areCommands(_ verb: String) { #expect(throws: Never.self) { try Manifold.refuseUnknownVerb([verb]) } }
}
