#ifdef __linux__
#include "CHostOS.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Numbers and constants of the mount interface, which the C library's headers may be too old to have. They are the same for
// every architecture that has them at all (all but alpha).
enum {
  nr_open_tree = 428, nr_move_mount = 429, nr_fsopen = 430, nr_fsconfig = 431, nr_fsmount = 432, nr_mount_setattr = 442,
  config_flag = 0, config_string = 1, config_create = 6,
  fsopen_cloexec = 1, fsmount_cloexec = 1, tree_clone = 1, move_from_empty = 4, move_to_empty = 0x40,
  at_recursive = 0x8000,
};
struct attributes {
  uint64_t set, clear, propagation, userns;
};

static int result_of(long value) { return value < 0 ? -errno : (int)value; }
static int configure(int fs, unsigned command, const char *key, const char *value) {
  return result_of(syscall(nr_fsconfig, fs, command, key, value, 0));
}

static int create(int fs, uint64_t attributes) {
  int error = configure(fs, config_create, NULL, NULL);
  if (error < 0) return error;
  return result_of(syscall(nr_fsmount, fs, fsmount_cloexec, attributes));
}

int hostos_overlay_open(const struct hostos_overlay *o) {
  int fs = result_of(syscall(nr_fsopen, "overlay", fsopen_cloexec));
  if (fs < 0) return fs;
  int result = 0;
  for (size_t i = 0; i < o->count && result >= 0; i++) result = configure(fs, config_string, "lowerdir+", o->lowers[i]);
  if (result >= 0 && o->upper) result = configure(fs, config_string, "upperdir", o->upper);
  if (result >= 0 && o->upper) result = configure(fs, config_string, "workdir", o->work);
  if (result >= 0 && o->user_xattr) result = configure(fs, config_flag, "userxattr", NULL);
  if (result >= 0 && o->upper && o->is_volatile) result = configure(fs, config_flag, "volatile", NULL);
  if (result >= 0) result = create(fs, o->upper ? 0 : HOSTOS_MOUNT_RDONLY);
  close(fs);
  return result;
}

// ':' and '\' separate and quote within lowerdir; ',' separates the options.
static int append(char **at, char *end, const char *text, int quote) {
  for (; *text; text++) {
    if (quote && (*text == ':' || *text == '\\' || *text == ',')) {
      if (*at + 1 >= end) return -E2BIG;
      *(*at)++ = '\\';
    }
    if (*at + 1 >= end) return -E2BIG;
    *(*at)++ = *text;
  }
  **at = 0;
  return 0;
}

int hostos_overlay_legacy(const char *base, const struct hostos_overlay *o, const char *target) {
  char *options = malloc(4096);
  if (!options) return -ENOMEM;
  char *at = options, *end = options + 4095;
  int error = append(&at, end, "lowerdir=", 0);
  for (size_t i = 0; i < o->count && error == 0; i++) {
    if (i) error = append(&at, end, ":", 0);
    if (error == 0) error = append(&at, end, o->lowers[i], 1);
  }
  if (error == 0 && o->upper) {
    error = append(&at, end, ",upperdir=", 0);
    if (error == 0) error = append(&at, end, o->upper, 1);
    if (error == 0) error = append(&at, end, ",workdir=", 0);
    if (error == 0) error = append(&at, end, o->work, 1);
    if (error == 0 && o->is_volatile) error = append(&at, end, ",volatile", 0);
  }
  if (error == 0 && o->user_xattr) error = append(&at, end, ",userxattr", 0);
  if (error < 0) {
    free(options);
    return error;
  }
  // Relative paths need a working directory, which is the whole process's: a child has its own, and the same mounts.
  pid_t child = fork();
  if (child == 0) {
    int code = 0;
    if (chdir(base) != 0 || mount("overlay", target, "overlay", o->upper ? 0 : MS_RDONLY, options) != 0) code = errno;
    _exit(code > 255 ? 255 : code);
  }
  error = child < 0 ? -errno : 0;
  free(options);
  if (error < 0) return error;
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

int hostos_tmpfs_open(uint64_t size, uint32_t mode) {
  int fs = result_of(syscall(nr_fsopen, "tmpfs", fsopen_cloexec));
  if (fs < 0) return fs;
  char text[32];
  snprintf(text, sizeof text, "%o", mode & 07777);
  int result = configure(fs, config_string, "mode", text);
  if (result >= 0 && size > 0) {
    snprintf(text, sizeof text, "%llu", (unsigned long long)size);
    result = configure(fs, config_string, "size", text);
  }
  if (result >= 0) result = create(fs, HOSTOS_MOUNT_NOSUID | HOSTOS_MOUNT_NODEV);
  close(fs);
  return result;
}

int hostos_bind_open(int dirfd, const char *path, int recursive) {
  return result_of(syscall(nr_open_tree, dirfd, path, tree_clone | O_CLOEXEC | (path[0] ? 0 : AT_EMPTY_PATH) | (recursive ? at_recursive : 0)));
}

int hostos_mount_set(int mountfd, uint64_t attributes, int recursive) {
  struct attributes a = {attributes, 0, 0, 0};
  return result_of(syscall(nr_mount_setattr, mountfd, "", AT_EMPTY_PATH | (recursive ? at_recursive : 0), &a, sizeof a));
}

int hostos_mount_attach(int mountfd, int dirfd, const char *path) {
  return result_of(syscall(nr_move_mount, mountfd, "", dirfd, path, move_from_empty | (path[0] ? 0 : move_to_empty)));
}

int hostos_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options) {
  return mount(source, target, type, flags, options) == 0 ? 0 : -errno;
}

int hostos_bind_legacy(const char *source, const char *target, int recursive, int read_only) {
  if (mount(source, target, NULL, MS_BIND | (recursive ? MS_REC : 0), NULL) != 0) return -errno;
  if (!read_only) return 0;
  // In a user namespace flags that the source has are locked: they must be named again or the remount is refused.
  struct statvfs s;
  unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY;
  if (statvfs(target, &s) == 0) {
    if (s.f_flag & ST_NOSUID) flags |= MS_NOSUID;
    if (s.f_flag & ST_NODEV) flags |= MS_NODEV;
    if (s.f_flag & ST_NOEXEC) flags |= MS_NOEXEC;
    if (s.f_flag & ST_NOATIME) flags |= MS_NOATIME;
    if (s.f_flag & ST_NODIRATIME) flags |= MS_NODIRATIME;
    if (s.f_flag & ST_RELATIME) flags |= MS_RELATIME;
  }
  if (mount(NULL, target, NULL, flags, NULL) == 0) return 0;
  int error = errno;
  umount2(target, MNT_DETACH);
  return -error;
}

int hostos_unmount(const char *target, int detach) { return umount2(target, UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) == 0 ? 0 : -errno; }
int hostos_propagation(const char *path, int slave) { return mount("none", path, NULL, MS_REC | (slave ? MS_SLAVE : MS_PRIVATE), NULL) == 0 ? 0 : -errno; }
int hostos_unshare_mounts(void) { return unshare(CLONE_NEWNS) == 0 ? 0 : -errno; }
#endif
