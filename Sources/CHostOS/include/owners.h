// Owners that files cannot be given, remembered beside them. See owners.c.
#ifndef HOSTOS_OWNERS_H
#define HOSTOS_OWNERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  /// Files are given to whom they belong.
  HOSTOS_OWNERS_REAL = 0,
  /// Few ids: what the system refuses to give away is remembered.
  HOSTOS_OWNERS_FEW = 1,
  /// An ordinary user on his own: his files pass for root's; other owners, and modes that would lock him out, are remembered.
  HOSTOS_OWNERS_ALONE = 2,
};
/// For this whole process, before it looks at any file of a tree.
void hostos_set_owners(int mode);
int hostos_owners(void);

struct hostos_stat;
/// The same as without _plain, of what is on the disk.
int hostos_stat_plain(int dirfd, const char *path, int follow, struct hostos_stat *out);
int hostos_chmod_plain(int dirfd, const char *name, uint32_t mode);
int hostos_chown_plain(int dirfd, const char *name, uint32_t uid, uint32_t gid);
ssize_t hostos_xattr_get_plain(int dirfd, const char *name, const char *attribute, void *buffer, size_t size);
int hostos_xattr_set_plain(int dirfd, const char *name, const char *attribute, const void *value, size_t size);
int hostos_xattr_remove_plain(int dirfd, const char *name, const char *attribute);

// Between files.c and owners.c.
void hostos_owners_of(int dirfd, const char *name, struct hostos_stat *status);
int hostos_owners_chown(int dirfd, const char *name, uint32_t uid, uint32_t gid);
int hostos_owners_chmod(int dirfd, const char *name, uint32_t mode);
ssize_t hostos_owners_filter(char *names, ssize_t length);
int hostos_is_record(const char *attribute);
const char *hostos_owners_capability(const char *attribute);

#ifdef __cplusplus
}
#endif
#endif
