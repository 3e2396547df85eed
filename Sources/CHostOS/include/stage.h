// Work that must be done before Swift has a thread: chosen by MANIFOLD_STAGE in the environment, which is removed. See stage.c.
#ifndef MANIFOLD_STAGE_H
#define MANIFOLD_STAGE_H

#ifdef __cplusplus
extern "C" {
#endif

/// MANIFOLD_STAGE=namespaces: user and mount namespaces, then main() goes on.
void manifold_namespaces_main(void);

/// MANIFOLD_STAGE=supervisor: never comes back to main(); its answer is the exit status.
int manifold_supervisor_main(int argc, char **argv, char **envp);

/// Back to as many descriptors as were allowed before this program raised the limit for itself: what a container's processes get.
void manifold_restore_descriptor_limit(void);

#ifdef __cplusplus
}
#endif
#endif
