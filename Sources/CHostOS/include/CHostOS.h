// What HostOS needs of the kernel and Swift cannot say itself: system calls without a C library wrapper, variadic ones, and
// the stages that must run before Swift has a thread. Every function answers a value of 0 or more, or a negated errno.
#ifndef CHOSTOS_H
#define CHOSTOS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "owners.h"
#include "stage.h"
#include "supervisor.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- Files ----

enum {
  HOSTOS_RESOLVE_NO_XDEV = 0x01,
  HOSTOS_RESOLVE_NO_MAGICLINKS = 0x02,
  HOSTOS_RESOLVE_NO_SYMLINKS = 0x04,
  HOSTOS_RESOLVE_BENEATH = 0x08,
  HOSTOS_RESOLVE_IN_ROOT = 0x10,
};

/// openat2(2), called as a system call. -ENOSYS where there is none. Close-on-exec is always set.
int hostos_openat2(int dirfd, const char *path, int flags, uint32_t mode, uint64_t resolve);
/// openat(2); close-on-exec is always set.
int hostos_openat(int dirfd, const char *path, int flags, uint32_t mode);
/// The flag that opens a name for its place only: O_PATH, or O_RDONLY where there is no O_PATH.
extern const int hostos_o_path;
extern const int hostos_o_tmpfile;

struct hostos_stat {
  uint64_t device;
  uint64_t inode;
  uint64_t size;
  uint64_t blocks;  // of 512 bytes
  uint64_t links;
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  int64_t atime_ns;  // since 1970; saturating
  int64_t mtime_ns;
  int64_t ctime_ns;
};

/// Status of `path` beneath `dirfd`, or of `dirfd` itself when path is "".
int hostos_stat(int dirfd, const char *path, int follow, struct hostos_stat *out);
/// The id of the mount that `fd` is in, for telling mounts apart that share a device. -ENOSYS where unknown.
int hostos_mount_id(int fd, uint64_t *out);

struct hostos_usage {
  uint64_t bytes;        // on the disk
  uint64_t fingerprint;  // of names, kinds, modes, and files' sizes and times; the same for a copy that keeps them
};
/// Of `path` beneath `dirfd` and all that is below it, on its device; a file of several names counts once, by parts. What vanishes or cannot be
/// entered meanwhile counts nothing. Nothing is opened but directories.
int hostos_tree_usage(int dirfd, const char *path, struct hostos_usage *out);

/// A program's path beneath the tree and its file's first 64 bytes, zeros behind its end. Not 0: no more of them.
typedef int (*hostos_program_found)(void *context, const char *path, const unsigned char *head);
/// The executable files beneath a directory, on its device, that begin as ELF files do; no link is followed. What vanishes meanwhile, or cannot be read, is left out.
int hostos_programs(int dirfd, hostos_program_found found, void *context);

int hostos_chmod(int dirfd, const char *name, uint32_t mode);  // never through a symbolic link
int hostos_chown(int dirfd, const char *name, uint32_t uid, uint32_t gid);
/// Nanoseconds since 1970. INT64_MIN leaves a time as it is.
int hostos_set_times(int dirfd, const char *name, int64_t atime_ns, int64_t mtime_ns);
int hostos_mknod(int dirfd, const char *name, uint32_t mode, uint32_t major, uint32_t minor);
enum { HOSTOS_RENAME_NOREPLACE = 1, HOSTOS_RENAME_EXCHANGE = 2 };
int hostos_rename(int fromfd, const char *from, int tofd, const char *to, unsigned flags);
/// An empty file without a name, in memory where the system can; gone with its last descriptor.
int hostos_memory_file(void);
// Starts a program (argv as execv takes it) that reads `input` and whose output can be read from *output. Its errors go nowhere. Answers its pid.
int hostos_spawn_filter(const char *path, char *const argv[], int input, int *output);
// Waits for it. Answers its exit code, 128 + the signal that ended it, or -errno.
int hostos_wait_filter(int pid);
/// linkat(2) of an open descriptor (an O_TMPFILE file).
int hostos_link_fd(int fd, int dirfd, const char *name);

/// Extended attributes of `name` beneath `dirfd`, never through a symbolic link; of the descriptor itself when name is "".
ssize_t hostos_xattr_list(int dirfd, const char *name, char *buffer, size_t size);
ssize_t hostos_xattr_get(int dirfd, const char *name, const char *attribute, void *buffer, size_t size);
int hostos_xattr_set(int dirfd, const char *name, const char *attribute, const void *value, size_t size);
int hostos_xattr_remove(int dirfd, const char *name, const char *attribute);
/// The errno of an attribute that is not there (ENODATA, or ENOATTR on Darwin).
extern const int hostos_no_attribute;

/// Copies `length` bytes at `offset` of `from` to the same place in `to`, in the kernel where it can. Answers the bytes copied.
int64_t hostos_copy_range(int from, int to, int64_t offset, int64_t length);
/// Makes `to` a reflink of `from`; -EOPNOTSUPP, -EXDEV, … where the filesystem cannot.
int hostos_reflink(int from, int to);
/// The next stretch of data at or after `offset`: 1 and its bounds, or 0 when only a hole is left.
int hostos_next_data(int fd, int64_t offset, int64_t size, int64_t *start, int64_t *end);

