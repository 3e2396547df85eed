#include "CNetwork.h"

#ifdef __linux__
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int set_link(const char *name, int up) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  if (strlen(name) >= sizeof request.ifr_name) return -ENAMETOOLONG;
  strcpy(request.ifr_name, name);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = 0;
  if (fd < 0) return -errno;
  if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) result = -errno;
  request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
  if (result == 0 && ioctl(fd, SIOCSIFFLAGS, &request) != 0) result = -errno;
  close(fd);
  return result;
}

int manifold_network_namespace(int *stranded) {
  *stranded = 0;
  int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own < 0) return -errno;
  int made = -1, result = 0;
  if (unshare(CLONE_NEWNET) != 0) {
    result = -errno;
  } else {
    if ((made = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) < 0) result = -errno;
    if (result == 0) result = set_link("lo", 1);
    if (setns(own, CLONE_NEWNET) != 0) *stranded = 1;
  }
  close(own);
  if (result != 0 && made >= 0) close(made);
  return result != 0 ? result : made;
}

int manifold_remove_bridge(const char *name) {
  int result = set_link(name, 0);
  if (result != 0) return result;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (ioctl(fd, SIOCBRDELBR, name) != 0) result = -errno;
  close(fd);
  return result;
}
#endif
