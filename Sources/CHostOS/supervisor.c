// MANIFOLD_STAGE=supervisor: the processes that stand between a build and its containers.
//
//   build ──socket──► server ──fork──► supervisor ──clone──► init (pid 1 of a namespace) ──exec──► crun or runc ──► the step
//     └──────────── control socket ───────┘
//
// The server is this same executable, started once a build; it only forks, so that a container costs a fork of a small process and
// not the start of a big one. Each supervisor owns one container: a mount namespace with a private tmpfs, in which the mounts that the
// build handed over as descriptors are put in place; perhaps a user namespace with its own binfmt_misc; and a pid namespace. The
// build holds the other end of the control socket and nothing else, so however the build ends, the kernel closes it: end-of-file
// kills the pid namespace, and with the last process go the mounts. If the supervisor itself is killed, init dies with it.
//
// A plan is a sequence of NUL-terminated strings: an operation and its arguments, carried out in order (see `operations`).
// Reports on the control socket are one packet each: a word, and NUL-terminated arguments:
//   exit <wait status>          the runtime has ended
//   log <text>                  what the runtime wrote to its log, sent before "exit"
//   fail <what> <errno>         it could not be set up
// A build that was killed has a moment left in the plan's operations; whatever is made for it in the host's sight is made here, and removed by `fail` too.
#ifdef __linux__
#include "supervisor.h"
#include "stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  max_fds = MANIFOLD_SUPERVISOR_MAX_FDS, max_args = 64, max_registrations = 16, max_cgroups = 32,
  nr_move_mount = 429, nr_open_tree = 428, nr_openat2 = 437, nr_close_range = 436,
};

struct cgroup {
  int parent;
  const char *name;
};
struct container {
  int fds[max_fds], fd_count;
  int control;
  const char *scratch;  // where the private tmpfs is
  int new_user, probe;
  int network;  // the container's network namespace; 0 is this one
  const char *registrations[max_registrations];
  int registration_count;
  char *arguments[max_args + 1];
  int argument_count;
  struct cgroup cgroups[max_cgroups];
  int cgroup_count;
  const char *runtime_cgroups[max_cgroups];
  int runtime_cgroup_count;
  int go[2];  // the supervisor tells init to go on; its end-of-file tells that the supervisor is dead
};

// ---- Reports ----

static void report(int control, const char *word, const char *text, int number) {
  char packet[9000], digits[16];
  size_t n = 0;
  const char *parts[3] = {word, text, digits};
  snprintf(digits, sizeof digits, "%d", number);
  for (int i = 0; i < 3; i++) {
    if (!parts[i]) continue;
    size_t length = strlen(parts[i]);
    if (length > sizeof packet - n - 32) length = sizeof packet - n - 32;
    memcpy(packet + n, parts[i], length);
    n += length;
    packet[n++] = 0;
  }
  while (send(control, packet, n, MSG_NOSIGNAL) < 0 && errno == EINTR) {}
}

static void remove_cgroups(struct container *c);
static struct container *supervised;  // only in the supervisor itself: what it has to clear away
static pid_t supervised_init;

static __attribute__((noreturn)) void fail(int control, const char *what, int error) {
  if (supervised && supervised_init > 0) {
    kill(supervised_init, SIGKILL);
    waitpid(supervised_init, NULL, 0);
  }
  if (supervised) remove_cgroups(supervised);
  report(control, "fail", what, error);
  _exit(1);
}

static __attribute__((noreturn)) void fail_at(struct container *c, const char *what, const char *where) {
  int error = errno;
  char text[600];
  snprintf(text, sizeof text, "%s %.500s", what, where);
  fail(c->control, text, error);
}

// ---- Small things ----

