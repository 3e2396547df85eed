#include "CHostOS.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
const int hostos_o_path = O_PATH;
const int hostos_o_tmpfile = O_TMPFILE;
const int hostos_no_attribute = ENODATA;
#else
#include <copyfile.h>
const int hostos_o_path = O_RDONLY;
const int hostos_o_tmpfile = 0;
const int hostos_no_attribute = ENOATTR;
#endif

struct hostos_open_how {
  uint64_t flags, mode, resolve;
};

int hostos_openat2(int dirfd, const char *path, int flags, uint32_t mode, uint64_t resolve) {
#ifdef __linux__
  struct hostos_open_how how = {0};
  how.flags = (uint64_t)(unsigned)flags | O_CLOEXEC;
  // openat2 refuses a mode that would not be used.
  if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) how.mode = mode & 07777;
  how.resolve = resolve;
  for (int again = 0;;) {
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
    if (fd >= 0) return (int)fd;
    if (errno == EINTR) continue;
    // A rename somewhere in the system raced with a "..": the kernel asks to try again.
    if (errno == EAGAIN && ++again < 256) continue;
    return -errno;
  }
#else
  (void)dirfd, (void)path, (void)flags, (void)mode, (void)resolve;
  return -ENOSYS;
#endif
}

int hostos_memory_file(void) {
#ifdef __linux__
  long fd = syscall(SYS_memfd_create, "manifold", 1U /* MFD_CLOEXEC */);
  return fd < 0 ? -errno : (int)fd;
#else
  char name[] = "/tmp/manifold.XXXXXX";
  int fd = mkstemp(name);
  if (fd < 0) return -errno;
  unlink(name);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
#endif
}

int hostos_openat(int dirfd, const char *path, int flags, uint32_t mode) {
  for (;;) {
    int fd = openat(dirfd, path, flags | O_CLOEXEC, (mode_t)(mode & 07777));
    if (fd >= 0) return fd;
    if (errno != EINTR) return -errno;
  }
}

static int64_t nanoseconds(int64_t seconds, int64_t nanos) {
  int64_t out;
  if (__builtin_mul_overflow(seconds, INT64_C(1000000000), &out) || __builtin_add_overflow(out, nanos, &out))
    return seconds < 0 ? INT64_MIN + 1 : INT64_MAX;
  return out;
}

