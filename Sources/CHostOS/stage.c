// What must happen before Swift has a thread: a user namespace cannot be entered by a process with two. The program executes
// itself again with MANIFOLD_STAGE set, and this constructor does the work before main().
#ifdef __linux__
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

// Written with the executor; a program without it has no such stage.
__attribute__((weak)) int manifold_supervisor_main(int argc, char **argv, char **envp);

extern char **environ;

// Layers, mounts and connections of many steps at once need more descriptors than the 1024 that a session usually allows; the higher limit is there to be
// taken. MANIFOLD_NOFILE remembers the old one through our own re-execution, for the containers (`manifold_restore_descriptor_limit`).
static void raise_descriptor_limit(void) {
  enum { enough = 16384 };
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= enough || limit.rlim_cur >= limit.rlim_max) return;
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)limit.rlim_cur);
  limit.rlim_cur = limit.rlim_max < enough ? limit.rlim_max : enough;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) setenv("MANIFOLD_NOFILE", text, 0);
}

void manifold_restore_descriptor_limit(void) {
  const char *text = getenv("MANIFOLD_NOFILE");
  struct rlimit limit;
  if (!text || getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  rlim_t old = strtoull(text, NULL, 10);
  if (old < 64 || old > limit.rlim_max) return;
  limit.rlim_cur = old;
  setrlimit(RLIMIT_NOFILE, &limit);
}

__attribute__((constructor(101))) static void manifold_stage(int argc, char **argv, char **envp) {
  const char *stage = getenv("MANIFOLD_STAGE");
  (void)envp;
  if (!stage) {
    raise_descriptor_limit();
    return;
  }
  int namespaces = strcmp(stage, "namespaces") == 0, supervisor = strcmp(stage, "supervisor") == 0;
  // Nothing that this process starts may take the stage for its own.
  unsetenv("MANIFOLD_STAGE");
  if (namespaces) {
    raise_descriptor_limit();
    manifold_namespaces_main();
  }
  if (supervisor) {
    if (manifold_supervisor_main) exit(manifold_supervisor_main(argc, argv, environ));
    fprintf(stderr, "manifold: this program has no container supervisor\n");
    _exit(70);
  }
}
#endif