static int write_all(int fd, const char *text, size_t length) {
  while (length > 0) {
    ssize_t n = write(fd, text, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    text += n;
    length -= (size_t)n;
  }
  return 0;
}

static int write_path(int dirfd, const char *path, const char *text) {
  int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  // One write: the kernel's interfaces take their text whole.
  ssize_t n = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return n == (ssize_t)strlen(text) ? 0 : -1;
}

static char *joined(char *buffer, size_t size, const char *a, const char *b) {
  if ((size_t)snprintf(buffer, size, "%s/%s", a, b) >= size) {
    errno = ENAMETOOLONG;
    return NULL;
  }
  return buffer;
}

static void close_from(int first) {
  if (syscall(nr_close_range, first, ~0U, 0) == 0) return;
  long last = sysconf(_SC_OPEN_MAX);
  for (int fd = first; fd < (last < 0 || last > 65536 ? 65536 : (int)last); fd++) close(fd);
}

// ---- The plan's operations ----

static int fd_of(struct container *c, const char *index) {
  char *end;
  long i = strtol(index, &end, 10);
  if (end == index || *end || i < 0 || i >= c->fd_count) fail(c->control, "plan names no such descriptor", EINVAL);
  return c->fds[i];
}

static void make_target(struct container *c, int like, const char *path) {
  struct stat s;
  if (fstat(like, &s) != 0) fail_at(c, "stat source of", path);
  if (S_ISDIR(s.st_mode) ? mkdir(path, 0755) : mknod(path, S_IFREG | 0644, 0))
    if (errno != EEXIST) fail_at(c, "make", path);
}

// scratch DIR: the private tmpfs. Everything else that is made here is in it.
static void op_scratch(struct container *c, char **a) {
  c->scratch = a[0];
  if (mount("manifold", a[0], "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711") != 0) fail_at(c, "mount tmpfs at", a[0]);
}

static void op_directory(struct container *c, char **a) {
  char path[4096];
  if (!joined(path, sizeof path, c->scratch, a[0]) || (mkdir(path, 0711) != 0 && errno != EEXIST)) fail_at(c, "make", a[0]);
}

// file NAME MODE TEXT
static void op_file(struct container *c, char **a) {
  char path[4096];
  mode_t mode = (mode_t)strtoul(a[1], NULL, 8);
  int fd = joined(path, sizeof path, c->scratch, a[0]) ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode) : -1;
  if (fd < 0 || fchmod(fd, mode) != 0 || write_all(fd, a[2], strlen(a[2])) != 0) fail_at(c, "write", a[0]);
  close(fd);
}

// mount FD NAME: a mount that the build opened, put at NAME.
static void op_mount(struct container *c, char **a) {
  char path[4096];
  int fd = fd_of(c, a[0]);
  if (!joined(path, sizeof path, c->scratch, a[1])) fail_at(c, "name", a[1]);
  make_target(c, fd, path);
  if (syscall(nr_move_mount, fd, "", AT_FDCWD, path, 4 /* MOVE_MOUNT_F_EMPTY_PATH */) != 0) fail_at(c, "attach mount at", a[1]);
}

// bind NAME PATH TARGET: PATH beneath the mount at NAME, symbolic links resolved inside it, again at TARGET.
static void op_bind(struct container *c, char **a) {
  char path[4096], target[4096];
  if (!joined(path, sizeof path, c->scratch, a[0]) || !joined(target, sizeof target, c->scratch, a[2])) fail_at(c, "name", a[2]);
  int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) fail_at(c, "open", a[0]);
  struct {
    uint64_t flags, mode, resolve;
  } how = {O_PATH | O_CLOEXEC, 0, 0x10 /* RESOLVE_IN_ROOT */ | 0x02 /* RESOLVE_NO_MAGICLINKS */};
  int fd = (int)syscall(nr_openat2, root, a[1][0] == '/' && a[1][1] == 0 ? "." : a[1], &how, sizeof how);
  if (fd < 0) fail_at(c, "open in mount", a[1]);
  make_target(c, fd, target);
  int tree = (int)syscall(nr_open_tree, fd, "", AT_EMPTY_PATH | 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC | 0x8000 /* AT_RECURSIVE */);
  if (tree < 0 || syscall(nr_move_mount, tree, "", AT_FDCWD, target, 4) != 0) fail_at(c, "bind", a[1]);
  close(tree);
  close(fd);
  close(root);
}

