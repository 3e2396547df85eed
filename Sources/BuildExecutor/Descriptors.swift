import HostOS

/// In this module a descriptor is an open file, not OCIModel's of content.
typealias Descriptor = HostOS.Descriptor
