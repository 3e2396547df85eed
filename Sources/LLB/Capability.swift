/// A feature of LLB that a definition uses, named as in BuildKit's capability lists. A definition carries the names it
/// needs in its metadata, and an engine that lacks one refuses the definition before it runs anything.
public struct Capability: RawRepresentable, Hashable, Sendable {
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  private init(_ name: String) { rawValue = name }

  public static let sourceImage = Capability("source.image")
  public static let sourceImageResolveMode = Capability("source.image.resolvemode")
  public static let sourceImageLayerLimit = Capability("source.image.layerlimit")
  public static let sourceImageChecksum = Capability("source.image.checksum")
  public static let sourceLocal = Capability("source.local")
  public static let sourceLocalUnique = Capability("source.local.unique")
  public static let sourceLocalSessionID = Capability("source.local.sessionid")
  public static let sourceLocalIncludePatterns = Capability("source.local.includepatterns")
  public static let sourceLocalFollowPaths = Capability("source.local.followpaths")
  public static let sourceLocalExcludePatterns = Capability("source.local.excludepatterns")
  public static let sourceLocalSharedKeyHint = Capability("source.local.sharedkeyhint")
  public static let sourceLocalDiffer = Capability("source.local.differ")
  public static let sourceLocalMetadataTransfer = Capability("source.local.metadatatransfer")
  public static let sourceImageBlob = Capability("source.imageblob")
  public static let sourceBuildOpFilename = Capability("source.buildop.llbfilename")
  public static let sourceGitHTTPAuth = Capability("source.git.httpauth")
  public static let sourceGitSubdirectory = Capability("source.git.subdir")
  public static let execSecurityDevices = Capability("exec.meta.security.devices.v1")
  public static let sourceHTTP = Capability("source.http")
  public static let sourceHTTPAuth = Capability("source.http.auth")
  public static let sourceHTTPChecksum = Capability("source.http.checksum")
  public static let sourceHTTPPermissions = Capability("source.http.perm")
  /// The name is misspelt on the wire.
  public static let sourceHTTPOwner = Capability("soruce.http.uidgid")
  public static let sourceHTTPHeader = Capability("source.http.header")
  public static let sourceGit = Capability("source.git")
  public static let sourceGitKeepDirectory = Capability("source.git.keepgitdir")
  public static let sourceGitFullURL = Capability("source.git.fullurl")
  public static let sourceGitKnownHosts = Capability("source.git.knownsshhosts")
  public static let sourceGitSSHSocket = Capability("source.git.mountsshsock")
  public static let sourceGitChecksum = Capability("source.git.checksum")
  public static let sourceGitSkipSubmodules = Capability("source.git.skipsubmodules")
  public static let sourceGitModificationTime = Capability("source.git.mtime")
  public static let sourceGitFetchByCommit = Capability("source.git.fetchbycommit")
  public static let sourceOCILayout = Capability("source.ocilayout")

  public static let execBase = Capability("exec.meta.base")
  public static let execCgroupParent = Capability("exec.meta.cgroup.parent")
  public static let execNetwork = Capability("exec.meta.network")
  public static let execProxy = Capability("exec.meta.proxyenv")
  public static let execSecurity = Capability("exec.meta.security")
  public static let execSetsDefaultPath = Capability("exec.meta.setsdefaultpath")
  public static let execUlimit = Capability("exec.meta.ulimit")
  public static let execDevices = Capability("exec.meta.cdi")
  public static let execRemovesMountStubs = Capability("exec.meta.removemountstubs.recursive")
  public static let execLinuxResources = Capability("exec.meta.linux.resources")
  public static let execMountBind = Capability("exec.mount.bind")
  public static let execMountBindWithoutOutput = Capability("exec.mount.bind.readwrite-nooutput")
  public static let execMountCache = Capability("exec.mount.cache")
  public static let execMountCacheSharing = Capability("exec.mount.cache.sharing")
  public static let execMountSelector = Capability("exec.mount.selector")
  public static let execMountTmpfs = Capability("exec.mount.tmpfs")
  public static let execMountTmpfsSize = Capability("exec.mount.tmpfs.size")
  public static let execMountSecret = Capability("exec.mount.secret")
  public static let execMountSSH = Capability("exec.mount.ssh")
  public static let execMountContentCache = Capability("exec.mount.cache.content")
  public static let execCgroupsMounted = Capability("exec.cgroup")
  public static let execSecretEnvironment = Capability("exec.secretenv")
  public static let execValidExitCodes = Capability("exec.validexitcode")