// hide PATH: over a directory, if there is one, a read-only tmpfs with an empty directory for each of its entries. (runc looks into the directories of
// the control groups that /proc still names, and goes without them when it may not write there.)
static void op_hide(struct container *c, char **a) {
  DIR *directory = opendir(a[0]);
  if (!directory) {
    if (errno == ENOENT) return;
    fail_at(c, "open", a[0]);
  }
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("manifold", a[0], "tmpfs", flags, "mode=0755,size=64k") != 0) fail_at(c, "hide", a[0]);
  char path[4096];
  for (struct dirent *entry; (entry = readdir(directory));)
    if (entry->d_name[0] != '.' && entry->d_type == DT_DIR && joined(path, sizeof path, a[0], entry->d_name)) (void)mkdir(path, 0755);
  closedir(directory);
  if (mount(NULL, a[0], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) != 0) fail_at(c, "hide", a[0]);
}

// control-groups PATH: those of version 2, for a runtime that will not do without where the host has mounted none.
static void op_control_groups(struct container *c, char **a) {
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("cgroup2", a[0], "cgroup2", flags, NULL) == 0) return;
  // A user namespace may mount those of a control group namespace of its own.
  if (errno != EPERM || unshare(CLONE_NEWCGROUP) != 0 || mount("cgroup2", a[0], "cgroup2", flags, NULL) != 0)
    fail_at(c, "mount control groups for runc (crun needs none) at", a[0]);
}

static void op_user(struct container *c, char **a) {
  (void)a;
  c->new_user = 1;
}

// network FD: containers are in the network namespace that FD is. It is joined before the user namespace is made, which would forbid it.
static void op_network(struct container *c, char **a) { c->network = fd_of(c, a[0]); }

// probe: no program, only everything before it.
static void op_probe(struct container *c, char **a) {
  (void)a;
  c->probe = 1;
}

// register TEXT: a line for binfmt_misc's register file.
static void op_register(struct container *c, char **a) {
  if (c->registration_count == max_registrations) fail(c->control, "too many registrations in the plan", E2BIG);
  c->registrations[c->registration_count++] = a[0];
}

static void op_argument(struct container *c, char **a) {
  if (c->argument_count == max_args) fail(c->control, "too many arguments in the plan", E2BIG);
  c->arguments[c->argument_count++] = a[0];
}

// cgroup FD NAME VERSION: the control group NAME is made beneath FD, in which only harmless devices open (version 0: any), and joined by init. Made here and not by the
// build, which may be killed at any moment.
static void op_cgroup(struct container *c, char **a) {
  if (c->cgroup_count == max_cgroups) fail(c->control, "too many control groups in the plan", E2BIG);
  int parent = fd_of(c, a[0]);
  c->cgroups[c->cgroup_count++] = (struct cgroup){parent, a[1]};
  int result = manifold_device_group(parent, a[1], atoi(a[2]));
  if (result < 0) {
    errno = -result;
    fail_at(c, "make control group", a[1]);
  }
}

// cgroup-setting FD NAME/FILE VALUE: a limit of a group that was made.
static void op_cgroup_setting(struct container *c, char **a) {
  if (write_path(fd_of(c, a[0]), a[1], a[2]) != 0) {
    char text[600];
    snprintf(text, sizeof text, "%.400s to %.100s", a[1], a[2]);
    fail_at(c, "set the limit", text);
  }
}

// runtime-cgroup PATH: made by the runtime; removed in case that it could not.
static void op_runtime_cgroup(struct container *c, char **a) {
  if (c->runtime_cgroup_count == max_cgroups) fail(c->control, "too many control groups in the plan", E2BIG);
  c->runtime_cgroups[c->runtime_cgroup_count++] = a[0];
}

