internal import Crypto

/// A content digest, `algorithm:hex` (OCI image-spec, descriptor.md, "Digests"). Never invalid: the algorithm is
/// registered and the hex part is lowercase and of the algorithm's length.
public struct Digest: Hashable, Sendable, Comparable, Codable, CustomStringConvertible, LosslessStringConvertible {
  /// The registered algorithms. `sha256` is what every builder writes; `sha384` and `sha512` are read.
  public enum Algorithm: String, Sendable, CaseIterable {
    case sha256, sha384, sha512
    /// Length of the hex form, in characters.
    public var hexLength: Int { switch self { case .sha256: 64; case .sha384: 96; case .sha512: 128 } }
  }
  public let algorithm: Algorithm
  /// Lowercase hex, `algorithm.hexLength` characters.
  public let hex: String

  /// Parses `sha256:…`. Throws `OCIError.invalidDigest` when the algorithm is unknown, or the hex part is not lowercase hex of its length.
  public init(parsing text: String) throws(OCIError) {
    guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")), let algorithm = Algorithm(rawValue: String(text[..<colon])) else {
      throw OCIError(.invalidDigest, "invalid digest \"\(text.prefix(100))\": expected sha256:<64 hex characters>")
    }
    try self.init(algorithm, hex: String(text[text.index(after: colon)...]))
  }

  /// Throws `OCIError.invalidDigest` unless `hex` is lowercase hex of the algorithm's length.
  public init(_ algorithm: Algorithm = .sha256, hex: String) throws(OCIError) {
    let valid = hex.utf8.count == algorithm.hexLength && hex.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) }
    guard valid else {
      throw OCIError(.invalidDigest, "invalid digest \"\(algorithm.rawValue):\(hex.prefix(140))\": expected \(algorithm.hexLength) lowercase hex characters")
    }
    self.algorithm = algorithm
    self.hex = hex
  }

  private init(unchecked algorithm: Algorithm, hex: String) {
    self.algorithm = algorithm
    self.hex = hex
  }

  public init?(_ description: String) {
    guard let digest = try? Digest(parsing: description) else { return nil }
    self = digest
  }

  /// From the 32 bytes of a SHA-256.
  package init(sha256 bytes: UnsafeRawBufferPointer) { self = Digest.make(.sha256, bytes: bytes) }

  /// SHA-256 of the bytes.
  public static func sha256(of bytes: some Sequence<UInt8>) -> Digest {
    var hasher = DigestHasher()
    if bytes.withContiguousStorageIfAvailable({ hasher.update(UnsafeRawBufferPointer($0)) }) == nil {
      Array(bytes).withUnsafeBytes { hasher.update($0) }
    }
    return hasher.finish()
  }
  /// SHA-256 of the text's UTF-8.
  public static func sha256(of text: String) -> Digest { sha256(of: text.utf8) }

  fileprivate static func make(_ algorithm: Algorithm, bytes: some Sequence<UInt8>) -> Digest {
    func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
    let hex = String(unsafeUninitializedCapacity: algorithm.hexLength) { out in
      var at = 0
      for byte in bytes where at + 1 < out.count {
        (out[at], out[at + 1]) = (digit(byte >> 4), digit(byte & 15))
        at += 2
      }
      return at
    }
    return Digest(unchecked: algorithm, hex: hex)
  }

  /// The digest's bytes (32 for sha256).
  public var bytes: [UInt8] {
    var out = [UInt8]()
    out.reserveCapacity(hex.utf8.count / 2)
    var high: UInt8?
    for c in hex.utf8 {
      let value = c < 0x3a ? c - 0x30 : c - 0x57
      if let h = high { out.append(h << 4 | value); high = nil } else { high = value }
    }
    return out
  }

  public var description: String { algorithm.rawValue + ":" + hex }
  public static func < (a: Digest, b: Digest) -> Bool { (a.algorithm.rawValue, a.hex) < (b.algorithm.rawValue, b.hex) }

  public init(from decoder: any Decoder) throws { try self.init(parsing: decoder.singleValueContainer().decode(String.self)) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// Computes a digest over bytes given piece by piece. A value type: a copy goes on independently.
public struct DigestHasher: Sendable {
  private enum State: Sendable { case sha256(SHA256), sha384(SHA384), sha512(SHA512), taken }
  private var state: State
  /// Bytes hashed so far.
  public private(set) var count: Int64 = 0

  public init(_ algorithm: Digest.Algorithm = .sha256) {
    switch algorithm {
    case .sha256: state = .sha256(SHA256())
    case .sha384: state = .sha384(SHA384())
    case .sha512: state = .sha512(SHA512())
    }
  }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    count += Int64(bytes.count)
    // Taken out meanwhile: the library's hashers copy themselves when somebody else holds them too.
    let before = state
    state = .taken
    switch consume before {
    case .sha256(var hash): hash.update(bufferPointer: bytes); state = .sha256(hash)
    case .sha384(var hash): hash.update(bufferPointer: bytes); state = .sha384(hash)
    case .sha512(var hash): hash.update(bufferPointer: bytes); state = .sha512(hash)
    case .taken: break
    }
  }

  public mutating func update(_ bytes: some Sequence<UInt8>) {
    if bytes.withContiguousStorageIfAvailable({ update(UnsafeRawBufferPointer($0)) }) == nil {
      Array(bytes).withUnsafeBytes { update($0) }
    }
  }
  public mutating func update(_ text: String) { update(text.utf8) }

  /// The digest of all bytes so far; the hasher can go on.
  public func finish() -> Digest {
    switch state {
    case .sha256(let hash): Digest.make(.sha256, bytes: hash.finalize())
    case .sha384(let hash): Digest.make(.sha384, bytes: hash.finalize())
    case .sha512(let hash): Digest.make(.sha512, bytes: hash.finalize())
    case .taken: Digest.sha256(of: "")
    }
  }
}
