package import BuildKitProto
package import OCIModel

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// Ops as JSON, member for member as Go's encoding/json writes BuildKit's types: the form of provenance and of `buildctl debug dump-llb`.
package struct OpJSON {
  /// What is done to values on their way out. The default changes nothing.
  package struct Filter {
    package var text: (String) -> String = { $0 }
    /// `NAME=value`.
    package var variable: (String) -> String = { $0 }
    /// A file.
    package var content: ([UInt8]) -> [UInt8] = { $0 }
    package init() {}
  }
  private let filter: Filter
  private let isWhole: Bool

  /// - Parameter isWhole: with inputs, and with what names the session. Provenance gives inputs by step, and sessions are nobody's business.
  package init(filter: Filter = Filter(), isWhole: Bool = true) { (self.filter, self.isWhole) = (filter, isWhole) }

  package func op(_ op: Pb_Op) -> JSONValue {
    var kind = JSONObject()
    switch op.op {
    case .exec(let exec): kind["exec"] = self.exec(exec)
    case .source(let source): kind["source"] = self.source(source)
    case .file(let file): kind["file"] = members { $0["actions"] = list(file.actions.map(action)) }
    case .build(let build): kind["build"] = self.build(build)
    case .merge(let merge): kind["merge"] = members { $0["inputs"] = list(merge.inputs.map { input in members { $0["input"] = number(input.input) } }) }
    case .diff(let diff):
      kind["diff"] = members {
        if diff.hasLower { $0["lower"] = members { $0["input"] = number(diff.lower.input) } }
        if diff.hasUpper { $0["upper"] = members { $0["input"] = number(diff.upper.input) } }
      }
    case .passthrough(let pass):
      kind["passthrough"] = members {
        $0["id"] = text(pass.id)
        $0["outputs"] = list(pass.outputs.map { .int($0) })
      }
    case nil: break
    }
    var out = JSONObject()
    if isWhole {
      out["inputs"] = list(
        op.inputs.map { input in
          members {
            $0["digest"] = text(input.digest)
            $0["index"] = number(input.index)
          }
        })
    }
    out["Op"] = .object(kind)
    if op.hasPlatform { out["platform"] = platform(op.platform) }
    if op.hasConstraints { out["constraints"] = members { $0["filter"] = texts(op.constraints.filter) } }
    return .object(out)
  }

  private func platform(_ platform: Pb_Platform) -> JSONValue {
    members {
      $0["Architecture"] = text(platform.architecture)
      $0["OS"] = text(platform.os)
      $0["Variant"] = text(platform.variant)
      $0["OSVersion"] = text(platform.osversion)
      $0["OSFeatures"] = texts(platform.osfeatures)
    }
  }

  private func source(_ source: Pb_SourceOp) -> JSONValue {
    let attributes = isWhole ? source.attrs : source.attrs.filter { $0.key != "local.session" && $0.key != "local.unique" }
    return members {
      $0["identifier"] = text(source.identifier)
      $0["attrs"] = map(attributes)
    }
  }

  private func build(_ build: Pb_BuildOp) -> JSONValue {
    members {
      $0["builder"] = number(build.builder)
      let inputs = build.inputs.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      if !inputs.isEmpty { $0["inputs"] = .object(JSONObject(inputs.map { (key, input) in (key, members { $0["input"] = number(input.input) }) })) }
      $0["attrs"] = map(build.attrs)
    }
  }

  package func metadata(_ metadata: Pb_OpMetadata) -> JSONValue {
    members {
      $0["ignore_cache"] = flag(metadata.ignoreCache)
      $0["description"] = map(metadata.description_p)
      if metadata.hasExportCache { $0["export_cache"] = members { $0["Value"] = flag(metadata.exportCache.value) } }
      let caps = metadata.caps.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      if !caps.isEmpty { $0["caps"] = .object(JSONObject(caps.map { ($0.key, .bool($0.value)) })) }
      if metadata.hasProgressGroup {
        let group = metadata.progressGroup
        $0["progress_group"] = members {
          $0["id"] = text(group.id)
          $0["name"] = text(group.name)
          $0["weak"] = flag(group.weak)
        }
      }
      if metadata.hasLinuxResources {
        let limits = metadata.linuxResources
        $0["linux_resources"] = members {
          $0["memory"] = number(limits.memory)
          $0["memorySwap"] = number(limits.memorySwap)
          $0["cpuShares"] = number(limits.cpuShares)
          $0["cpuPeriod"] = number(limits.cpuPeriod)
          $0["cpuQuota"] = number(limits.cpuQuota)
          $0["cpusetCpus"] = text(limits.cpusetCpus)
          $0["cpusetMems"] = text(limits.cpusetMems)
        }
      }
    }
  }

  // MARK: RUN

  private func exec(_ exec: Pb_ExecOp) -> JSONValue {
    members {
      if exec.hasMeta { $0["meta"] = meta(exec.meta) }
      $0["mounts"] = list(exec.mounts.map(mount))
      $0["network"] = number(exec.network.rawValue)
      $0["security"] = number(exec.security.rawValue)
      $0["secretenv"] = list(
        exec.secretenv.map { secret in
          members {
            $0["ID"] = text(secret.id)
            $0["name"] = text(secret.name)
            $0["optional"] = flag(secret.optional)
          }
        })
      $0["cdiDevices"] = list(
        exec.cdiDevices.map { device in
          members {
            $0["name"] = text(device.name)
            $0["optional"] = flag(device.optional)
          }
        })
    }
  }

  private func meta(_ meta: Pb_Meta) -> JSONValue {
    members {
      $0["args"] = texts(meta.args)
      $0["env"] = list(meta.env.map { .string(filter.variable($0)) })
      $0["cwd"] = text(meta.cwd)
      $0["user"] = text(meta.user)
      if meta.hasProxyEnv {
        $0["proxy_env"] = members {
          $0["http_proxy"] = text(meta.proxyEnv.httpProxy)
          $0["https_proxy"] = text(meta.proxyEnv.httpsProxy)
          $0["ftp_proxy"] = text(meta.proxyEnv.ftpProxy)
          $0["no_proxy"] = text(meta.proxyEnv.noProxy)
          $0["all_proxy"] = text(meta.proxyEnv.allProxy)
        }
      }
      $0["extraHosts"] = list(
        meta.extraHosts.map { host in
          members {
            $0["Host"] = text(host.host)
            $0["IP"] = text(host.ip)
          }
        })
      $0["hostname"] = text(meta.hostname)
      $0["ulimit"] = list(
        meta.ulimit.map { limit in
          members {
            $0["Name"] = text(limit.name)
            $0["Soft"] = number(limit.soft)
            $0["Hard"] = number(limit.hard)
          }
        })
      $0["cgroupParent"] = text(meta.cgroupParent)
      $0["removeMountStubsRecursive"] = flag(meta.removeMountStubsRecursive)
      $0["validExitCodes"] = list(meta.validExitCodes.map { .int($0) })
    }
  }

  private func mount(_ mount: Pb_Mount) -> JSONValue {
    members {
      $0["input"] = number(mount.input)
      $0["selector"] = text(mount.selector)
      $0["dest"] = text(mount.dest)
      $0["output"] = number(mount.output)
      $0["readonly"] = flag(mount.readonly)
      $0["mountType"] = number(mount.mountType.rawValue)
      if mount.hasTmpfsOpt { $0["TmpfsOpt"] = members { $0["size"] = number(mount.tmpfsOpt.size) } }
      if mount.hasCacheOpt {
        $0["cacheOpt"] = members {
          $0["ID"] = text(mount.cacheOpt.id)
          $0["sharing"] = number(mount.cacheOpt.sharing.rawValue)
        }
      }
      if mount.hasSecretOpt { $0["secretOpt"] = lent(mount.secretOpt.id, mount.secretOpt.uid, mount.secretOpt.gid, mount.secretOpt.mode, mount.secretOpt.optional) }
      if mount.hasSshopt { $0["SSHOpt"] = lent(mount.sshopt.id, mount.sshopt.uid, mount.sshopt.gid, mount.sshopt.mode, mount.sshopt.optional) }
      $0["resultID"] = text(mount.resultID)
      $0["contentCache"] = number(mount.contentCache.rawValue)
    }
  }

  private func lent(_ id: String, _ uid: UInt32, _ gid: UInt32, _ mode: UInt32, _ optional: Bool) -> JSONValue {
    members {
      $0["ID"] = text(id)
      $0["uid"] = number(uid)
      $0["gid"] = number(gid)
      $0["mode"] = number(mode)
      $0["optional"] = flag(optional)
    }
  }

  // MARK: COPY, ADD, WORKDIR

  private func action(_ action: Pb_FileAction) -> JSONValue {
    var kind = JSONObject()
    switch action.action {
    case .copy(let copy): kind["copy"] = self.copy(copy)
    case .mkfile(let file):
      kind["mkfile"] = members {
        $0["path"] = text(file.path)
        $0["mode"] = number(file.mode)
        if !file.data.isEmpty { $0["data"] = .string(base64([UInt8](file.data))) }
        if file.hasOwner { $0["owner"] = owner(file.owner) }
        $0["timestamp"] = number(file.timestamp)
      }
    case .mkdir(let directory):
      kind["mkdir"] = members {
        $0["path"] = text(directory.path)
        $0["mode"] = number(directory.mode)
        $0["makeParents"] = flag(directory.makeParents)
        if directory.hasOwner { $0["owner"] = owner(directory.owner) }
        $0["timestamp"] = number(directory.timestamp)
      }
    case .rm(let rm):
      kind["rm"] = members {
        $0["path"] = text(rm.path)
        $0["allowNotFound"] = flag(rm.allowNotFound)
        $0["allowWildcard"] = flag(rm.allowWildcard)
      }
    case .symlink, nil: break  // BuildKit's JSON has no word for a link
    }
    return [
      "input": .int(action.input), "secondaryInput": .int(action.secondaryInput), "output": .int(action.output), "Action": .object(kind),
    ]
  }

  private func copy(_ copy: Pb_FileActionCopy) -> JSONValue {
    members {
      $0["src"] = text(copy.src)
      $0["dest"] = text(copy.dest)
      if copy.hasOwner { $0["owner"] = owner(copy.owner) }
      $0["mode"] = number(copy.mode)
      $0["followSymlink"] = flag(copy.followSymlink)
      $0["dirCopyContents"] = flag(copy.dirCopyContents)
      $0["attemptUnpackDockerCompatibility"] = flag(copy.attemptUnpackDockerCompatibility)
      $0["createDestPath"] = flag(copy.createDestPath)
      $0["allowWildcard"] = flag(copy.allowWildcard)
      $0["allowEmptyWildcard"] = flag(copy.allowEmptyWildcard)
      $0["timestamp"] = number(copy.timestamp)
      $0["include_patterns"] = texts(copy.includePatterns)
      $0["exclude_patterns"] = texts(copy.excludePatterns)
      $0["alwaysReplaceExistingDestPaths"] = flag(copy.alwaysReplaceExistingDestPaths)
      $0["modeStr"] = text(copy.modeStr)
      $0["required_paths"] = texts(copy.requiredPaths)
    }
  }

  private func owner(_ owner: Pb_ChownOpt) -> JSONValue {
    func user(_ user: Pb_UserOpt) -> JSONValue {
      var kind = JSONObject()
      switch user.user {
      case .byName(let name):
        kind["byName"] = members {
          $0["name"] = text(name.name)
          $0["input"] = number(name.input)
        }
      case .byID(let id): kind["byId"] = number(id)
      case nil: break
      }
      return ["User": .object(kind)]
    }
    return members {
      if owner.hasUser { $0["user"] = user(owner.user) }
      if owner.hasGroup { $0["group"] = user(owner.group) }
    }
  }

  // MARK: Members that are left out when they say nothing

  package func base64(_ bytes: [UInt8]) -> String { Data(filter.content(bytes)).base64EncodedString() }

  private func members(_ body: (inout JSONObject) -> Void) -> JSONValue {
    var object = JSONObject()
    body(&object)
    return .object(object)
  }
  private func text(_ text: String) -> JSONValue? { text.isEmpty ? nil : .string(filter.text(text)) }
  private func texts(_ texts: [String]) -> JSONValue? { list(texts.map { .string(filter.text($0)) }) }
  private func list(_ items: [JSONValue]) -> JSONValue? { items.isEmpty ? nil : .array(items) }
  private func flag(_ flag: Bool) -> JSONValue? { flag ? true : nil }
  private func number(_ number: some BinaryInteger) -> JSONValue? { number == 0 ? nil : .int(number) }
  private func map(_ map: [String: String]) -> JSONValue? {
    map.isEmpty ? nil : .object(JSONObject(sorted: map.mapValues { filter.text($0) }))
  }
}