static const struct operation {
  const char *name;
  int arguments;
  void (*perform)(struct container *, char **);
} operations[] = {
  {"scratch", 1, op_scratch}, {"directory", 1, op_directory}, {"file", 3, op_file}, {"mount", 2, op_mount},
  {"bind", 3, op_bind}, {"hide", 1, op_hide}, {"control-groups", 1, op_control_groups}, {"user", 0, op_user}, {"network", 1, op_network}, {"probe", 0, op_probe},
  {"register", 1, op_register}, {"argument", 1, op_argument}, {"cgroup", 3, op_cgroup}, {"cgroup-setting", 3, op_cgroup_setting}, {"runtime-cgroup", 1, op_runtime_cgroup},
};

static char *read_plan(struct container *c, size_t *length) {
  struct stat s;
  int fd = c->fds[0];
  if (fstat(fd, &s) != 0 || s.st_size <= 0 || s.st_size > (64 << 20)) fail(c->control, "plan is empty or too large", errno ? errno : EINVAL);
  char *plan = malloc((size_t)s.st_size + 1);
  if (!plan) fail(c->control, "memory for the plan", ENOMEM);
  size_t have = 0;
  while (have < (size_t)s.st_size) {
    ssize_t n = pread(fd, plan + have, (size_t)s.st_size - have, (off_t)have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(c->control, "read the plan", n < 0 ? errno : EIO);
    have += (size_t)n;
  }
  plan[have] = 0;
  *length = have;
  return plan;
}

static void carry_out(struct container *c) {
  size_t length;
  char *at = read_plan(c, &length), *end = at + length;
  while (at < end) {
    const struct operation *found = NULL;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
      if (strcmp(operations[i].name, at) == 0) found = &operations[i];
    if (!found) fail(c->control, "plan with an unknown operation", EINVAL);
    char *arguments[3];
    at += strlen(at) + 1;
    for (int i = 0; i < found->arguments; i++) {
      if (at >= end) fail(c->control, "plan cut short", EINVAL);
      arguments[i] = at;
      at += strlen(at) + 1;
    }
    found->perform(c, arguments);
  }
  if (!c->scratch || (c->argument_count == 0 && !c->probe)) fail(c->control, "plan without scratch directory or program", EINVAL);
}

// ---- Init: process 1 of the container's outer pid namespace ----

static volatile pid_t runtime_pid;

static void forward(int number) {
  if (runtime_pid > 0) kill(runtime_pid, number);
}

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP, SIGALRM};

static void register_interpreters(struct container *c) {
  if (c->registration_count == 0) return;
  char path[4096], file[4096];
  if (!joined(path, sizeof path, c->scratch, "binfmt") || (mkdir(path, 0700) != 0 && errno != EEXIST)) fail_at(c, "make", "binfmt");
  // In this user namespace a binfmt_misc of its own, empty, which counts for all processes in it (Linux 6.7).
  if (mount("binfmt_misc", path, "binfmt_misc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) fail_at(c, "mount binfmt_misc at", path);
  if (!joined(file, sizeof file, path, "register")) fail_at(c, "name", "register");
  for (int i = 0; i < c->registration_count; i++)
    if (write_path(AT_FDCWD, file, c->registrations[i]) != 0) fail_at(c, "register with binfmt_misc:", c->registrations[i]);
}

static __attribute__((noreturn)) void run_runtime(struct container *c) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // crun and runc make the file over which they mount a copy of their own program there, instead of in /tmp, where a kill would leave it.
  static char state[4200];
  static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", state, NULL};
  snprintf(state, sizeof state, "_LIBCONTAINER_STATEDIR=%s", c->scratch);
  sigset_t none;
  sigemptyset(&none);
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) signal(forwarded[i], SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  // The three are above 2 already: the server keeps 0, 1 and 2 for itself.
  if (dup2(c->fds[2], 0) < 0 || dup2(c->fds[3], 1) < 0 || dup2(c->fds[4], 2) < 0) fail(c->control, "container's standard streams", errno);
  int control = fcntl(c->control, F_DUPFD_CLOEXEC, 3);
  if (control != 3) {
    dup3(control, 3, O_CLOEXEC);
    control = 3;
  }
  close_from(4);
  manifold_restore_descriptor_limit();
  execve(c->arguments[0], c->arguments, environment);
  char text[600];
  int error = errno;
  snprintf(text, sizeof text, "start %.500s", c->arguments[0]);
  fail(control, text, error);
}

static int init_main(void *context) {
  struct container *c = context;
  supervised = NULL;
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  prctl(PR_SET_NAME, "manifold-init", 0, 0, 0);
  close(c->go[1]);
  char byte;
  ssize_t n;
  while ((n = read(c->go[0], &byte, 1)) < 0 && errno == EINTR) {}
  if (n != 1) _exit(1);  // the supervisor died first
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) fail(c->control, "mount /proc for the container's processes", errno);
  register_interpreters(c);
  if (c->probe) _exit(0);
  struct sigaction action = {.sa_handler = forward, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaction(forwarded[i], &action, NULL);
  pid_t child = fork();
  if (child < 0) fail(c->control, "fork", errno);
  if (child == 0) run_runtime(c);
  runtime_pid = child;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  // Nothing here may keep the step's streams open once the step is over.
  for (int i = 2; i < c->fd_count; i++) close(c->fds[i]);
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) _exit(1);
    if (pid != child) continue;
    // The end of this process kills whatever is left in the namespace. The supervisor tells the build, after that.
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : 1);
  }
}

