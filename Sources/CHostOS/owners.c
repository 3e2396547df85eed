// Owners, and modes, that this process cannot give to files, remembered in an attribute of theirs.
//
// An ordinary user without subordinate ids has one id to give files to, and without a user namespace he cannot even read what he gave mode 0. So that an
// image's owners are right all the same, `user.manifold.owner` says "uid:gid" or "uid:gid:mode" of the file in the image, and everything here that asks
// for a file's status is told that. It is copied up with the file by an overlay and goes with it when it is renamed. What takes no user attributes
// (symbolic links, pipes) has it on its directory, under its name. No archive, listing or copy sees these attributes.
#include "owners.h"

#include "CHostOS.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int current = HOSTOS_OWNERS_REAL;

void hostos_set_owners(int mode) { atomic_store(&current, mode); }
int hostos_owners(void) { return atomic_load_explicit(&current, memory_order_relaxed); }

#ifdef __linux__
#define PREFIX "user.manifold."
#define OWNER PREFIX "owner"
#define CAPABILITY PREFIX "capability"
#define REAL_CAPABILITY "security.capability"

struct record {
  uint32_t uid, gid, mode;
  int has_mode;
};

struct place {
  int fd;
  const char *name;
  char attribute[256];
};

// Where the record of a file of this kind is; 0 when there is no place for it.
static int place_of(int dirfd, const char *name, uint32_t mode, struct place *place) {
  if (dirfd == AT_FDCWD || strchr(name, '/')) return 0;
  if (S_ISREG(mode) || S_ISDIR(mode)) {
    *place = (struct place){.fd = dirfd, .name = strcmp(name, ".") == 0 ? "" : name, .attribute = OWNER};
    return 1;
  }
  if (name[0] == 0) return 0;
  *place = (struct place){.fd = dirfd, .name = ""};
  int n = snprintf(place->attribute, sizeof place->attribute, OWNER ".%s", name);
  return n > 0 && (size_t)n < sizeof place->attribute;
}

static int read_record(const struct place *place, struct record *out) {
  char text[64];
  ssize_t n = hostos_xattr_get_plain(place->fd, place->name, place->attribute, text, sizeof text - 1);
  if (n <= 0) return 0;
  text[n] = 0;
  *out = (struct record){0};
  int found = sscanf(text, "%u:%u:%o", &out->uid, &out->gid, &out->mode);
  out->has_mode = found == 3;
  return found >= 2;
}

static int write_record(const struct place *place, struct record record, uint32_t disk_mode) {
  if (record.uid == 0 && record.gid == 0 && !record.has_mode) {
    (void)hostos_xattr_remove_plain(place->fd, place->name, place->attribute);
    return 0;
  }
  char text[64];
  for (int again = 0;; again++) {
    int n = record.has_mode ? snprintf(text, sizeof text, "%u:%u:%o", record.uid, record.gid, record.mode)
                            : snprintf(text, sizeof text, "%u:%u", record.uid, record.gid);
    int result = hostos_xattr_set_plain(place->fd, place->name, place->attribute, text, (size_t)n);
    if (result != -EACCES || again || hostos_owners() != HOSTOS_OWNERS_ALONE || !(S_ISREG(disk_mode) || S_ISDIR(disk_mode))) return result;
    // Only who may write to a file may set its attributes: the mode is remembered too, and made one that allows it.
    if (!record.has_mode) {
      record.has_mode = 1;
      record.mode = disk_mode & 07777;
    }
    result = hostos_chmod_plain(place->fd, place->name, (disk_mode & 07777) | (S_ISDIR(disk_mode) ? 0700 : 0600));
    if (result != 0) return result;
  }
}

void hostos_owners_of(int dirfd, const char *name, struct hostos_stat *status) {
  int mode = hostos_owners();
  if (mode == HOSTOS_OWNERS_REAL || dirfd == AT_FDCWD) return;
  // What is this user's is root's, as it would be in a user namespace.
  if (mode == HOSTOS_OWNERS_ALONE && status->uid == geteuid()) status->uid = status->gid = 0;
  struct place place;
  struct record record;
  if (!place_of(dirfd, name, status->mode, &place) || !read_record(&place, &record)) return;
  status->uid = record.uid;
  status->gid = record.gid;
  if (record.has_mode) status->mode = (status->mode & ~07777u) | (record.mode & 07777);
}

int hostos_owners_chown(int dirfd, const char *name, uint32_t uid, uint32_t gid) {
  int mode = hostos_owners();
  struct hostos_stat status;
  int result = hostos_stat_plain(dirfd, name, 0, &status);
  if (result != 0) return result;
  struct place place;
  struct record record = {0};
  int has_place = place_of(dirfd, name, status.mode, &place);
  if (mode == HOSTOS_OWNERS_FEW) {
    result = hostos_chown_plain(dirfd, name, uid, gid);
    if (result == 0) {
      if (has_place) (void)hostos_xattr_remove_plain(place.fd, place.name, place.attribute);
      return 0;
    }
    if (result != -EINVAL && result != -EPERM) return result;
  }
  // A link with too long a name: nobody asks who owns a link.
  if (!has_place) return 0;
  if (!read_record(&place, &record)) record.has_mode = 0;
  record.uid = uid;
  record.gid = gid;
  result = write_record(&place, record, status.mode);
  // A directory has room for the owners of some hundred links.
  return result != 0 && !S_ISREG(status.mode) && !S_ISDIR(status.mode) ? 0 : result;
}

int hostos_owners_chmod(int dirfd, const char *name, uint32_t mode) {
  struct hostos_stat status;
  int result = hostos_stat_plain(dirfd, name, 0, &status);
  if (result != 0) return result;
  struct place place;
  if (!(S_ISREG(status.mode) || S_ISDIR(status.mode)) || !place_of(dirfd, name, status.mode, &place)) return hostos_chmod_plain(dirfd, name, mode);
  uint32_t disk = mode | (S_ISDIR(status.mode) ? 0700 : 0600);
  result = hostos_chmod_plain(dirfd, name, disk);
  if (result != 0) return result;
  struct record record = {0};
  int had = read_record(&place, &record);
  if (disk == mode && (!had || !record.has_mode)) return 0;
  record.has_mode = disk != mode;
  record.mode = mode;
  result = write_record(&place, record, (status.mode & ~07777u) | disk);
  // Without attributes a file that only its owner may not read is readable to him: no harm.
  return result == -EOPNOTSUPP ? 0 : result;
}

int hostos_is_record(const char *attribute) { return strncmp(attribute, PREFIX, sizeof PREFIX - 1) == 0; }

ssize_t hostos_owners_filter(char *names, ssize_t length) {
  if (length <= 0 || !memmem(names, (size_t)length, PREFIX, sizeof PREFIX - 1)) return length;
  ssize_t out = 0;
  for (ssize_t at = 0; at < length;) {
    ssize_t n = (ssize_t)strnlen(names + at, (size_t)(length - at)) + 1;
    const char *name = names + at;
    if (strcmp(name, CAPABILITY) == 0) {
      memcpy(names + out, REAL_CAPABILITY, sizeof REAL_CAPABILITY);
      out += (ssize_t)sizeof REAL_CAPABILITY;
    } else if (!hostos_is_record(name)) {
      memmove(names + out, name, (size_t)n);
      out += n;
    }
    at += n;
  }
  return out;
}

const char *hostos_owners_capability(const char *attribute) {
  return hostos_owners() == HOSTOS_OWNERS_ALONE && strcmp(attribute, REAL_CAPABILITY) == 0 ? CAPABILITY : NULL;
}
#endif
