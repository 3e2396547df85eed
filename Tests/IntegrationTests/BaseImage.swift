import Foundation
import HostOS
import Testing

/// The base image of Scripts/make-base-image, made once for each set of platforms and kept beneath .build.
actor BaseImage {
  static let shared = BaseImage()
  static let usual = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
  private var made: [[String]: Task<String, any Error>] = [:]

  /// The path of its OCI layout; the image is called "latest" there.
  func layout(_ platforms: [String] = usual) async throws -> String {
    if let task = made[platforms] { return try await task.value }
    let task = Task {
      let name = "base-image-" + platforms.map { $0.replacingOccurrences(of: "/", with: "-") }.joined(separator: "_")
      let path = "\(packageDirectory)/.build/\(name)"
      // Other test processes may make it at the same time: the first to be ready wins.
      if !Files.exists(path + "/oci-layout") { try await checked("\(packageDirectory)/Scripts/make-base-image", [path] + platforms) }
      return path
    }
    made[platforms] = task
    return try await task.value
  }
}