// ---- Supervisor ----

// Every id that this namespace has is itself inside. One fewer when it has all that there are: programs take a full map for no user
// namespace at all.
static int map_ids(pid_t target, const char *file) {
  char path[64], text[16384];
  snprintf(path, sizeof path, "/proc/self/%s", file);
  FILE *f = fopen(path, "re");
  if (!f) return -1;
  size_t at = 0;
  unsigned long inside, outside, count;
  while (fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3 && at + 64 < sizeof text) {
    if (count == 4294967295UL) count--;
    at += (size_t)snprintf(text + at, sizeof text - at, "%lu %lu %lu\n", inside, inside, count);
  }
  fclose(f);
  snprintf(path, sizeof path, "/proc/%d/%s", (int)target, file);
  return write_path(AT_FDCWD, path, text);
}

static int map_all_ids(pid_t target) { return map_ids(target, "uid_map") != 0 ? -1 : map_ids(target, "gid_map"); }

static void join_cgroups(struct container *c, pid_t pid) {
  char file[600], text[16];
  snprintf(text, sizeof text, "%d", (int)pid);
  for (int i = 0; i < c->cgroup_count; i++) {
    snprintf(file, sizeof file, "%s/cgroup.procs", c->cgroups[i].name);
    if (write_path(c->cgroups[i].parent, file, text) != 0) fail_at(c, "join control group", c->cgroups[i].name);
  }
}

static void remove_cgroup(int parent, const char *name) {
  // A dead process leaves its group a moment after it is reaped.
  for (int tries = 0; tries < 200; tries++) {
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno != EBUSY) return;
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
  }
}

static void remove_cgroups(struct container *c) {
  for (int i = 0; i < c->cgroup_count; i++) remove_cgroup(c->cgroups[i].parent, c->cgroups[i].name);
  for (int i = 0; i < c->runtime_cgroup_count; i++) remove_cgroup(AT_FDCWD, c->runtime_cgroups[i]);
  c->cgroup_count = c->runtime_cgroup_count = 0;
}

static void send_log(struct container *c) {
  char path[4096], text[8192];
  if (!joined(path, sizeof path, c->scratch, "log")) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return;
  text[n] = 0;
  char packet[8300] = "log";
  memcpy(packet + 4, text, (size_t)n);
  while (send(c->control, packet, 4 + (size_t)n, MSG_NOSIGNAL) < 0 && errno == EINTR) {}
}

