// MANIFOLD_STAGE=namespaces. Real root gets a mount namespace of its own. Anyone else gets a user namespace first, in which he is
// root: his own id is 0 and his ranges in /etc/subuid and /etc/subgid are 1 and up, mapped by newuidmap and newgidmap from
// outside. Then main() goes on, in the same process. What happened is told to Swift through the environment:
//   MANIFOLD_NS        "<user namespace inode> <mount namespace inode>" once inside
//   MANIFOLD_NS_ERROR  "<step> <errno>" when it could not be done
//   MANIFOLD_NS_NOTE   what went less well than it could (only one id is mapped, and why)
#ifdef __linux__
#include "stage.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { max_ranges = 64, text_size = 32 };

struct range {
  unsigned long inside, outside, count;
};
struct map {
  struct range ranges[max_ranges];
  int count;
};

static int failed(const char *step) {
  char text[64];
  snprintf(text, sizeof text, "%s %d", step, errno);
  setenv("MANIFOLD_NS_ERROR", text, 1);
  return -1;
}

static void note(const char *format, ...) {
  char text[1024];
  const char *before = getenv("MANIFOLD_NS_NOTE");
  int n = before ? snprintf(text, sizeof text, "%s; ", before) : 0;
  if (n < 0 || (size_t)n >= sizeof text) return;
  va_list args;
  va_start(args, format);
  vsnprintf(text + n, sizeof text - (size_t)n, format, args);
  va_end(args);
  for (char *c = text; *c; c++)
    if (*c == '\n') *c = ' ';
  setenv("MANIFOLD_NS_NOTE", text, 1);
}

static unsigned long inode_of(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? (unsigned long)s.st_ino : 0;
}

static void mark(void) {
  char text[64];
  snprintf(text, sizeof text, "%lu %lu", inode_of("/proc/self/ns/user"), inode_of("/proc/self/ns/mnt"));
  setenv("MANIFOLD_NS", text, 1);
  // After exec of /proc/self/exe the process would be called "exe".
  FILE *f = fopen("/proc/self/cmdline", "re");
  char name[4096];
  size_t n = f ? fread(name, 1, sizeof name - 1, f) : 0;
  if (f) fclose(f);
  name[n] = 0;
  const char *slash = strrchr(name, '/');
  if (n) prctl(PR_SET_NAME, slash ? slash + 1 : name, 0, 0, 0);
}

// Mounts made outside still come in, so that this process does not keep a filesystem alive that its owner unmounts; none goes out.
static int own_mounts(void) { return mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL); }

// Lines "name:first:count" of the user by name or by number.
static void read_ranges(const char *file, const char *name, unsigned long id, struct map *map) {
  FILE *f = fopen(file, "re");
  if (!f) return;
  char line[512], number[text_size];
  snprintf(number, sizeof number, "%lu", id);
  unsigned long next = 1;
  while (map->count < max_ranges && fgets(line, sizeof line, f)) {
    char *first = strchr(line, ':');
    if (!first) continue;
    *first++ = 0;
    char *count = strchr(first, ':');
    if (!count) continue;
    *count++ = 0;
    if ((!name || strcmp(line, name) != 0) && strcmp(line, number) != 0) continue;
    char *end1, *end2;
    unsigned long start = strtoul(first, &end1, 10), n = strtoul(count, &end2, 10);
    if (end1 == first || *end1 || end2 == count || (*end2 && !isspace((unsigned char)*end2)) || n == 0) continue;
    if (start > 0xfffffffeUL || n > 0xffffffffUL - start || next + n > 0xffffffffUL) continue;
    map->ranges[map->count++] = (struct range){next, start, n};
    next += n;
  }
  fclose(f);
}

static int write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return n == (ssize_t)strlen(text) ? 0 : -1;
}

// Runs newuidmap or newgidmap; what it says on stderr comes back in `said`.
static int run_mapper(const char *program, pid_t target, unsigned long own, const struct map *map, char *said, size_t size) {
  char texts[3 * (max_ranges + 1) + 1][text_size];
  char *argv[3 * (max_ranges + 1) + 3];
  int n = 0, t = 0;
  argv[n++] = (char *)program;
#define ADD(value) (snprintf(texts[t], text_size, "%lu", (unsigned long)(value)), argv[n++] = texts[t++])
  ADD(target);
  ADD(0);
  ADD(own);
  ADD(1);
  for (int i = 0; i < map->count; i++) {
    ADD(map->ranges[i].inside);
    ADD(map->ranges[i].outside);
    ADD(map->ranges[i].count);
  }
#undef ADD
  argv[n] = NULL;
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) return 126;
  pid_t child = fork();
  if (child < 0) return 126;
  if (child == 0) {
    dup2(out[1], 2);
    execvp(program, argv);
    char fallback[64];
    snprintf(fallback, sizeof fallback, "/usr/bin/%s", program);
    execv(fallback, argv);
    _exit(127);
  }
  close(out[1]);
  size_t have = 0;
  for (ssize_t got; have + 1 < size && ((got = read(out[0], said + have, size - 1 - have)) > 0 || (got < 0 && errno == EINTR));)
    if (got > 0) have += (size_t)got;
  while (have && isspace((unsigned char)said[have - 1])) have--;
  said[have] = 0;
  close(out[0]);
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return 126;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

