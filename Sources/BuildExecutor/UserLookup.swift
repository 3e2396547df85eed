package import HostOS

/// Who a process runs as.
package struct ProcessUser: Sendable, Equatable {
  package var uid: UInt32
  package var gid: UInt32
  /// Starts with `gid`.
  package var additionalGids: [UInt32]

  package init(uid: UInt32, gid: UInt32, additionalGids: [UInt32] = []) {
    self.uid = uid
    self.gid = gid
    self.additionalGids = additionalGids.contains(gid) ? additionalGids : [gid] + additionalGids
  }
}

/// USER's text resolved by a root filesystem's /etc/passwd and /etc/group, with the rules of BuildKit's runc executor:
/// two numbers are taken as they are; one number is a user id, whose entry gives group and further groups; a name must have an entry.
package enum UserLookup {
  static let largestFile = 10 << 20
  // moby/sys/user: ids beyond are refused, though the kernel would take them.
  static let largestID = Int64(Int32.max)

  /// Blocks; call through Blocking.run. Throws `ExecutorError.userNotFound`.
  package static func resolve(_ text: String, in root: Directory) throws -> ProcessUser {
    if let user = numeric(text) { return user }
    return try resolve(text, passwd: try file("etc/passwd", in: root), group: try file("etc/group", in: root))
  }

  /// The home directory of a user id, "/" when /etc/passwd does not tell. Blocks.
  static func home(of uid: UInt32, in root: Directory) -> String {
    let entry = lines((try? file("etc/passwd", in: root)) ?? nil).first { integer($0, 2) == Int64(uid) }
    return entry.flatMap { $0.count > 5 && !$0[5].isEmpty ? String($0[5]) : nil } ?? "/"
  }

  /// `uid:gid`, both numbers or `root`.
  static func numeric(_ text: String) -> ProcessUser? {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let uid = plainID(parts[0]), let gid = plainID(parts[1]) else { return nil }
    return ProcessUser(uid: uid, gid: gid)
  }
  private static func plainID(_ text: Substring) -> UInt32? {
    if text == "root" { return 0 }
    return text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } ? UInt32(text) : nil
  }

  /// nil when there is no such file.
  private static func file(_ path: String, in root: Directory) throws -> [UInt8]? {
    do {
      // A FIFO must not hold us up.
      let descriptor = try root.openFile(path, flags: [.readOnly, .nonBlocking])
      guard try descriptor.status().kind == .regular else { return nil }
      return try descriptor.readToEnd(limit: largestFile)
    } catch let error as HostError where error.code == .tooLarge {
      throw ExecutorError(.userNotFound, "/\(path) in the image is larger than \(largestFile >> 20) MiB", cause: error)
    } catch is HostError { return nil }
  }

  package static func resolve(_ text: String, passwd: [UInt8]?, group: [UInt8]?) throws -> ProcessUser {
    let spec = (text.isEmpty ? "0" : text).split(separator: ":", omittingEmptySubsequences: false)
    let userText = String(spec[0]), groupText = spec.count > 1 ? String(spec[1]) : ""
    let userID = try number(userText, what: "user"), groupID = try number(groupText, what: "group")

    var user = ProcessUser(uid: 0, gid: 0), matchedName = ""
    let entry = lines(passwd).first { fields in
      userText.isEmpty ? integer(fields, 2) == 0 : userID.map { $0 == integer(fields, 2) } ?? (fields[0] == userText)
    }
    if let entry {
      matchedName = String(entry[0])
      user = ProcessUser(uid: try id(integer(entry, 2), of: "user \(matchedName)"), gid: try id(integer(entry, 3), of: "group of user \(matchedName)"))
    } else if let userID {
      user = ProcessUser(uid: UInt32(userID), gid: 0)
    } else if !userText.isEmpty {
      throw ExecutorError(.userNotFound, "unable to find user \(userText): no matching entries in passwd file")
    }

    if !groupText.isEmpty {
      if let found = lines(group).first(where: { fields in groupID.map { $0 == integer(fields, 2) } ?? (fields[0] == groupText) }) {
        return ProcessUser(uid: user.uid, gid: try id(integer(found, 2), of: "group \(found[0])"))
      }
      guard let groupID else { throw ExecutorError(.userNotFound, "unable to find group \(groupText): no matching entries in group file") }
      return ProcessUser(uid: user.uid, gid: UInt32(groupID))
    }
    if matchedName.isEmpty { return user }
    let further = try lines(group).filter { fields in
      fields.count > 3 && fields[3].split(separator: ",").contains { $0 == matchedName }
    }.map { try id(integer($0, 2), of: "group \($0[0])") }
    return ProcessUser(uid: user.uid, gid: user.gid, additionalGids: further)
  }

  /// Lines of colon-separated fields; a line without a name is skipped.
  private static func lines(_ bytes: [UInt8]?) -> [[Substring]] {
    guard let bytes else { return [] }
    return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).compactMap { line in
      let trimmed = line.drop(while: \.isWhitespace)
      let fields = trimmed.split(separator: ":", omittingEmptySubsequences: false).map { $0 }
      return fields.isEmpty || fields[0].isEmpty ? nil : fields
    }
  }

  /// As Go's readers have it: what is no number is 0.
  private static func integer(_ fields: [Substring], _ index: Int) -> Int64 {
    guard index < fields.count else { return 0 }
    var text = fields[index]
    while text.last?.isWhitespace == true { text.removeLast() }
    return Int64(text) ?? 0
  }

  private static func number(_ text: String, what: String) throws -> Int64? {
    let digits = text.first == "-" || text.first == "+" ? text.dropFirst() : Substring(text)
    guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    return Int64(try id(Int64(text) ?? .max, of: "\(what) \(text)"))
  }
  private static func id(_ value: Int64, of what: String) throws -> UInt32 {
    guard value >= 0, value <= largestID else { throw ExecutorError(.userNotFound, "\(what): uids and gids must be in range 0-\(largestID)") }
    return UInt32(value)
  }
}
