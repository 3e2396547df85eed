// What must happen before Swift has a thread: a user namespace cannot be entered by a process with two. The program executes
// itself again with MANIFOLD_STAGE set, and this constructor does the work before main().
#ifdef __linux__
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Written with the executor; a program without it has no such stage.
__attribute__((weak)) int manifold_supervisor_main(int argc, char **argv, char **envp);

extern char **environ;

__attribute__((constructor(101))) static void manifold_stage(int argc, char **argv, char **envp) {
  const char *stage = getenv("MANIFOLD_STAGE");
  (void)envp;
  if (!stage) return;
  int namespaces = strcmp(stage, "namespaces") == 0, supervisor = strcmp(stage, "supervisor") == 0;
  // Nothing that this process starts may take the stage for its own.
  unsetenv("MANIFOLD_STAGE");
  if (namespaces) manifold_namespaces_main();
  if (supervisor) {
    if (manifold_supervisor_main) exit(manifold_supervisor_main(argc, argv, environ));
    fprintf(stderr, "manifold: this program has no container supervisor\n");
    _exit(70);
  }
}
#endif