// What the helper outside tells the process inside.
struct report {
  int uid_status, gid_status;  // 0: mapped
  char uid_said[200], gid_said[200];
};

// A root without CAP_SYS_ADMIN (a container's) may map all the ids it has.
static int map_identity(pid_t target, const char *file) {
  char path[64], text[4096] = "";
  snprintf(path, sizeof path, "/proc/self/%s", file);
  FILE *f = fopen(path, "re");
  if (!f) return -1;
  size_t at = 0;
  unsigned long inside, outside, count;
  while (fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3 && at + 64 < sizeof text) {
    // The whole range would look like no user namespace at all to programs that ask.
    if (count == 4294967295UL) count--;
    at += (size_t)snprintf(text + at, sizeof text - at, "%lu %lu %lu\n", inside, inside, count);
  }
  fclose(f);
  snprintf(path, sizeof path, "/proc/%d/%s", (int)target, file);
  return write_file(path, text);
}

static void helper(pid_t target, int go, int tell, uid_t uid, gid_t gid, const struct map *uids, const struct map *gids) {
  struct report report;
  memset(&report, 0, sizeof report);
  char byte;
  ssize_t got;
  while ((got = read(go, &byte, 1)) < 0 && errno == EINTR) {}
  if (got != 1) _exit(0);  // it could not make the namespace, or is dead
  if (uid == 0) {
    report.uid_status = map_identity(target, "uid_map") == 0 ? 0 : 1;
    report.gid_status = map_identity(target, "gid_map") == 0 ? 0 : 1;
  } else {
    report.uid_status = uids->count ? run_mapper("newuidmap", target, uid, uids, report.uid_said, sizeof report.uid_said) : -1;
    report.gid_status = gids->count ? run_mapper("newgidmap", target, gid, gids, report.gid_said, sizeof report.gid_said) : -1;
  }
  (void)!write(tell, &report, sizeof report);
  _exit(0);
}

static int single_map(const char *file, unsigned long own) {
  char path[64], text[64];
  snprintf(path, sizeof path, "/proc/self/%s", file);
  snprintf(text, sizeof text, "0 %lu 1\n", own);
  return write_file(path, text);
}

static void explain(const char *program, const char *file, int status, const char *said) {
  if (status < 0)
    note("%s has no range for this user, so only one id is mapped", file);
  else if (status == 127)
    note("%s is not installed, so only one id is mapped", program);
  else
    note("%s failed (%s), so only one id is mapped", program, said[0] ? said : "no message");
}

static int own_user(void) {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  pid_t self = getpid();
  struct map uids = {.count = 0}, gids = {.count = 0};
  struct passwd *pw = getpwuid(uid);
  const char *name = pw ? pw->pw_name : NULL;
  read_ranges("/etc/subuid", name, uid, &uids);
  read_ranges("/etc/subgid", name, uid, &gids);

  int go[2], tell[2];
  if (pipe2(go, O_CLOEXEC) != 0 || pipe2(tell, O_CLOEXEC) != 0) return failed("pipe");
  pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    close(go[1]);
    close(tell[0]);
    helper(self, go[0], tell[1], uid, gid, &uids, &gids);
  }
  close(go[0]);
  close(tell[1]);
  int made = unshare(CLONE_NEWUSER | CLONE_NEWNS), error = errno;
  struct report report;
  ssize_t got = -1;
  if (made == 0 && write(go[1], "g", 1) == 1)
    while ((got = read(tell[0], &report, sizeof report)) < 0 && errno == EINTR) {}
  close(go[1]);
  close(tell[0]);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
  if (made != 0) {
    errno = error;
    return failed("unshare-user");
  }
  if (got != (ssize_t)sizeof report) {
    errno = EIO;
    return failed("helper");
  }
  if (report.uid_status != 0) {
    if (uid != 0) explain("newuidmap", "/etc/subuid", report.uid_status, report.uid_said);
    if (single_map("uid_map", uid) != 0) return failed("uid_map");
  }
  if (report.gid_status != 0) {
    if (uid != 0) explain("newgidmap", "/etc/subgid", report.gid_status, report.gid_said);
    // The kernel demands that groups cannot be dropped where one could gain by it.
    if (write_file("/proc/self/setgroups", "deny") != 0 && errno != ENOENT) return failed("setgroups");
    if (single_map("gid_map", gid) != 0) return failed("gid_map");
  }
  if (setresgid(0, 0, 0) != 0) return failed("setresgid");
  // The supplementary groups stay: a build context may be readable through one of them.
  if (setresuid(0, 0, 0) != 0) return failed("setresuid");
  // setresuid made the process undumpable, which would give /proc/self to the outer root.
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  if (own_mounts() != 0) return failed("propagation");
  return 0;
}

void manifold_namespaces_main(void) {
  unsetenv("MANIFOLD_NS");
  unsetenv("MANIFOLD_NS_ERROR");
  unsetenv("MANIFOLD_NS_NOTE");
  if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0) {
    if (own_mounts() != 0) {
      failed("propagation");
      return;
    }
  } else if (own_user() != 0)
    return;
  mark();
}
#endif