/// Reads directory entries: calls `each` with a name (not "." or ".."), a DT_ type and the inode until it answers non-zero.
int hostos_entries(int dirfd, int (*each)(void *context, const char *name, size_t length, unsigned char type, uint64_t inode), void *context);

// ---- Locks ----

/// An open-file-description lock on one byte. 1: taken, 0: another has it.
int hostos_lock_byte(int fd, int64_t offset, int exclusive);
int hostos_unlock_byte(int fd, int64_t offset);
/// flock(2), exclusively and without waiting: 1 when it is held, 0 when another has it. For lock files that other programs lock so.
int hostos_flock(int fd);

// ---- Filesystems and the host ----

struct hostos_fs {
  uint64_t type;
  uint64_t total;
  uint64_t available;  // to an ordinary user
  uint64_t free_inodes;
  uint64_t inodes;
};
int hostos_fs_facts(int fd, struct hostos_fs *out);
/// Gives a file blocks of its own up to `size`, where it has holes too. What is in it stays.
int hostos_allocate(int fd, uint64_t size);
int hostos_uname(char *release, size_t size, char *machine, size_t machine_size);
int hostos_cores(void);
int hostos_sync_fs(int fd);
/// A pipe; both ends close on exec.
int hostos_pipe(int ends[2]);
// A new pseudo-terminal: ends[0] is its user's side, ends[1] the terminal. Nobody's controlling terminal.
int hostos_pseudo_terminal(int ends[2]);
int hostos_set_cloexec(int fd, int on);
/// A socket at `name` in a directory that connections can be made to: however long the directory's path is, and wherever it is mounted.
int hostos_socket_listen(int dirfd, const char *name);
/// The next connection; waits for it.
int hostos_socket_accept(int fd);
/// A connection to the socket at `path`.
int hostos_socket_connect(const char *path);
int hostos_socket_pair(int ends[2]);

int hostos_pidfd_open(int pid);
int hostos_pidfd_signal(int pidfd, int signal);
int hostos_kill(int pid, int signal);
int hostos_set_name(const char *name);

// ---- Signals ----

/// From now on each listed signal's number is written as a byte to `fd` (which must not block). `signal` may be given several times.
int hostos_signal_to_fd(int signal, int fd);
int hostos_signal_default(int signal);
int hostos_signal_ignore(int signal);
/// Ends this process by `signal` with its default action, as a shell expects of an interrupted program.
void hostos_raise_default(int signal);

/// Replaces this process image by its own executable with `argv`. Answers only in failure.
int hostos_reexec(char *const argv[]);

#ifdef __linux__
// ---- Mounts ----

struct hostos_overlay {
  const char *const *lowers;  // absolute paths, the topmost first
  size_t count;
  const char *upper;  // NULL for a read-only overlay
  const char *work;
  int user_xattr;
  int is_volatile;
};

/// An overlay, mounted nowhere: a descriptor of its root, which ends with its last descriptor. -ENOSYS or -EINVAL where the kernel's
/// mount interface cannot (before 6.5, when lowers are many): then hostos_overlay_legacy.
int hostos_overlay_open(const struct hostos_overlay *overlay);
/// The same by mount(2) at `target`. `base` is a directory that the paths in `overlay` are relative to (they must fit in a page together).
int hostos_overlay_legacy(const char *base, const struct hostos_overlay *overlay, const char *target);
/// A tmpfs mounted nowhere. size 0: the kernel's default.
int hostos_tmpfs_open(uint64_t size, uint32_t mode);
/// A copy of the mount tree at `path` beneath `dirfd` ("" for dirfd itself), mounted nowhere.
int hostos_bind_open(int dirfd, const char *path, int recursive);
/// Sets attributes (HOSTOS_MOUNT_*) of a mount tree given by its descriptor.
enum { HOSTOS_MOUNT_RDONLY = 1, HOSTOS_MOUNT_NOSUID = 2, HOSTOS_MOUNT_NODEV = 4, HOSTOS_MOUNT_NOEXEC = 8 };
int hostos_mount_set(int mountfd, uint64_t attributes, int recursive);
/// Puts a mount got from the functions above at `path` beneath `dirfd` ("" for dirfd itself).
int hostos_mount_attach(int mountfd, int dirfd, const char *path);
/// mount(2) for kernels without the newer interface.
int hostos_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options);
int hostos_bind_legacy(const char *source, const char *target, int recursive, int read_only);
int hostos_unmount(const char *target, int detach);
/// Makes the tree at `path` receive no events and send none (MS_PRIVATE), or only receive (MS_SLAVE).
int hostos_propagation(const char *path, int slave);
int hostos_unshare_mounts(void);
#endif

#ifdef __cplusplus
}
#endif
#endif