  public static let fileBase = Capability("file.base")
  public static let fileRemoveWildcard = Capability("file.rm.wildcard")
  public static let fileRemoveNoFollowSymlink = Capability("file.rm.nofollowsymlink")
  public static let fileCopyIncludeExcludePatterns = Capability("file.copy.includeexcludepatterns")
  public static let fileCopyRequiredPaths = Capability("file.copy.requiredpaths")
  public static let fileCopyAlwaysReplace = Capability("file.copy.alwaysreplaceexistingdestpaths")
  public static let fileCopyModeString = Capability("file.copy.modestring")
  public static let fileSymlink = Capability("file.symlink.create")

  public static let merge = Capability("mergeop")
  public static let diff = Capability("diffop")
  public static let passthrough = Capability("passthroughop")

  public static let constraints = Capability("constraints")
  public static let platform = Capability("platform")
  public static let ignoreCache = Capability("meta.ignorecache")
  public static let description = Capability("meta.description")
  public static let exportCache = Capability("meta.exportcache")

  /// Those that ops may need and this project's engine has. It lacks signatures of repositories and downloads (`….signatureverify`), bundles of repositories
  /// (`source.git.bundle`, `source.git.checkoutbundle`) and the recording proxy (`exec.meta.network.proxy`).
  public static let supported: Set<Capability> = [
    .sourceImage, .sourceImageResolveMode, .sourceImageLayerLimit, .sourceImageChecksum, .sourceImageBlob, .sourceLocal, .sourceLocalUnique, .sourceLocalSessionID,
    .sourceLocalIncludePatterns, .sourceLocalFollowPaths, .sourceLocalExcludePatterns, .sourceLocalSharedKeyHint, .sourceLocalDiffer, .sourceLocalMetadataTransfer, .sourceHTTP,
    .sourceHTTPAuth, .sourceHTTPChecksum, .sourceHTTPPermissions, .sourceHTTPOwner, .sourceHTTPHeader, .sourceGit, .sourceGitKeepDirectory, .sourceGitFullURL, .sourceGitHTTPAuth,
    .sourceGitSubdirectory, .sourceGitKnownHosts, .sourceGitSSHSocket, .sourceGitChecksum, .sourceGitSkipSubmodules, .sourceGitModificationTime, .sourceGitFetchByCommit, .sourceOCILayout,
    .sourceBuildOpFilename, .execBase, .execCgroupParent, .execNetwork, .execProxy, .execSecurity, .execSecurityDevices, .execSetsDefaultPath, .execUlimit, .execDevices,
    .execRemovesMountStubs, .execLinuxResources, .execMountBind, .execMountBindWithoutOutput, .execMountCache, .execMountCacheSharing, .execMountSelector, .execMountTmpfs,
    .execMountTmpfsSize, .execMountSecret, .execMountSSH, .execMountContentCache, .execCgroupsMounted, .execSecretEnvironment, .execValidExitCodes, .fileBase, .fileRemoveWildcard,
    .fileRemoveNoFollowSymlink, .fileCopyIncludeExcludePatterns, .fileCopyRequiredPaths, .fileCopyAlwaysReplace, .fileCopyModeString, .fileSymlink, .merge, .diff, .passthrough,
    .constraints, .platform, .ignoreCache, .description, .exportCache,
  ]
}