// Answers init's wait status. Whatever the build sends is a signal's number for the runtime; its end-of-file is the end.
static int watch(struct container *c, pid_t init, int signals) {
  struct pollfd fds[2] = {{.fd = c->control, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
  for (;;) {
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      kill(init, SIGKILL);
    }
    if (fds[0].revents) {
      char packet[16];
      ssize_t n = recv(c->control, packet, sizeof packet - 1, MSG_DONTWAIT);
      if (n > 0) {
        packet[n] = 0;
        int number = atoi(packet);
        if (number > 0 && number < 65) kill(init, number);
      } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        kill(init, SIGKILL);
        fds[0].fd = -1;
      }
    }
    if (fds[1].revents) {
      struct signalfd_siginfo info;
      (void)!read(signals, &info, sizeof info);
      int status;
      pid_t pid = waitpid(init, &status, WNOHANG);
      if (pid == init) return status;
      if (pid < 0 && errno != EINTR) return 0x7f00;
    }
  }
}

static __attribute__((noreturn)) void supervise(struct container *c) {
  static char stack[256 * 1024] __attribute__((aligned(64)));
  prctl(PR_SET_NAME, "manifold-step", 0, 0, 0);
  signal(SIGCHLD, SIG_DFL);
  if (unshare(CLONE_NEWNS) != 0) fail(c->control, "unshare mount namespace", errno);
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail(c->control, "make mounts private", errno);
  supervised = c;
  carry_out(c);
  if (c->network && setns(c->network, CLONE_NEWNET) != 0) fail(c->control, "enter the step's network namespace", errno);
  if (pipe2(c->go, O_CLOEXEC) != 0) fail(c->control, "pipe", errno);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) fail(c->control, "signalfd", errno);
  int flags = CLONE_NEWPID | SIGCHLD | (c->new_user ? CLONE_NEWUSER | CLONE_NEWNS : 0);
  pid_t init = clone(init_main, stack + sizeof stack, flags, c);
  if (init < 0) fail(c->control, c->new_user ? "make a user namespace" : "make a pid namespace", errno);
  supervised_init = init;
  close(c->go[0]);
  if (c->new_user && map_all_ids(init) != 0) fail(c->control, "map the user namespace's ids", errno);
  join_cgroups(c, init);
  (void)!write(c->go[1], "g", 1);
  // fds 5 and up (mounts, the cache key's lock) stay open here: the lock is held as long as this process lives.
  for (int i = 2; i < 5; i++) close(c->fds[i]);
  int status = watch(c, init, signals);
  send_log(c);
  // Before the build hears of the end: its snapshot is to be in nobody's use by then.
  umount2(c->scratch, MNT_DETACH);
  report(c->control, "exit", NULL, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  remove_cgroups(c);
  _exit(0);
}

// ---- Server ----

static int receive(int *fds, int *count) {
  char byte[8];
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(max_fds * sizeof(int))];
  } control;
  struct iovec data = {byte, sizeof byte};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n;
  while ((n = recvmsg(0, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {}
  if (n <= 0) return -1;
  *count = 0;
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    int n = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    if (n > max_fds - *count) n = max_fds - *count;
    memcpy(fds + *count, CMSG_DATA(h), (size_t)n * sizeof(int));
    *count += n;
  }
  return 0;
}

int manifold_supervisor_main(int argc, char **argv, char **envp) {
  (void)argc, (void)argv, (void)envp;
  static struct container c;
  // A terminal's signals are the build's to interpret.
  setsid();
  signal(SIGCHLD, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_NAME, "manifold-server", 0, 0, 0);
  // What the build had open by mistake must not stay open for as long as there are containers.
  close_from(3);
  umask(022);
  while (receive(c.fds, &c.fd_count) == 0) {
    if (c.fd_count >= 5) {
      c.control = c.fds[1];
      pid_t child = fork();
      if (child == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null >= 0) dup2(null, 0);
        supervise(&c);
      }
      if (child < 0) report(c.control, "fail", "fork", errno);
    }
    for (int i = 0; i < c.fd_count; i++) close(c.fds[i]);
  }
  return 0;
}
#endif
