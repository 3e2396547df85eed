internal import BuildKitProto
internal import SwiftProtobuf

/// What clients and frontends are told that they may ask for, by BuildKit's names. What is not there they do without, or refuse by themselves.
enum GatewayCapabilities {
  /// Of the gateway. Left out: `source.metaresolver.image.attestations` and `source.metaresolver.http.checksumrequest`, which are not served.
  static let frontend: [Moby_Buildkit_V1_Apicaps_APICap] = list([
    "solve.base", "solve.inlinereturn", "resolveimage", "resolveimage.resolvemode", "readfile", "return", "returnmap", "readdir", "statfile", "importcaches", "proto.refarray",
    "reference.output", "frontend.inputs", "gateway.solve.metadata", "gateway.exec", "gateway.exec.extrahosts", "gateway.exec.secretenv", "gateway.exec.signals",
    "gateway.exec.filesystem", "frontend.caps", "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings", "reference.attestations", "source.metaresolver",
  ])

  /// Of graphs, and of what is done with results. Left out: `source.policy.session`: a client is not asked about its sources yet.
  static let llb: [Moby_Buildkit_V1_Apicaps_APICap] = list(
    [
      "source.image", "source.image.resolvemode", "source.image.checksum", "source.local", "source.local.unique", "source.local.sessionid",
      "source.local.includepatterns", "source.local.followpaths", "source.local.excludepatterns", "source.local.sharedkeyhint", "source.local.differ",
      "source.git", "source.git.keepgitdir", "source.git.fullurl", "source.git.knownsshhosts", "source.git.mountsshsock", "source.git.checksum",
      "source.git.skipsubmodules", "source.git.mtime", "source.git.fetchbycommit", "source.http", "source.http.auth", "source.http.checksum",
      "source.http.perm", "soruce.http.uidgid", "source.http.header", "source.ocilayout", "exec.meta.base", "exec.meta.cgroup.parent", "exec.meta.network",
      "exec.meta.proxyenv", "exec.meta.security", "exec.meta.security.devices.v1", "exec.meta.setsdefaultpath", "exec.meta.ulimit",
      "exec.meta.removemountstubs.recursive", "exec.meta.linux.resources", "exec.mount.bind", "exec.mount.bind.readwrite-nooutput", "exec.mount.cache",
      "exec.mount.cache.sharing", "exec.mount.selector", "exec.mount.tmpfs", "exec.mount.tmpfs.size", "exec.mount.secret", "exec.mount.ssh", "exec.cgroup",
      "exec.secretenv", "exec.validexitcode", "file.base", "file.rm.wildcard", "file.copy.includeexcludepatterns", "file.copy.requiredpaths",
      "file.rm.nofollowsymlink", "file.copy.alwaysreplaceexistingdestpaths", "file.copy.modestring", "file.symlink.create", "constraints", "platform",
      "meta.ignorecache", "meta.description", "meta.exportcache", "mergeop", "diffop",
      "exporter.image.annotations", "exporter.image.attestations", "exporter.sourcedateepoch", "exporter.multiple", "source.policy", "gc.freespacefilter", "history.filter",
    ])

  private static func list(_ names: [String]) -> [Moby_Buildkit_V1_Apicaps_APICap] {
    Set(names).sorted().map { name in
      .with {
        $0.id = name
        $0.enabled = true
        $0.deprecated = name == "solve.inlinereturn"
      }
    }
  }
}
