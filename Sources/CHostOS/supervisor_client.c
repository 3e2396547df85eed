// The build's side of supervisor.c: what Swift cannot call itself (ancillary data, vfork, bpf).
#ifdef __linux__
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// posix_spawn attributes that give a child neither our blocked signals nor our ignored ones.
static int plain_attributes(posix_spawnattr_t *attributes) {
  int error = posix_spawnattr_init(attributes);
  if (error) return error;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  sigdelset(&all, SIGKILL);
  sigdelset(&all, SIGSTOP);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &all);
  return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

int manifold_supervisor_start(int socket) {
  static char *arguments[] = {"manifold-server", NULL};
  char limit[64];
  const char *descriptors = getenv("MANIFOLD_NOFILE");
  snprintf(limit, sizeof limit, "MANIFOLD_NOFILE=%.32s", descriptors ? descriptors : "");
  char *environment[] = {"MANIFOLD_STAGE=supervisor", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", descriptors ? limit : NULL, NULL};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return -error;
  error = plain_attributes(&attributes);
  if (error) {
    posix_spawn_file_actions_destroy(&actions);
    return -error;
  }
  pid_t pid = -1;
  posix_spawn_file_actions_adddup2(&actions, socket, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_RDWR, 0);
  error = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error ? -error : pid;
}

int manifold_supervisor_request(int socket, const int *fds, int count) {
  if (count < 5 || count > MANIFOLD_SUPERVISOR_MAX_FDS) return -E2BIG;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(MANIFOLD_SUPERVISOR_MAX_FDS * sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  char byte = 'r';
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
  memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) return -errno;
  return 0;
}

int manifold_supervisor_socketpair(int pair[2]) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0 ? 0 : -errno; }

