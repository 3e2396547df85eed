/// A media type of the OCI image-spec (media-types.md) or Docker's schema 2, or any other kept as it is.
public struct MediaType: RawRepresentable, Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  public init(_ rawValue: String) { self.rawValue = rawValue }
  public init(stringLiteral value: String) { rawValue = value }
  public var description: String { rawValue }

  public static let ociIndex: MediaType = "application/vnd.oci.image.index.v1+json"
  public static let ociManifest: MediaType = "application/vnd.oci.image.manifest.v1+json"
  public static let ociConfig: MediaType = "application/vnd.oci.image.config.v1+json"
  public static let ociLayer: MediaType = "application/vnd.oci.image.layer.v1.tar"
  public static let ociLayerGzip: MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
  public static let ociLayerZstd: MediaType = "application/vnd.oci.image.layer.v1.tar+zstd"
  public static let ociEmpty: MediaType = "application/vnd.oci.empty.v1+json"
  public static let dockerManifestList: MediaType = "application/vnd.docker.distribution.manifest.list.v2+json"
  public static let dockerManifest: MediaType = "application/vnd.docker.distribution.manifest.v2+json"
  public static let dockerConfig: MediaType = "application/vnd.docker.container.image.v1+json"
  public static let dockerLayer: MediaType = "application/vnd.docker.image.rootfs.diff.tar"
  public static let dockerLayerGzip: MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
  public static let dockerLayerZstd: MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
  public static let dockerForeignLayer: MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
  public static let inToto: MediaType = "application/vnd.in-toto+json"

  /// An image index (OCI) or manifest list (Docker).
  public var isIndex: Bool { self == .ociIndex || self == .dockerManifestList }
  /// An image manifest, OCI or Docker schema 2.
  public var isManifest: Bool { self == .ociManifest || self == .dockerManifest }
  public var isConfig: Bool { self == .ociConfig || self == .dockerConfig }
  /// A filesystem layer in any known compression, distributable or not.
  public var isLayer: Bool {
    rawValue.hasPrefix("application/vnd.oci.image.layer.") || rawValue.hasPrefix("application/vnd.docker.image.rootfs.")
  }
}
