// The container supervisor: C that runs instead of main() in a copy of this program started with MANIFOLD_STAGE=supervisor.
// See supervisor.c. Swift writes the plans (BuildExecutor/SupervisorPlan.swift).
#ifndef MANIFOLD_SUPERVISOR_H
#define MANIFOLD_SUPERVISOR_H

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __linux__
/// Starts the server: this program's own executable with `socket` as its standard input. Answers its pid, or a negated errno.
int manifold_supervisor_start(int socket);

/// Sends one request on the server's socket: `fds[0]` is the plan, `fds[1]` the control socket, `fds[2..4]` the container's standard
/// streams, the rest what the plan names by number. Blocks only while the socket is full. 0 or a negated errno.
int manifold_supervisor_request(int socket, const int *fds, int count);
enum { MANIFOLD_SUPERVISOR_MAX_FDS = 250 };

/// A connected pair of sequenced-packet sockets, close-on-exec. 0 or a negated errno.
int manifold_supervisor_socketpair(int pair[2]);
/// A sealed descriptor holding `length` bytes, to be read from its start. Negated errno in failure.
int manifold_supervisor_memory(const void *bytes, unsigned long length);

/// Makes a control group beneath a directory (version 1: of the devices controller) whose processes may make device nodes, but open only the harmless
/// ones: null, zero, full, random, urandom, tty, ptmx, pseudo-terminals (version 0: any). 0 or a negated errno, and then there is none.
int manifold_device_group(int parent, const char *name, int version);

/// A filesystem of the kernel's (binfmt_misc), mounted nowhere: a descriptor of its root, or a negated errno.
int manifold_open_filesystem(const char *type);

/// Runs a program to its end with no input and no output, as a test of whether it can: its exit status, or a negated errno.
int manifold_try_program(const char *path);
/// The same, in a root directory that holds nothing else: whether an emulator registered with the kernel is there in every container.
/// `name` is absolute in `directory`.
int manifold_try_program_alone(const char *directory, const char *name);
#endif

#ifdef __cplusplus
}
#endif
#endif
