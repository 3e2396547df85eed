// Network namespaces for steps: calls that Swift has no names for.
#ifndef MANIFOLD_NETWORK_H
#define MANIFOLD_NETWORK_H

/// A new network namespace, with its loopback device up, as a descriptor that keeps it alive. The calling thread is in it for a moment, and in its own again
/// afterwards; when it cannot go back, *stranded is 1, and the thread has to end. Minus errno on failure.
int manifold_network_namespace(int *stranded);
/// Takes a bridge down and removes it. 0, or minus errno.
int manifold_remove_bridge(const char *name);

#endif