static void fill(const struct stat *s, struct hostos_stat *out) {
  out->device = (uint64_t)s->st_dev;
  out->inode = s->st_ino;
  out->size = (uint64_t)s->st_size;
  out->blocks = (uint64_t)s->st_blocks;
  out->links = s->st_nlink;
  out->mode = s->st_mode;
  out->uid = s->st_uid;
  out->gid = s->st_gid;
  out->rdev_major = (uint32_t)major(s->st_rdev);
  out->rdev_minor = (uint32_t)minor(s->st_rdev);
#ifdef __linux__
  out->atime_ns = nanoseconds(s->st_atim.tv_sec, s->st_atim.tv_nsec);
  out->mtime_ns = nanoseconds(s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
  out->ctime_ns = nanoseconds(s->st_ctim.tv_sec, s->st_ctim.tv_nsec);
#else
  out->atime_ns = nanoseconds(s->st_atimespec.tv_sec, s->st_atimespec.tv_nsec);
  out->mtime_ns = nanoseconds(s->st_mtimespec.tv_sec, s->st_mtimespec.tv_nsec);
  out->ctime_ns = nanoseconds(s->st_ctimespec.tv_sec, s->st_ctimespec.tv_nsec);
#endif
}

int hostos_stat_plain(int dirfd, const char *path, int follow, struct hostos_stat *out) {
  struct stat s;
  int result;
  if (path[0] == 0)
    result = fstat(dirfd, &s);
  else
    result = fstatat(dirfd, path, &s, follow ? 0 : AT_SYMLINK_NOFOLLOW);
  if (result != 0) return -errno;
  fill(&s, out);
  return 0;
}

int hostos_stat(int dirfd, const char *path, int follow, struct hostos_stat *out) {
  int result = hostos_stat_plain(dirfd, path, follow, out);
#ifdef __linux__
  if (result == 0 && hostos_owners() != HOSTOS_OWNERS_REAL) hostos_owners_of(dirfd, path, out);
#endif
  return result;
}

// Murmur's finaliser.
static uint64_t mixed(uint64_t x) {
  x ^= x >> 33, x *= UINT64_C(0xff51afd7ed558ccd);
  x ^= x >> 33, x *= UINT64_C(0xc4ceb9fe1a85ec53);
  return x ^ x >> 33;
}

// `above` stands for the names on the way.
static uint64_t add_usage(struct hostos_usage *out, const struct stat *s, const char *name, uint64_t above) {
  int directory = S_ISDIR(s->st_mode);
  uint64_t bytes = (uint64_t)s->st_blocks * 512;
  out->bytes += directory || s->st_nlink < 2 ? bytes : bytes / s->st_nlink;
  uint64_t place = above;
  for (; *name; name++) place = (place ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
  place = mixed(place);
  uint64_t facts = s->st_mode;
  if (!directory) {
    struct hostos_stat filled;
    fill(s, &filled);
    facts = mixed(facts ^ mixed(filled.size)) ^ (uint64_t)filled.mtime_ns;
  }
  // A sum, whatever the order.
  out->fingerprint += mixed(place ^ mixed(facts));
  return place;
}

// Deeper trees than this are counted down to here: a descriptor is held for each level.
enum { hostos_usage_depth = 512 };

static void usage_below(int dirfd, const char *name, dev_t device, int depth, uint64_t place, struct hostos_usage *out) {
  int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  DIR *dir = fdopendir(fd);
  if (!dir) {
    close(fd);
    return;
  }
  struct dirent *entry;
  while ((entry = readdir(dir))) {
    const char *n = entry->d_name;
    if (n[0] == '.' && (n[1] == 0 || (n[1] == '.' && n[2] == 0))) continue;
    struct stat s;
    if (fstatat(fd, n, &s, AT_SYMLINK_NOFOLLOW) != 0) continue;
    // Something is mounted there.
    if (s.st_dev != device && S_ISDIR(s.st_mode)) continue;
    uint64_t below = add_usage(out, &s, n, place);
    if (S_ISDIR(s.st_mode) && depth < hostos_usage_depth) usage_below(fd, n, device, depth + 1, below, out);
  }
  closedir(dir);
}

int hostos_tree_usage(int dirfd, const char *path, struct hostos_usage *out) {
  struct stat s;
  out->bytes = out->fingerprint = 0;
  if (fstatat(dirfd, path, &s, AT_SYMLINK_NOFOLLOW) != 0) return -errno;
  uint64_t place = add_usage(out, &s, "", 0);
  if (S_ISDIR(s.st_mode)) usage_below(dirfd, path, s.st_dev, 0, place, out);
  return 0;
}

// `path` holds the way to here, with a slash at its end unless it is the beginning.
static int programs_below(int dirfd, const char *name, dev_t device, int depth, char *path, size_t length, hostos_program_found found, void *context) {
  int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return 0;
  DIR *dir = fdopendir(fd);
  if (!dir) {
    close(fd);
    return 0;
  }
  struct dirent *entry;
  int stop = 0;
  while (!stop && (entry = readdir(dir))) {
    const char *n = entry->d_name;
    size_t size = strlen(n);
    if (n[0] == '.' && (n[1] == 0 || (n[1] == '.' && n[2] == 0))) continue;
    if (entry->d_type != DT_REG && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) continue;
    struct stat s;
    if (fstatat(fd, n, &s, AT_SYMLINK_NOFOLLOW) != 0 || s.st_dev != device || length + size + 2 > PATH_MAX) continue;
    memcpy(path + length, n, size + 1);
    if (S_ISDIR(s.st_mode)) {
      path[length + size] = '/';
      path[length + size + 1] = 0;
      if (depth < hostos_usage_depth) stop = programs_below(fd, n, device, depth + 1, path, length + size + 1, found, context);
    } else if (S_ISREG(s.st_mode) && (s.st_mode & 0111) && s.st_size >= 52) {
      unsigned char head[64] = {0};
      int file = openat(fd, n, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
      if (file < 0) continue;
      ssize_t count = pread(file, head, sizeof head, 0);
      close(file);
      if (count >= 52 && memcmp(head, "\177ELF", 4) == 0) stop = found(context, path, head);
    }
  }
  closedir(dir);
  return stop;
}

int hostos_programs(int dirfd, hostos_program_found found, void *context) {
  struct stat s;
  if (fstat(dirfd, &s) != 0) return -errno;
  char path[PATH_MAX + 1] = "";
  programs_below(dirfd, ".", s.st_dev, 0, path, 0, found, context);
  return 0;
}

int hostos_mount_id(int fd, uint64_t *out) {
#if defined(__linux__) && defined(STATX_MNT_ID)
  struct statx s;
  if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_MNT_ID, &s) != 0) return -errno;
  if (!(s.stx_mask & STATX_MNT_ID)) return -ENOSYS;
  *out = s.stx_mnt_id;
  return 0;
#else
  (void)fd, (void)out;
  return -ENOSYS;
#endif
}

int hostos_chmod_plain(int dirfd, const char *name, uint32_t mode) {
  if (name[0] == 0) {
    // A descriptor opened for its place only takes no fchmod.
    if (fchmod(dirfd, (mode_t)mode) == 0) return 0;
    if (errno != EBADF) return -errno;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
    return chmod(path, (mode_t)mode) == 0 ? 0 : -errno;
  }
#ifdef __linux__
  if (syscall(SYS_fchmodat2, dirfd, name, mode, AT_SYMLINK_NOFOLLOW) == 0) return 0;
  if (errno != ENOSYS && errno != EPERM) return -errno;
#endif
  return fchmodat(dirfd, name, (mode_t)mode, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

int hostos_chmod(int dirfd, const char *name, uint32_t mode) {
#ifdef __linux__
  if (hostos_owners() == HOSTOS_OWNERS_ALONE) return hostos_owners_chmod(dirfd, name, mode);
#endif
  return hostos_chmod_plain(dirfd, name, mode);
}

int hostos_chown_plain(int dirfd, const char *name, uint32_t uid, uint32_t gid) {
#ifdef __linux__
  return fchownat(dirfd, name, uid, gid, AT_SYMLINK_NOFOLLOW | (name[0] == 0 ? AT_EMPTY_PATH : 0)) == 0 ? 0 : -errno;
#else
  if (name[0] == 0) return fchown(dirfd, uid, gid) == 0 ? 0 : -errno;
  return fchownat(dirfd, name, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
#endif
}

int hostos_chown(int dirfd, const char *name, uint32_t uid, uint32_t gid) {
#ifdef __linux__
  if (hostos_owners() != HOSTOS_OWNERS_REAL) return hostos_owners_chown(dirfd, name, uid, gid);
#endif
  return hostos_chown_plain(dirfd, name, uid, gid);
}

static struct timespec timespec_of(int64_t ns) {
  struct timespec t;
  if (ns == INT64_MIN) {
    t.tv_sec = 0;
    t.tv_nsec = UTIME_OMIT;
    return t;
  }
  t.tv_sec = (time_t)(ns / 1000000000);
  t.tv_nsec = (long)(ns % 1000000000);
  if (t.tv_nsec < 0) {
    t.tv_nsec += 1000000000;
    t.tv_sec -= 1;
  }
  return t;
}

int hostos_set_times(int dirfd, const char *name, int64_t atime_ns, int64_t mtime_ns) {
  struct timespec times[2] = {timespec_of(atime_ns), timespec_of(mtime_ns)};
  if (name[0] != 0) return utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
  if (futimens(dirfd, times) == 0) return 0;
  if (errno != EBADF) return -errno;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
  return utimensat(AT_FDCWD, path, times, 0) == 0 ? 0 : -errno;
}

int hostos_mknod(int dirfd, const char *name, uint32_t mode, uint32_t maj, uint32_t min) {
#ifdef __linux__
  return mknodat(dirfd, name, (mode_t)mode, makedev(maj, min)) == 0 ? 0 : -errno;
#else
  (void)dirfd, (void)name, (void)mode, (void)maj, (void)min;
  return -ENOTSUP;
#endif
}

int hostos_rename(int fromfd, const char *from, int tofd, const char *to, unsigned flags) {
#ifdef __linux__
  if (flags == 0) return renameat(fromfd, from, tofd, to) == 0 ? 0 : -errno;
  return syscall(SYS_renameat2, fromfd, from, tofd, to, flags) == 0 ? 0 : -errno;
#else
  unsigned native = (flags & HOSTOS_RENAME_NOREPLACE ? RENAME_EXCL : 0) | (flags & HOSTOS_RENAME_EXCHANGE ? RENAME_SWAP : 0);
  return renameatx_np(fromfd, from, tofd, to, native) == 0 ? 0 : -errno;
#endif
}

int hostos_link_fd(int fd, int dirfd, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

// ---- Extended attributes ----

#ifdef __linux__
// The magic link of a descriptor stands for its directory, so only `name` itself is looked up, and l…xattr does not follow it.
static int fd_path(char *path, size_t size, int dirfd, const char *name) {
  int n = name[0] == 0 ? snprintf(path, size, "/proc/self/fd/%d", dirfd) : snprintf(path, size, "/proc/self/fd/%d/%s", dirfd, name);
  return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

ssize_t hostos_xattr_list(int dirfd, const char *name, char *buffer, size_t size) {
  if (name[0] == 0) {
    // A descriptor opened for its place only takes no flistxattr.
    ssize_t n = flistxattr(dirfd, buffer, size);
    if (n >= 0 || errno != EBADF) return n < 0 ? -errno : hostos_owners_filter(buffer, size ? n : 0);
  }
  char path[NAME_MAX + 64];
  if (fd_path(path, sizeof path, dirfd, name) != 0) return -ENAMETOOLONG;
  ssize_t n = name[0] == 0 ? listxattr(path, buffer, size) : llistxattr(path, buffer, size);
  return n < 0 ? -errno : hostos_owners_filter(buffer, size ? n : 0);
}

ssize_t hostos_xattr_get_plain(int dirfd, const char *name, const char *attribute, void *buffer, size_t size) {
  if (name[0] == 0) {
    ssize_t n = fgetxattr(dirfd, attribute, buffer, size);
    if (n >= 0 || errno != EBADF) return n < 0 ? -errno : n;
  }
  char path[NAME_MAX + 64];
  if (fd_path(path, sizeof path, dirfd, name) != 0) return -ENAMETOOLONG;
  ssize_t n = name[0] == 0 ? getxattr(path, attribute, buffer, size) : lgetxattr(path, attribute, buffer, size);
  return n < 0 ? -errno : n;
}

int hostos_xattr_set_plain(int dirfd, const char *name, const char *attribute, const void *value, size_t size) {
  char path[NAME_MAX + 64];
  if (fd_path(path, sizeof path, dirfd, name) != 0) return -ENAMETOOLONG;
  int n = name[0] == 0 ? setxattr(path, attribute, value, size, 0) : lsetxattr(path, attribute, value, size, 0);
  return n < 0 ? -errno : 0;
}

int hostos_xattr_remove_plain(int dirfd, const char *name, const char *attribute) {
  char path[NAME_MAX + 64];
  if (fd_path(path, sizeof path, dirfd, name) != 0) return -ENAMETOOLONG;
  int n = name[0] == 0 ? removexattr(path, attribute) : lremovexattr(path, attribute);
  return n < 0 ? -errno : 0;
}

// Where a file's capabilities cannot be set they are remembered, as owners are.
ssize_t hostos_xattr_get(int dirfd, const char *name, const char *attribute, void *buffer, size_t size) {
  if (hostos_is_record(attribute)) return -ENODATA;
  ssize_t n = hostos_xattr_get_plain(dirfd, name, attribute, buffer, size);
  const char *record = n == -ENODATA ? hostos_owners_capability(attribute) : NULL;
  return record ? hostos_xattr_get_plain(dirfd, name, record, buffer, size) : n;
}

int hostos_xattr_set(int dirfd, const char *name, const char *attribute, const void *value, size_t size) {
  if (hostos_is_record(attribute)) return -EOPNOTSUPP;
  int n = hostos_xattr_set_plain(dirfd, name, attribute, value, size);
  const char *record = n == -EPERM ? hostos_owners_capability(attribute) : NULL;
  return record ? hostos_xattr_set_plain(dirfd, name, record, value, size) : n;
}

int hostos_xattr_remove(int dirfd, const char *name, const char *attribute) {
  if (hostos_is_record(attribute)) return -ENODATA;
  int n = hostos_xattr_remove_plain(dirfd, name, attribute);
  const char *record = n == -ENODATA ? hostos_owners_capability(attribute) : NULL;
  return record ? hostos_xattr_remove_plain(dirfd, name, record) : n;
}
#else
static int open_for_xattr(int dirfd, const char *name) {
  int fd = name[0] == 0 ? fcntl(dirfd, F_DUPFD_CLOEXEC, 0) : openat(dirfd, name, O_RDONLY | O_SYMLINK | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}
ssize_t hostos_xattr_list(int dirfd, const char *name, char *buffer, size_t size) {
  int fd = open_for_xattr(dirfd, name);
  if (fd < 0) return fd;
  ssize_t n = flistxattr(fd, buffer, size, 0), result = n < 0 ? -errno : n;
  close(fd);
  return result;
}
ssize_t hostos_xattr_get(int dirfd, const char *name, const char *attribute, void *buffer, size_t size) {
  int fd = open_for_xattr(dirfd, name);
  if (fd < 0) return fd;
  ssize_t n = fgetxattr(fd, attribute, buffer, size, 0, 0), result = n < 0 ? -errno : n;
  close(fd);
  return result;
}
int hostos_xattr_set(int dirfd, const char *name, const char *attribute, const void *value, size_t size) {
  int fd = open_for_xattr(dirfd, name);
  if (fd < 0) return fd;
  int result = fsetxattr(fd, attribute, value, size, 0, 0) < 0 ? -errno : 0;
  close(fd);
  return result;
}
int hostos_xattr_remove(int dirfd, const char *name, const char *attribute) {
  int fd = open_for_xattr(dirfd, name);
  if (fd < 0) return fd;
  int result = fremovexattr(fd, attribute, 0) < 0 ? -errno : 0;
  close(fd);
  return result;
}
#endif

// ---- Copying ----

static int64_t copy_by_hand(int from, int to, int64_t offset, int64_t length) {
  enum { size = 256 * 1024 };
  char *buffer = malloc(size);
  if (!buffer) return -ENOMEM;
  int64_t done = 0, result = 0;
  while (done < length) {
    size_t want = length - done < size ? (size_t)(length - done) : size;
    ssize_t got = pread(from, buffer, want, offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) result = -errno;
    if (got <= 0) break;
    for (ssize_t put = 0; put < got;) {
      ssize_t n = pwrite(to, buffer + put, (size_t)(got - put), offset + done + put);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        result = -errno;
        goto out;
      }
      put += n;
    }
    done += got;
  }
out:
  free(buffer);
  return result < 0 ? result : done;
}

int64_t hostos_copy_range(int from, int to, int64_t offset, int64_t length) {
  int64_t done = 0;
#ifdef __linux__
  while (done < length) {
    loff_t in = offset + done, out = offset + done;
    size_t want = length - done > (1 << 30) ? (1 << 30) : (size_t)(length - done);
    ssize_t n = copy_file_range(from, &in, to, &out, want, 0);
    if (n > 0) {
      done += n;
      continue;
    }
    // Nothing copied: the end of the file, or one of the files that the call does not serve (some answer 0 for those).
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG)) return -errno;
    break;
  }
#endif
  if (done == length) return done;
  int64_t rest = copy_by_hand(from, to, offset + done, length - done);
  return rest < 0 ? rest : done + rest;
}

int hostos_reflink(int from, int to) {
#ifdef __linux__
  return ioctl(to, FICLONE, from) == 0 ? 0 : -errno;
#else
  (void)from, (void)to;
  return -ENOTSUP;
#endif
}

int hostos_next_data(int fd, int64_t offset, int64_t size, int64_t *start, int64_t *end) {
#ifdef SEEK_DATA
  off_t s = lseek(fd, offset, SEEK_DATA);
  if (s < 0 && errno == ENXIO) return 0;
  if (s >= 0) {
    off_t e = lseek(fd, s, SEEK_HOLE);
    *start = s;
    *end = e < 0 || e > size ? size : e;
    return s < size;
  }
#endif
  *start = offset;
  *end = size;
  return offset < size;
}

int hostos_entries(int dirfd, int (*each)(void *, const char *, size_t, unsigned char, uint64_t), void *context) {
  // A description of its own, so that two readers do not share a position.
  int fd = hostos_openat(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return fd;
  DIR *dir = fdopendir(fd);
  if (!dir) {
    int error = errno;
    close(fd);
    return -error;
  }
  int result = 0;
  for (;;) {
    errno = 0;
    struct dirent *e = readdir(dir);
    if (!e) {
      result = -errno;
      break;
    }
    const char *n = e->d_name;
    if (n[0] == '.' && (n[1] == 0 || (n[1] == '.' && n[2] == 0))) continue;
    if (each(context, n, strlen(n), e->d_type, e->d_ino) != 0) break;
  }
  closedir(dir);
  return result;
}

// ---- Locks ----

#ifdef F_OFD_SETLK
#define SETLK F_OFD_SETLK
#else
#define SETLK F_SETLK
#endif

int hostos_lock_byte(int fd, int64_t offset, int exclusive) {
  struct flock lock = {0};
  lock.l_type = exclusive ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = offset;
  lock.l_len = 1;
  for (;;) {
    if (fcntl(fd, SETLK, &lock) == 0) return 1;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EACCES) return 0;
    return -errno;
  }
}

int hostos_unlock_byte(int fd, int64_t offset) {
  struct flock lock = {0};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = offset;
  lock.l_len = 1;
  return fcntl(fd, SETLK, &lock) == 0 ? 0 : -errno;
}

int hostos_flock(int fd) {
  for (;;) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return 1;
    if (errno == EINTR) continue;
    return errno == EWOULDBLOCK ? 0 : -errno;
  }
}

extern char **environ;

int hostos_spawn_filter(const char *path, char *const argv[], int input, int *output) {
  int ends[2];
  if (pipe(ends) < 0) return -errno;
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, input, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  // It must end when its reader goes away, whatever we do with signals ourselves.
  sigset_t all, none;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid;
  int code = posix_spawn(&pid, path, &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(ends[1]);
  if (code != 0) {
    close(ends[0]);
    return -code;
  }
  *output = ends[0];
  return pid;
}

int hostos_wait_filter(int pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