int manifold_supervisor_memory(const void *bytes, unsigned long length) {
  int fd = memfd_create("manifold-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  size_t done = 0;
  while (done < length) {
    ssize_t n = write(fd, (const char *)bytes + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int error = errno;
      close(fd);
      return -error;
    }
    done += (size_t)n;
  }
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return fd;
}

int manifold_open_filesystem(const char *type) {
  int fs = (int)syscall(430 /* fsopen */, type, 1 /* FSOPEN_CLOEXEC */);
  if (fs < 0) return -errno;
  int result = syscall(431 /* fsconfig */, fs, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) == 0
    ? (int)syscall(432 /* fsmount */, fs, 1 /* FSMOUNT_CLOEXEC */, 0) : -1;
  int error = errno;
  close(fs);
  return result < 0 ? -error : result;
}

int manifold_try_program(const char *path) {
  char *arguments[] = {(char *)path, NULL};
  char *environment[] = {NULL};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return -error;
  error = plain_attributes(&attributes);
  if (error) {
    posix_spawn_file_actions_destroy(&actions);
    return -error;
  }
  for (int fd = 0; fd < 3; fd++) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  pid_t pid = -1;
  // Another thread's child may hold the file open for writing until it executes.
  for (int tries = 0; tries < 50; tries++) {
    error = posix_spawn(&pid, path, &actions, &attributes, arguments, environment);
    if (error != ETXTBSY) break;
    usleep(2000);
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error) return -error;
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int manifold_try_program_alone(const char *directory, const char *name) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return -errno;
  int status = 0;
  for (int tries = 0; tries < 50; tries++) {
    pid_t pid = fork();
    if (pid < 0) {
      status = -errno;
      break;
    }
    if (pid == 0) {
      // Only what is safe after a fork of many threads.
      char *arguments[] = {(char *)name, NULL}, *environment[] = {NULL};
      sigset_t none;
      sigemptyset(&none);
      for (int fd = 0; fd < 3; fd++) dup2(null, fd);
      if (chroot(directory) != 0 || chdir("/") != 0) _exit(125);
      sigprocmask(SIG_SETMASK, &none, NULL);
      execve(name, arguments, environment);
      _exit(errno == ETXTBSY ? 124 : 126);
    }
    int result;
    while ((result = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {}
    if (result < 0) {
      status = -errno;
      break;
    }
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (status != 124) break;
    usleep(2000);
  }
  close(null);
  return status;
}

// ---- Devices ----

#define LOAD(dst, offset) {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = (dst), .src_reg = BPF_REG_1, .off = (offset)}
#define COPY(dst, src) {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (dst), .src_reg = (src)}
#define SET(dst, value) {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (dst), .imm = (value)}
#define AND(dst, value) {.code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = (dst), .imm = (value)}
#define SHIFT(dst, value) {.code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = (dst), .imm = (value)}
#define IF_EQUAL(reg, value, jump) {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = (reg), .off = (jump), .imm = (value)}
#define IF_NOT(reg, value, jump) {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = (reg), .off = (jump), .imm = (value)}
#define EXIT {.code = BPF_JMP | BPF_EXIT}

// Lets the processes of a version 2 control group make device nodes, but open only the harmless ones (null, zero, full, random, urandom, tty, ptmx,
// pseudo-terminals).
static int device_policy(int cgroup) {
  enum { type = BPF_REG_2, access = BPF_REG_3, major = BPF_REG_4, minor = BPF_REG_5 };
  static const struct bpf_insn program[] = {
    /* 0 */ LOAD(type, 0),
    /* 1 */ COPY(access, type),
    /* 2 */ AND(type, 0xffff),
    /* 3 */ SHIFT(access, 16),
    /* 4 */ LOAD(major, 4),
    /* 5 */ LOAD(minor, 8),
    /* 6 */ IF_EQUAL(access, BPF_DEVCG_ACC_MKNOD, 14),  // to 21: making a node is free
    /* 7 */ IF_NOT(type, BPF_DEVCG_DEV_CHAR, 11),       // to 19
    /* 8 */ IF_EQUAL(major, 136, 12),                   // pseudo-terminals
    /* 9 */ IF_EQUAL(major, 5, 6),                      // to 16
    /* 10 */ IF_NOT(major, 1, 8),                       // to 19
    /* 11 */ IF_EQUAL(minor, 3, 9),                     // null
    /* 12 */ IF_EQUAL(minor, 5, 8),                     // zero
    /* 13 */ IF_EQUAL(minor, 7, 7),                     // full
    /* 14 */ IF_EQUAL(minor, 8, 6),                     // random
    /* 15 */ IF_EQUAL(minor, 9, 5),                     // urandom
    /* 16 */ IF_NOT(major, 5, 2),                       // to 19
    /* 17 */ IF_EQUAL(minor, 0, 3),                     // tty
    /* 18 */ IF_EQUAL(minor, 2, 2),                     // ptmx
    /* 19 */ SET(BPF_REG_0, 0),
    /* 20 */ EXIT,
    /* 21 */ SET(BPF_REG_0, 1),
    /* 22 */ EXIT,
  };
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = (uint64_t)(uintptr_t)program;
  attributes.insn_cnt = sizeof program / sizeof *program;
  attributes.license = (uint64_t)(uintptr_t) "Apache-2.0";
  int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
  if (fd < 0) return -errno;
  memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = (uint32_t)cgroup;
  attributes.attach_bpf_fd = (uint32_t)fd;
  attributes.attach_type = BPF_CGROUP_DEVICE;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  int error = syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes) == 0 ? 0 : -errno;
  close(fd);
  return error;
}

static int write_rule(int group, const char *file, const char *rule) {
  int fd = openat(group, file, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = write(fd, rule, strlen(rule)) < 0 ? -errno : 0;
  close(fd);
  return result;
}

int manifold_device_group(int parent, const char *name, int version) {
  static const char *const rules[] = {
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm",
  };
  if (mkdirat(parent, name, 0755) != 0) return -errno;
  int group = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int result = group < 0 ? -errno : version == 2 ? device_policy(group) : version == 1 ? write_rule(group, "devices.deny", "a") : 0;
  // What this process may not do itself it cannot allow: then it stays forbidden.
  for (size_t i = 0; result == 0 && version == 1 && i < sizeof rules / sizeof *rules; i++) (void)write_rule(group, "devices.allow", rules[i]);
  if (group >= 0) close(group);
  if (result < 0) unlinkat(parent, name, AT_REMOVEDIR);
  return result;
}
#endif
