#include "CHostOS.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#else
#include <crt_externs.h>
#include <mach-o/dyld.h>
#include <sys/mount.h>
#include <sys/param.h>
#endif

int hostos_fs_facts(int fd, struct hostos_fs *out) {
  struct statfs s;
  while (fstatfs(fd, &s) != 0)
    if (errno != EINTR) return -errno;
  out->type = (uint64_t)(uint32_t)s.f_type;
  out->total = (uint64_t)s.f_blocks * (uint64_t)s.f_bsize;
  out->available = (uint64_t)s.f_bavail * (uint64_t)s.f_bsize;
  out->inodes = (uint64_t)s.f_files;
  out->free_inodes = (uint64_t)s.f_ffree;
  return 0;
}

int hostos_allocate(int fd, uint64_t size) {
#ifdef __linux__
  return -posix_fallocate(fd, 0, (off_t)size);
#else
  (void)fd, (void)size;
  return 0;
#endif
}

int hostos_uname(char *release, size_t size, char *machine, size_t machine_size) {
  struct utsname u;
  if (uname(&u) != 0) return -errno;
  strncpy(release, u.release, size - 1);
  release[size - 1] = 0;
  strncpy(machine, u.machine, machine_size - 1);
  machine[machine_size - 1] = 0;
  return 0;
}

int hostos_cores(void) {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

int hostos_sync_fs(int fd) {
#ifdef __linux__
  return syncfs(fd) == 0 ? 0 : -errno;
#else
  return fsync(fd) == 0 ? 0 : -errno;
#endif
}

int hostos_pseudo_terminal(int ends[2]) {
  int controller = posix_openpt(O_RDWR | O_NOCTTY);
  if (controller < 0) return -errno;
  fcntl(controller, F_SETFD, FD_CLOEXEC);
  int terminal = -1;
  // Not by its name: in a container's or a chroot's /dev the name may lead elsewhere.
#ifdef TIOCGPTPEER
  if (grantpt(controller) == 0 && unlockpt(controller) == 0) terminal = ioctl(controller, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
#else
  const char *name = NULL;
  if (grantpt(controller) == 0 && unlockpt(controller) == 0 && (name = ptsname(controller))) terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
#endif
  if (terminal < 0) {
    int failure = -errno;
    close(controller);
    return failure;
  }
  ends[0] = controller;
  ends[1] = terminal;
  return 0;
}

int hostos_pipe(int ends[2]) {
#ifdef __linux__
  return pipe2(ends, O_CLOEXEC) == 0 ? 0 : -errno;
#else
  if (pipe(ends) != 0) return -errno;
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  return 0;
#endif
}

static int stream_socket(void) {
#ifdef __linux__
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
#else
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
#endif
}

int hostos_socket_listen(int dirfd, const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
#ifdef __linux__
  int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dirfd, name);
#else
  char directory[1024];
  if (fcntl(dirfd, F_GETPATH, directory) != 0) return -errno;
  int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", directory, name);
#endif
  if (length < 0 || (size_t)length >= sizeof address.sun_path) return -ENAMETOOLONG;
  int fd = stream_socket();
  if (fd < 0) return -errno;
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 128) != 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

int hostos_socket_accept(int fd) {
  int connection;
#ifdef __linux__
  do connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
  while (connection < 0 && (errno == EINTR || errno == ECONNABORTED));
#else
  do connection = accept(fd, NULL, NULL);
  while (connection < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (connection >= 0) fcntl(connection, F_SETFD, FD_CLOEXEC);
#endif
  return connection < 0 ? -errno : connection;
}

int hostos_socket_connect(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int place = -1;
  if (strlen(path) < sizeof address.sun_path) {
    strcpy(address.sun_path, path);
  } else {
#ifdef __linux__
    place = open(path, O_PATH | O_CLOEXEC);
    if (place < 0) return -errno;
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", place);
#else
    return -ENAMETOOLONG;
#endif
  }
  int fd = stream_socket();
  int error = fd < 0 ? errno : 0;
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    error = errno;
    close(fd);
  }
  if (place >= 0) close(place);
  return error ? -error : fd;
}

int hostos_socket_pair(int ends[2]) {
#ifdef __linux__
  return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : -errno;
#else
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return -errno;
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  return 0;
#endif
}

int hostos_set_cloexec(int fd, int on) { return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0 ? 0 : -errno; }

int hostos_pidfd_open(int pid) {
#ifdef __linux__
  long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? -errno : (int)fd;
#else
  (void)pid;
  return -ENOSYS;
#endif
}

int hostos_pidfd_signal(int pidfd, int number) {
#ifdef __linux__
  return syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0) == 0 ? 0 : -errno;
#else
  (void)pidfd, (void)number;
  return -ENOSYS;
#endif
}

int hostos_kill(int pid, int number) { return kill(pid, number) == 0 ? 0 : -errno; }

int hostos_set_name(const char *name) {
#ifdef __linux__
  return prctl(PR_SET_NAME, name, 0, 0, 0) == 0 ? 0 : -errno;
#else
  (void)name;
  return 0;
#endif
}

// ---- Signals ----

static volatile int signal_fds[65];

static void forward(int number) {
  int saved = errno;
  if (number > 0 && number < 65) {
    int fd = signal_fds[number];
    unsigned char byte = (unsigned char)number;
    // A full pipe already holds news of a signal.
    if (fd > 0) (void)!write(fd, &byte, 1);
  }
  errno = saved;
}

int hostos_signal_to_fd(int number, int fd) {
  if (number <= 0 || number >= 65) return -EINVAL;
  signal_fds[number] = fd;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = forward;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  return sigaction(number, &action, NULL) == 0 ? 0 : -errno;
}

int hostos_signal_default(int number) { return signal(number, SIG_DFL) == SIG_ERR ? -errno : 0; }
int hostos_signal_ignore(int number) { return signal(number, SIG_IGN) == SIG_ERR ? -errno : 0; }

void hostos_raise_default(int number) {
  signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  kill(getpid(), number);
}

int hostos_reexec(char *const argv[]) {
#ifdef __linux__
  extern char **environ;
  execve("/proc/self/exe", argv, environ);
#else
  char path[4096];
  uint32_t size = sizeof path;
  if (_NSGetExecutablePath(path, &size) != 0) return -ENAMETOOLONG;
  execve(path, argv, *_NSGetEnviron());
#endif
  return -errno;
}
